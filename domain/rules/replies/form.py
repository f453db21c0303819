"""Form: a message in its normal form, and where its sentences begin and end once courtesies are left out."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Final

from domain.rules.replies.normalise import unmarked

#: Nothing longer, in its normal form, is looked at as a whole, or clause by clause.
LONGEST_WHOLE: Final = 160
#: A sentence with the blank before it, the mark that ends it, and the blank behind.
_SENTENCE: Final = re.compile(r" [^.?]+[.?](?= )")


class Form:
    """A message in its normal form, with its sentences and where they begin and end but for courtesies."""

    def __init__(self, text: str, courtesy: Courtesy) -> None:
        self.text = text
        self.sentences = [(match.start(), match.end() + 1) for match in _SENTENCE.finditer(text)]
        self._courtesy = courtesy

    @cached_property
    def whole(self) -> Form:
        """The message as one sentence."""
        # of a longer one no rule has the whole, and most are one sentence anyway
        is_one = len(self.sentences) < 2
        return self if is_one else Form(unmarked(self.text), self._courtesy)

    @cached_property
    def starts(self) -> list[tuple[int, tuple[int, int]]]:
        """Where each sentence begins, with all of the courtesies that open it and with fewer; and its span."""
        found = []
        for begin, end in self.sentences:
            first = begin
            found.append((first, (begin, end)))
            while (match := self._courtesy.opening.match(self.text, first, end)) is not None:
                first = match.end() - 1
                found.append((first, (begin, end)))
        return found

    @cached_property
    def first_words(self) -> frozenset[str]:
        """The words at these places."""
        return frozenset(self.text[first + 1 : self.text.find(" ", first + 1)] for first, _ in self.starts)

    @cached_property
    def ends(self) -> list[tuple[int, tuple[int, int]]]:
        """Where each sentence ends, with all of the courtesies that close it and with fewer; and its span."""
        found = []
        for begin, end in self.sentences:
            # with its mark, for a question mark may itself be asked for, and without
            last = end - 2
            found += [(end, (begin, end)), (last, (begin, end))]
            while (match := self._courtesy.closing.search(self.text, begin, last)) is not None:
                last = match.start() + 1
                found.append((last, (begin, end)))
        return found


class Courtesy:
    """The expressions that may stand around a sentence and change nothing in it."""

    def __init__(self, source: str) -> None:
        self.opening = re.compile(f" {source}")
        self.closing = re.compile(rf" {source}\Z")
