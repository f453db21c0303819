"""The words a message may not use: which terms of a lexicon a text contains, however they are inflected or written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

#: Characters that show nothing and would hide a word from every comparison.
_UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Match:
    """A term found in a text: the words as they were written, and the line they begin on (from 0)."""

    words: str
    line: int


@dataclass(frozen=True)
class WordRule:
    """Terms of one kind in one language.

    A term is a word, found in all its inflections; `diabet*`, every word that begins so; `=flu`, that word and no
    inflection; or several of these in a row.
    """

    id: str
    language: str
    tells: str
    """What a text with such a word does. Written to follow "it"."""
    instead: str
    """What to do about it."""
    terms: Sequence[str]
    unless: Sequence[str] = ()
    """Turns of phrase in which the words mean something else."""

    @property
    def is_about_care(self) -> bool:
        """Whether it guards privacy: such rules judge texts in every language."""
        return self.id.startswith("clinical.")

    def matches(self, text: Text) -> Iterator[Match]:
        """Every place where a term stands."""
        spared = [found.span() for found in self._unless.finditer(text.plain)] if self.unless else []
        for found in self._terms.finditer(text.plain):
            if not any(start <= found.start() and found.end() <= end for start, end in spared):
                yield text.match(found.start(), found.end())

    @cached_property
    def _terms(self) -> re.Pattern[str]:
        return _pattern(self.terms, self.language)

    @cached_property
    def _unless(self) -> re.Pattern[str]:
        return _pattern(self.unless, self.language)


class Text:
    """A text as the rules read it: words without accents or case, one blank between them."""

    def __init__(self, text: str) -> None:
        self.written = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
        self._places: list[tuple[int, int, int]] = []
        plain: list[str] = []
        length = 0
        for word in _WORD.finditer(self.written):
            bare = without_accents(word.group())
            self._places.append((length, word.start(), word.end()))
            plain.append(bare)
            length += len(bare) + 1
        self.plain = " ".join(plain)

    def match(self, start: int, end: int) -> Match:
        """The written words that stand from `start` to `end` of the plain ones."""
        inside = [place for place in self._places if start <= place[0] < end]
        first, last = inside[0][1], inside[-1][2]
        return Match(" ".join(self.written[first:last].split()), self.written.count("\n", 0, first))


def without_accents(word: str) -> str:
    """`word` in lower case and without its accents: año is ano, Médico is medico."""
    parts = unicodedata.normalize("NFKD", word.casefold())
    return "".join(char for char in parts if not unicodedata.combining(char))


def _pattern(terms: Sequence[str], language: str) -> re.Pattern[str]:
    # the longest first, so that a match tells the whole of what is there
    ordered = sorted(terms, key=len, reverse=True)
    alternatives = "|".join(" ".join(_word(word, language) for word in term.split()) for term in ordered)
    return re.compile(rf"(?<![^ ])(?:{alternatives})(?![^ ])")


def _word(word: str, language: str) -> str:
    plain = without_accents(word.strip("*="))
    if word.endswith("*"):
        return re.escape(plain) + r"\w*"
    if word.startswith("="):
        return re.escape(plain)
    inflect = _INFLECTIONS.get(language, _as_it_is)
    return inflect(plain)


def _as_it_is(word: str) -> str:
    return re.escape(word)


def _english(word: str) -> str:
    if word.endswith("y"):
        return f"{re.escape(word[:-1])}(?:y|ys|ies)"
    return f"{re.escape(word)}(?:s|es)?"


def _spanish(word: str) -> str:
    if word.endswith("z"):
        return f"{re.escape(word[:-1])}(?:z|ces)"
    if word.endswith("o"):
        return f"{re.escape(word[:-1])}(?:o|a)s?"
    if word.endswith("or"):
        return f"{re.escape(word)}(?:a|es|as)?"
    return f"{re.escape(word)}(?:s|es)?"


_INFLECTIONS = {"en": _english, "es": _spanish}
