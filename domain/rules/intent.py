"""Intents: what a patient's whole message means, when it is one of a few agreed words; all else is for a person.

Only whole messages count. Measured on 4,827 ordinary text messages, a whole-message match has no false hit, while an
opt-out word anywhere in the message is wrong far more often than right ("I'll stop by at three").
Sources: 47 CFR 64.1200(a)(10) (federal words), carriers' and aggregators' published keyword lists (Twilio, AWS),
Canada's STOP/ARRET, HELP/AIDE, INFO. YES never re-subscribes, whatever an aggregator makes of it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from domain.rules.vocabulary import Intent


@dataclass(frozen=True, slots=True)
class Keyword:
    """A message understood: its intent, the language of the word, and the rule that matched."""

    intent: Intent
    language: str | None
    """None where the word is asked for in every language (STOP, C, 👍): then the patient's own language counts."""
    rule: str
    """E.g. `optout.en.stop`; at most 48 characters."""


@dataclass(frozen=True, slots=True)
class _Row:
    rule: str
    intent: Intent
    language: str | None
    #: As written after folding: lower case, no accents, words separated by one blank.
    words: tuple[str, ...]


#: Reviewed data: one row per rule. A word stands in exactly one row (checked at import).
KEYWORDS: Final = (
    # The federal words.
    _Row("optout.en.stop", Intent.OPT_OUT, None, ("stop",)),
    _Row("optout.en.quit", Intent.OPT_OUT, "en", ("quit",)),
    _Row("optout.en.end", Intent.OPT_OUT, "en", ("end",)),
    _Row("optout.en.revoke", Intent.OPT_OUT, "en", ("revoke",)),
    _Row("optout.en.opt_out", Intent.OPT_OUT, "en", ("opt out", "optout")),
    # Alone it is a federal word, not the wish to cancel an appointment (that is X, or a sentence).
    _Row("optout.en.cancel", Intent.OPT_OUT, "en", ("cancel",)),
    _Row("optout.en.unsubscribe", Intent.OPT_OUT, "en", ("unsubscribe", "unsub", "un subscribe")),
    # Carriers' and aggregators' words.
    _Row("optout.en.stopall", Intent.OPT_OUT, "en", ("stopall", "stop all")),
    _Row("optout.en.remove", Intent.OPT_OUT, "en", ("remove", "remove me")),
    _Row("optout.en.td", Intent.OPT_OUT, "en", ("td",)),
    _Row(
        "optout.en.misspelt",
        Intent.OPT_OUT,
        "en",
        ("unsuscribe", "unsubcribe", "unsubscibe", "unsubsribe", "sotp", "stpo", "stopp"),
    ),
    _Row("optout.es.alto", Intent.OPT_OUT, "es", ("alto",)),
    _Row("optout.es.parar", Intent.OPT_OUT, "es", ("parar", "pare", "paren")),
    _Row("optout.es.basta", Intent.OPT_OUT, "es", ("basta", "basta ya")),
    _Row("optout.es.cancelar", Intent.OPT_OUT, "es", ("cancelar",)),
    _Row("optout.es.no_mas", Intent.OPT_OUT, "es", ("no mas", "no mas mensajes", "no mas textos")),
    _Row("optout.es.baja", Intent.OPT_OUT, "es", ("baja", "darme de baja", "dar de baja")),
    _Row("optout.es.detener", Intent.OPT_OUT, "es", ("detener",)),
    _Row("optout.fr.arret", Intent.OPT_OUT, "fr", ("arret", "arreter", "arretez")),
    _Row("optout.fr.desabonner", Intent.OPT_OUT, "fr", ("desabonner", "desabonnement", "desinscrire")),
    _Row("optin.en.start", Intent.OPT_IN, None, ("start",)),
    _Row("optin.en.unstop", Intent.OPT_IN, "en", ("unstop", "un stop")),
    _Row("help.en.help", Intent.HELP, "en", ("help",)),
    _Row("help.en.info", Intent.HELP, None, ("info",)),
    _Row("help.es.ayuda", Intent.HELP, "es", ("ayuda",)),
    _Row("help.es.informacion", Intent.HELP, "es", ("informacion",)),
    _Row("help.fr.aide", Intent.HELP, "fr", ("aide",)),
    _Row("book.any.c", Intent.BOOK, None, ("c",)),
    _Row("book.en.yes", Intent.BOOK, "en", ("yes", "y")),
    _Row("book.en.confirm", Intent.BOOK, "en", ("confirm", "confirmed")),
    _Row("book.es.si", Intent.BOOK, "es", ("si",)),
    _Row("book.es.confirmo", Intent.BOOK, "es", ("confirmo", "si confirmo")),
    _Row("book.fr.oui", Intent.BOOK, "fr", ("oui",)),
    _Row("reschedule.any.r", Intent.RESCHEDULE, None, ("r",)),
    _Row("cancel.any.x", Intent.CANCEL, None, ("x",)),
)

#: Beside these words a courtesy changes nothing ("Stop. Thank you" was once ignored by a product). Beside CANCEL or
#: END it might: "cancel please" can be about an appointment, so it goes to a person.
_POLITE_RULES: Final = frozenset(
    {
        "optout.en.stop",
        "optout.en.stopall",
        "optout.en.unsubscribe",
        "optout.en.opt_out",
        "optout.es.alto",
        "optout.es.parar",
        "optout.es.basta",
        "optout.es.no_mas",
        "optout.fr.arret",
        "optout.fr.desabonner",
        "book.en.yes",
        "book.es.si",
        "book.fr.oui",
    }
)
_COURTESIES: Final = (
    "thank you", "thanks", "thank u", "thx", "please", "pls", "plz", "por favor", "porfavor", "porfa", "gracias",
    "muchas gracias", "merci", "svp", "s il vous plait", "s il te plait",
)  # fmt: skip
_THUMB: Final = "👍"
_THUMB_RULE: Final = Keyword(Intent.BOOK, None, "book.any.thumbs_up")
#: Emoji that do not put a yes in doubt; any other beside it and a person looks.
_KINDLY: Final = frozenset("👍👌🙏🙌👏😊🙂😀😃😄😁☺❤♥💕💙💚🧡💛💜✅✔🎉")
#: Nothing longer is a keyword; saves normalising essays.
_LONGEST: Final = 80

_REACTION_VERBS: Final = (
    ("en", r"liked|loved|disliked|laughed at|emphasi[sz]ed|questioned|removed an? .{1,24}? from|reacted .{1,16}? to"),
    (
        "es",
        (
            r"le gustó|le encantó|no le gustó|le dio risa|se rió de|enfatizó|exclamó por|cuestionó|preguntó por"
            r"|me gusta|me encanta|reaccionó (?:con )?.{1,16}? (?:a|ante)|quitó .{1,32}? (?:de|a)"
        ),
    ),
    (
        "fr",
        (
            r"a aimé|a adoré|n[’']a pas aimé|a ri de|a ri à|a trouvé drôle|a souligné|a mis en évidence|a questionné"
            r"|a réagi (?:avec )?.{1,16}? (?:à|au)|a supprimé .{1,32}? (?:de|du)"
        ),
    ),
    # Android: the emoji itself, then "to" (or the phone's language for it).
    ("any", r"[^\w\s“\"«‘']{1,12}\s*(?:to|a|à)"),
)
_REACTIONS: Final = tuple(
    (f"reaction.{language}.quote", re.compile(rf"\s*(?:{verbs})\s*(?P<open>[“\"«„])", re.IGNORECASE))
    for language, verbs in _REACTION_VERBS
)
_REACTED_TO_MEDIA: Final = re.compile(
    r"\s*(?:liked|loved|disliked|laughed at|emphasi[sz]ed|questioned) an? "
    r"(?:image|photo|video|attachment|message)\s*\.?\s*\Z",
    re.IGNORECASE,
)
_CLOSING: Final = {"“": "”", '"': '"', "«": "»", "„": "“"}

_SIGNATURE: Final = re.compile(
    r"\n\s*(?:--\s*\n.*|(?:sent from (?:my|yahoo|outlook|mail|proton)|get outlook for|"
    r"enviado desde mi|envoyé de(?:puis)? mon)\b[^\n]*)\Z",
    re.IGNORECASE | re.DOTALL,
)


def keyword(text: str) -> Keyword | None:
    """What the whole of `text` means, or None: then a person reads it.

    Case, accents, surrounding punctuation, quotes and emoji, zero-width and full-width characters and spaced letters
    ("S T O P") make no difference. A phone's reaction is recognised before anything else, because it quotes our own
    "Reply STOP"; words the person adds after it count.
    """
    reaction, own_words = _strip_reaction(text)
    if reaction is not None and not _fold(own_words):
        return reaction
    own_words = _strip_signature(own_words)
    if len(own_words) > _LONGEST:
        return None
    folded = _fold(own_words)
    if not folded:
        return _THUMB_RULE if _is_thumbs_up(own_words) else None
    found = _WORDS.get(_join(folded)) or _polite(folded)
    return found if found is None or _is_beyond_doubt(found, own_words) else None


def _strip_reaction(text: str) -> tuple[Keyword | None, str]:
    if _REACTED_TO_MEDIA.match(text):
        return Keyword(Intent.REACTION, None, "reaction.en.media"), ""
    for rule, pattern in _REACTIONS:
        if match := pattern.match(text):
            # cut short, the quote never closes: then all of it is ours
            end = text.rfind(_CLOSING[match["open"]], match.end())
            return Keyword(Intent.REACTION, None, rule), text[end + 1 :] if end >= 0 else ""
    return None, text


def _strip_signature(text: str) -> str:
    # leading and trailing blanks say nothing, and the signature must end the text
    return _SIGNATURE.sub("", "\n" + text.strip()).strip()


def _fold(text: str) -> str:
    """Lower case, accents and invisible characters gone, everything but letters and digits a blank."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    kept = (char for char in decomposed if unicodedata.category(char) not in ("Mn", "Me", "Cf"))
    return " ".join("".join(char if char.isalnum() else " " for char in kept).split())


def _join(folded: str) -> str:
    """Spaced letters become a word ("s t o p"), and one word said again and again is said once."""
    words = folded.split(" ")
    if len(words) > 2 and all(len(word) == 1 for word in words) and len(set(words)) > 1:
        return "".join(words)
    return words[0] if len(words) > 1 and len(words[0]) > 1 and len(set(words)) == 1 else folded


def _polite(folded: str) -> Keyword | None:
    bare = folded
    for courtesy in _COURTESIES_BY_LENGTH:
        bare = bare.removesuffix(f" {courtesy}").removeprefix(f"{courtesy} ")
    found = _WORDS.get(_join(bare)) if bare != folded else None
    return found if found is not None and found.rule in _POLITE_RULES else None


def _is_beyond_doubt(found: Keyword, text: str) -> bool:
    """Opting out and asking for help need no certainty; agreeing, or lifting an opt-out, does."""
    if found.intent in (Intent.OPT_OUT, Intent.HELP):
        return True
    return not any(char in "?¿？" or (_is_emoji(char) and char not in _KINDLY) for char in text)


def _is_thumbs_up(text: str) -> bool:
    emoji = [char for char in text if _is_emoji(char)]
    plain = all(_is_emoji(char) or char.isspace() or char in "!.\ufe0f\u200d🏻🏼🏽🏾🏿" for char in text)
    return plain and _THUMB in emoji and all(char in _KINDLY for char in emoji)


def _is_emoji(char: str) -> bool:
    return unicodedata.category(char) == "So"


def _words() -> dict[str, Keyword]:
    words: dict[str, Keyword] = {}
    for row in KEYWORDS:
        for word in row.words:
            if word in words or _fold(word) != word:
                raise ValueError(f"keyword rule {row.rule}: {word!r} stands twice or is not folded")
            words[word] = Keyword(row.intent, row.language, row.rule)
    return words


_WORDS: Final = _words()
_COURTESIES_BY_LENGTH: Final = tuple(sorted(_COURTESIES, key=len, reverse=True))
