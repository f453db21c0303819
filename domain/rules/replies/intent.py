"""Intent: what a patient's reply means, which effects it has, and by which rule; what no rule knows is for a person.

Whole messages of an agreed word come first: measured on 4,827 ordinary text messages they have no false hit, while an
opt-out word anywhere in a message is wrong far more often than right ("I'll stop by at three"). Free text is
understood by anchored phrases. Sources: 47 CFR 64.1200(a)(10) (federal words, and any other wording that a reasonable
person would read as revocation), carriers' and aggregators' published keywords. YES never re-subscribes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from domain.rules.replies.form import LONGEST_WHOLE, Form
from domain.rules.replies.grammar import Grammar, grammar
from domain.rules.replies.index import Entry, Index
from domain.rules.replies.normalise import clauses, fold, normalise, sentences, words_of
from domain.rules.replies.rule import Rule
from domain.rules.vocabulary import Effect, Intent

#: First match decides. SEEN_ELSEWHERE and DECLINES_CARE share a rank.
PRECEDENCE: Final = (
    Intent.REACTION, Intent.AUTO_REPLY, Intent.EMERGENCY, Intent.OPT_OUT, Intent.OPT_IN, Intent.HELP, Intent.DECEASED,
    Intent.WRONG_NUMBER, Intent.COMPLAINT, Intent.CANCEL, Intent.RESCHEDULE, Intent.SEEN_ELSEWHERE,
    Intent.DECLINES_CARE, Intent.MOVED, Intent.QUESTION, Intent.BOOK, Intent.OTHER,
)  # fmt: skip
EFFECTS: Final = {
    Intent.REACTION: (Effect.NONE,),
    Intent.AUTO_REPLY: (Effect.NONE,),
    Intent.HELP: (Effect.NONE,),
    Intent.EMERGENCY: (Effect.URGENT, Effect.HUMAN),
    Intent.OPT_OUT: (Effect.OPT_OUT,),
    Intent.OPT_IN: (Effect.OPT_IN,),
    Intent.DECEASED: (Effect.DECEASED, Effect.HUMAN),
    Intent.WRONG_NUMBER: (Effect.WRONG_NUMBER,),
    Intent.COMPLAINT: (Effect.PAUSE, Effect.HUMAN),
    Intent.CANCEL: (Effect.HUMAN,),
    Intent.RESCHEDULE: (Effect.HUMAN,),
    Intent.SEEN_ELSEWHERE: (Effect.LEAVE_CAMPAIGN,),
    Intent.DECLINES_CARE: (Effect.LEAVE_CAMPAIGN,),
    Intent.MOVED: (Effect.LEAVE_CAMPAIGN,),
    Intent.QUESTION: (Effect.HUMAN,),
    Intent.BOOK: (Effect.BOOK,),
    Intent.OTHER: (Effect.HUMAN,),
}
#: What else was said counts beside these winners (beside all of them: opt-out, deceased, wrong number).
_LEAVING: Final = (Intent.SEEN_ELSEWHERE, Intent.DECLINES_CARE, Intent.MOVED)
_ALSO: Final = {
    Intent.OPT_OUT: (Intent.COMPLAINT, Intent.CANCEL, Intent.RESCHEDULE, *_LEAVING),
    Intent.WRONG_NUMBER: (Intent.COMPLAINT,),
    Intent.COMPLAINT: _LEAVING,
    Intent.CANCEL: _LEAVING,
    Intent.SEEN_ELSEWHERE: (Intent.QUESTION,),
    Intent.DECLINES_CARE: (Intent.QUESTION,),
    Intent.MOVED: (Intent.QUESTION,),
}
_ALWAYS: Final = (Intent.OPT_OUT, Intent.DECEASED, Intent.WRONG_NUMBER)
_RANK: Final = {intent: rank for rank, intent in enumerate(PRECEDENCE)}
#: Characters that are read. What is longer is read so far, and a person looks at the rest.
LONGEST: Final = 4_000
#: Nothing longer is a keyword.
_LONGEST_KEYWORD: Final = 80
#: Opting out and asking for help need no certainty; agreeing, or lifting an opt-out, does.
_NEEDS_NO_CERTAINTY: Final = frozenset({Intent.OPT_OUT, Intent.HELP})
#: The agreed words to stop at, by rule, that name no scope. Any other rule, and any other wording, means everything.
AGREED_STOPS: Final = frozenset({
    "optout.en.stop", "optout.en.quit", "optout.en.end", "optout.en.revoke", "optout.en.opt_out", "optout.en.cancel",
    "optout.en.unsubscribe", "optout.es.alto", "optout.es.parar", "optout.es.cancelar", "optout.fr.arret",
})  # fmt: skip
#: The agreed words for texts alone; they name the scope that a confirmation may ask for.
STOP_TEXTS: Final = "optout.en.stop_texts"
_THUMB: Final = "👍"
#: Emoji that do not put a yes in doubt; any other beside it and a person looks.
_KINDLY: Final = frozenset("👍👌🙏🙌👏😊🙂😀😃😄😁☺❤♥💕💙💚🧡💛💜✅✔🎉")


@dataclass(frozen=True, slots=True)
class Understood:
    """A message understood: its intent, what it has for effects, and the rule that says so."""

    intent: Intent
    effects: tuple[Effect, ...]
    """In the order of importance; exactly `none` where nothing is to be done."""
    rule: str | None = None
    """E.g. `optout.en.stop`; None: no rule matched, so a person reads it."""
    language: str | None = None
    """Of the words, or None where they are asked for in every language: then the patient's own counts."""
    is_keyword: bool = False
    """It is one of the agreed words, or a phone's own doing, and needs no interpretation."""


_NOT_UNDERSTOOD: Final = Understood(Intent.OTHER, EFFECTS[Intent.OTHER])


def understand(text: str) -> Understood:
    """What `text` means. Nobody's words are guessed at: what no rule knows is `other`, for a person."""
    return _reader().understand(text)


def prepare() -> None:
    """Read the rules now, so that a process tells what is wrong with them when it starts. Raises GrammarError."""
    _reader()


@cache
def _reader() -> Reader:
    return Reader(grammar())


class Reader:
    """Understands messages by one grammar."""

    def __init__(self, rules: Grammar) -> None:
        self._grammar = rules
        self._index = Index(rules.rules)

    def understand(self, text: str) -> Understood:
        """What `text` means."""
        read = text[:LONGEST]
        reaction, words = self._grammar.stripper.reaction(read)
        if reaction is not None and not fold(words):
            return Understood(Intent.REACTION, EFFECTS[Intent.REACTION], reaction, None, is_keyword=True)
        words = self._grammar.stripper.own_words(words)
        if (found := self._keyword(words)) is not None:
            return found
        found = self._phrases(normalise(words, self._grammar.meaning))
        if len(text) > LONGEST and Effect.HUMAN not in found.effects:
            return Understood(found.intent, _with_human(found.effects), found.rule, found.language)
        return found

    def _keyword(self, words: str) -> Understood | None:
        words = words.strip()
        if len(words) > _LONGEST_KEYWORD:
            return None
        folded = words_of(words)
        if not folded:
            return self._thumbs_up(words)
        rule = self._grammar.keyword(folded)
        if rule is None:
            return None
        if rule.intent not in _NEEDS_NO_CERTAINTY and not _is_beyond_doubt(words):
            return None
        effects = EFFECTS[rule.intent] if rule.effects is None else rule.effects
        return Understood(rule.intent, effects, rule.id, rule.language, is_keyword=True)

    def _thumbs_up(self, words: str) -> Understood | None:
        if not _is_thumbs_up(words):
            return None
        return Understood(Intent.BOOK, EFFECTS[Intent.BOOK], "book.any.thumbs_up", None, is_keyword=True)

    def _phrases(self, normal: str) -> Understood:
        matched = {rule.id: rule for rule in self._matching(normal)}
        passed_over = {name for rule in matched.values() for name in rule.over}
        rules = sorted(
            (rule for rule in matched.values() if rule.id not in passed_over and rule.intent not in passed_over),
            key=lambda rule: (_RANK[rule.intent], rule.order),
        )
        if not rules:
            return _NOT_UNDERSTOOD
        winner = rules[0]
        return Understood(winner.intent, _effects(rules), winner.id, winner.language)

    def _matching(self, normal: str) -> Iterator[Rule]:
        offered, entries = self._index.look_up(normal.split())
        form = Form(sentences(normal), self._grammar.courtesy)
        is_short = len(form.text) <= LONGEST_WHOLE
        done: set[str] = set()
        settled: set[Intent] = set()
        pending: list[Entry] = []
        for entry in entries:
            pattern, rule = entry.pattern, entry.rule
            if rule.id in done or (entry.is_spared and rule.intent in settled):
                continue
            # what begins no sentence does not begin the whole, which costs more to read
            if not pattern.is_out_of_place(form) and (pattern.place != "whole" or is_short):
                place = form.whole if pattern.place == "whole" else form
                if _matches(entry, offered, place):
                    done.add(rule.id)
                    if entry.settles:
                        settled.add(rule.intent)
                    yield rule
                    continue
            if is_short and entry.is_for_clauses and pattern.is_somewhere(form.text):
                pending.append(entry)
        if pending and (divided := clauses(normal)) is not None:
            by_clause = Form(divided, self._grammar.courtesy)
            for entry in pending:
                if entry.rule.id not in done and _matches_clause(entry, offered, by_clause, form):
                    done.add(entry.rule.id)
                    yield entry.rule


def _matches(entry: Entry, offered: int, form: Form) -> bool:
    guards = None
    for sentence in entry.pattern.spans(form):
        if guards is None:
            guards = [guard for mask, guard in entry.guards if mask & offered == mask]
        if any(guard.is_within(form, sentence) for guard in guards):
            continue
        return not any(
            mask & offered == mask and guard.is_within(form, each)
            for mask, guard in entry.message_guards
            for each in form.sentences
        )
    return False


def _matches_clause(entry: Entry, offered: int, clauses: Form, sentences: Form) -> bool:
    """Whether a clause is what the pattern asks of a sentence; what holds it back may stand anywhere in the message."""
    if entry.pattern.is_out_of_place(clauses) or next(entry.pattern.spans(clauses), None) is None:
        return False
    return not any(
        mask & offered == mask and guard.is_within(sentences, each)
        for mask, guard in (*entry.guards, *entry.message_guards)
        for each in sentences.sentences
    )


def _effects(rules: list[Rule]) -> tuple[Effect, ...]:
    """The winner's own, and what else was said and counts beside it."""
    winner = rules[0]
    own = EFFECTS[winner.intent] if winner.effects is None else winner.effects
    if winner.intent in (Intent.REACTION, Intent.AUTO_REPLY):
        return own
    counting = (*_ALWAYS, winner.intent, *_ALSO.get(winner.intent, ()))
    others = [
        rule for rule in rules[1:] if rule.intent in counting and not (rule.alone and rule.intent is not winner.intent)
    ]
    every = [*own, *(effect for rule in others for effect in rule.effects or EFFECTS[rule.intent])]
    return tuple(dict.fromkeys(effect for effect in every if effect is not Effect.NONE or len(every) == 1))


def _with_human(effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    return (*(effect for effect in effects if effect is not Effect.NONE), Effect.HUMAN)


def _is_beyond_doubt(text: str) -> bool:
    return not any(char in "?¿？" or (_is_emoji(char) and char not in _KINDLY) for char in text)


def _is_thumbs_up(text: str) -> bool:
    emoji = [char for char in text if _is_emoji(char)]
    plain = all(_is_emoji(char) or char.isspace() or char in "!.\ufe0f\u200d🏻🏼🏽🏾🏿" for char in text)
    return plain and _THUMB in emoji and all(char in _KINDLY for char in emoji)


def _is_emoji(char: str) -> bool:
    return unicodedata.category(char) == "So"
