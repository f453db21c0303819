"""The index: which patterns can match a message at all, told by its words, before any is tried.

There are a thousand patterns, and a reply is to cost a hundred microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from domain.rules.replies.pattern import Pattern
from domain.rules.replies.rule import Rule
from domain.rules.vocabulary import Intent

#: Words remembered with the patterns they call for; names and rare words come back.
_REMEMBERED: Final = 65_536
#: A clause that is what these ask of a sentence is enough: "not Bill here, stop it".
_BY_CLAUSE: Final = frozenset((Intent.OPT_OUT, Intent.WRONG_NUMBER, Intent.DECEASED))


class Entry:
    """A pattern of a rule, and the guards that may hold it back."""

    __slots__ = ("guards", "is_for_clauses", "mask", "message_guards", "pattern", "rule")

    def __init__(self, rule: Rule, pattern: Pattern, index: Index) -> None:
        self.rule = rule
        self.pattern = pattern
        self.mask = index.mask_of(pattern)
        self.is_for_clauses = pattern.place in ("sentence", "end") and rule.intent in _BY_CLAUSE
        self.guards = [(index.mask_of(guard), guard) for guard in rule.guards]
        self.message_guards = [(index.mask_of(guard), guard) for guard in rule.message_guards]


class Index:
    """Finds entries by words. Each set of words that some pattern needs is one bit of a mask."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._bits: dict[frozenset[str], int] = {}
        by_key: dict[str, list[Entry]] = {}
        for rule in rules:
            for pattern in rule.patterns:
                entry = Entry(rule, pattern, self)
                for key in pattern.keys:
                    by_key.setdefault(key, []).append(entry)
        by_word: dict[str, int] = {}
        for words, bit in self._bits.items():
            for word in words:
                by_word[word] = by_word.get(word, 0) | bit
        beginnings = [word for word in {*by_key, *by_word} if word.endswith("*")]

        @lru_cache(_REMEMBERED)
        def called_for(word: str) -> tuple[int, tuple[tuple[int, Entry], ...]]:
            keys = [word, *(each for each in beginnings if word.startswith(each[:-1]))]
            mask = 0
            for key in keys:
                mask |= by_word.get(key, 0)
            return mask, tuple((entry.mask, entry) for key in keys for entry in by_key.get(key, ()))

        self._called_for = called_for

    def mask_of(self, pattern: Pattern) -> int:
        """All that a pattern needs."""
        mask = 0
        for words in (pattern.keys, *pattern.needs):
            mask |= self._bits.setdefault(words, 1 << len(self._bits))
        return mask

    def look_up(self, words: Iterable[str]) -> tuple[int, list[Entry]]:
        """What these words offer, and the entries that need no more than that."""
        offered = 0
        called: list[tuple[int, Entry]] = []
        for word in set(words):
            mask, entries = self._called_for(word)
            offered |= mask
            called += entries
        return offered, [entry for mask, entry in called if mask & offered == mask]
