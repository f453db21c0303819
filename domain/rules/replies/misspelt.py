"""Misspellings: which word of ours an unknown word was meant to be, if it can have been no other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

#: One slip in a word of this many letters, two in a long one.
_LONG: Final = 9
_SHORTEST: Final = 4


class Corrector:
    """Corrects words of four letters or more within one slip (two from nine letters on), never an ordinary word."""

    def __init__(self, targets: Iterable[str], ordinary: Collection[str]) -> None:
        self._ordinary = frozenset(ordinary)
        self._by_first: dict[str, list[str]] = {}
        for word in targets:
            self._by_first.setdefault(word[0], []).append(word)

    def correct(self, word: str) -> str:
        """The word meant, which is mostly the word itself."""
        targets = self._by_first.get(word[0], ()) if len(word) >= _SHORTEST else ()
        if word in targets or word in self._ordinary:
            return word
        return next((each for each in targets if is_near(word, each, 2 if len(each) >= _LONG else 1)), word)


def is_near(word: str, target: str, within: int) -> bool:
    """Whether `within` slips (a letter too many, too few, wrong, or two swapped) make `word` of `target`."""
    if abs(len(word) - len(target)) > within:
        return False
    before: list[int] = []
    row = list(range(len(target) + 1))
    for i, letter in enumerate(word, 1):
        above, before, row = before, row, [i]
        for j, wanted in enumerate(target, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == target[j - 2] and word[i - 2] == wanted:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1] <= within


def whole_word(word: str, targets: Mapping[str, int]) -> str | None:
    """Which of `targets` (each with the slips allowed) a message of one word was meant to be."""
    return next((target for target, within in targets.items() if is_near(word, target, within)), None)
