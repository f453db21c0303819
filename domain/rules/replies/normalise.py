"""Normal form: one spelling for the many ways of writing the same words, so that a rule is written once.

The result is text such as ` stop . thank you . `: small letters and digits without accents, one blank around each word,
and a mark of its own (`.` or `?`) after each sentence. Where a comma or a dash stood the form has a `,`, which is left
out when sentences are read and ends a clause when clauses are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

#: The marks that end a sentence in the normal form.
MARKS: Final = ".?"

_LINK: Final = re.compile(r"\b(?:https?://|www\.)\S+|\b[\w.+-]+@[\w-]+\.[\w.-]+", re.IGNORECASE)
#: A full stop after these ends no sentence.
_ABBREVIATED: Final = frozenset(re.findall(r"\w+", "dr dra mr mrs ms sr sra srta st jr vs approx dept appt apt"))
_DOTTED: Final = re.compile(r"\b(?:\w\.){2,}\w?\b\.?|\b\w(?:[-*_]\w){2,}\b")
_SINGLE: Final = re.compile(r" \w \w |[.*_-]\w[.*_-]|[.]m\b|^\w \w \w")
_SPACED: Final = re.compile(r"\b\w(?: \w){3,}\b")
#: French elisions (m'envoyer, d'envoyer, l'heure), but no English contraction (I'm, y'all, o'clock).
_ELIDED: Final = re.compile(r"\b([mstdljnc]|qu)'(?=[a-z]{3})")
_WILL: Final = re.compile(r"(?<=\w)'ll\b")
_DRAWN_OUT: Final = re.compile(r"([a-z])\1{2,}")
_WITHOUT: Final = re.compile(r"\bw/o\b")
_NUMBER_SIGN: Final = re.compile(r"#(?!\w)")
#: A new line begins a sentence only after a blank line or before a capital; mail programs wrap in the middle of one.
_NEW_LINE: Final = re.compile(r"\n\s*\n|\n(?=\s*[A-ZÁÉÍÓÚÑ¿¡\-*])")
_TOKEN: Final = re.compile(r"[^\W_]+|[.!?;…\x01]+|[^\w\s:'\"]")
#: A dash between words, and a line that goes on, divide a sentence as a comma does.
_DASH: Final = re.compile(r"\s[-–—]+\s|[–—]|\n")
#: A sentence with its mark.
_CLAUSED: Final = re.compile(r"([^.?]+)([.?])")
#: A clause begins after these, too.
_JOINING: Final = (" and ", " but ", " because ", " pero ", " y ", " porque ")
_JOINS: Final = re.compile(r" (?:, )?(?:and|but|because|pero|y|porque) ")
_WORD: Final = re.compile(r"[^\W_]+")
_COMMA: Final = ","
_ENDS: Final = ".!?;…\x01"
_APOSTROPHES: Final = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))


def fold(text: str) -> str:
    """Lower case, accents and invisible characters gone, everything but letters and digits one blank."""
    return " ".join(_WORD.findall(_bare(text)))


def words_of(text: str) -> str:
    """The whole message as a keyword: folded, with spaced letters ("S T O P") made a word and repetition said once."""
    folded = fold(text)
    words = folded.split(" ")
    if len(words) > 2 and all(len(word) == 1 for word in words) and len(set(words)) > 1:
        return "".join(words)
    return words[0] if len(words) > 1 and len(words[0]) > 1 and len(set(words)) == 1 else folded


def normalise(text: str, meaning: Callable[[str], str]) -> str:
    """The normal form of `text`; `meaning` gives what a written word, or an emoji, stands for."""
    tokens: list[str] = []
    ended, written = True, ""
    for sign in _tokens(text):
        if sign == _COMMA:
            if not ended and tokens[-1] != _COMMA:
                tokens.append(_COMMA)
        elif not sign.isalnum() and sign[0] in _ENDS:
            ended = _end(tokens, sign, written, ended)
        else:
            written = sign
            if meant := meaning(sign):
                tokens.append(meant)
                ended = False
    if not ended:
        _end(tokens, "..", "", ended)
    return f" {' '.join(tokens)} " if tokens else " "


def _end(tokens: list[str], sign: str, written: str, ended: bool) -> bool:
    """End the sentence, unless `sign` stands behind an abbreviation or where one has ended; whether one has ended."""
    if tokens and tokens[-1] == _COMMA:
        tokens.pop()
    if ended:
        if "?" in sign and tokens:
            # "yes. ?": asked all the same
            tokens[-1] = "?"
        return True
    if written in _ABBREVIATED and sign == ".":
        return False
    tokens.append("?" if "?" in sign else ".")
    return True


def sentences(normal: str) -> str:
    """The normal form without the marks of clauses."""
    return normal.replace(" ,", "") if "," in normal else normal


def clauses(normal: str) -> str | None:
    """The normal form with each clause a sentence that ends as its sentence does; None: no sentence has two."""
    divided = _JOINS.sub(" , ", normal) if any(join in normal for join in _JOINING) else normal
    if "," not in divided:
        return None
    return _CLAUSED.sub(lambda sentence: sentence[1].replace(",", sentence[2]) + sentence[2], divided)


def unmarked(normal: str) -> str:
    """The normal form read as one sentence, whatever its punctuation."""
    return f" {' '.join(normal.replace('.', ' ').replace('?', ' ').split())} . "


def collapse(word: str) -> str:
    """A word without letters drawn out ("stoooop")."""
    return _DRAWN_OUT.sub(r"\1", word)


def _tokens(text: str) -> list[str]:
    text = _NEW_LINE.sub("\x01", text.strip()) if "\n" in text else text
    if "-" in text or "\n" in text or not text.isascii():
        text = _DASH.sub(" , ", text)
    if not text.isascii():
        text = text.translate(_APOSTROPHES)
    text = _bare(text)
    if "/" in text or "@" in text or "www" in text:
        text = _WITHOUT.sub("without", _LINK.sub(" ", text))
    if "'" in text:
        text = _WILL.sub(" will", _ELIDED.sub(r"\1 ", text)).replace("'", "")
    if "#" in text:
        text = _NUMBER_SIGN.sub(" number ", text)
    if _SINGLE.search(text):
        # single letters may be one word: "s.t.o.p.", "p.m.", "S T O P texting"
        text = _SPACED.sub(_joined, _DOTTED.sub(_joined, text))
    found: list[str] = _TOKEN.findall(text)
    return found


def _joined(match: re.Match[str]) -> str:
    return "".join(char for char in match[0] if char.isalnum())


def _bare(text: str) -> str:
    if text.isascii():
        # most messages, and the rest costs ten times as much
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(char for char in decomposed if unicodedata.category(char) not in ("Mn", "Me", "Cf"))
