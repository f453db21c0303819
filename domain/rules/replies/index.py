"""The index: which patterns can match a message at all, told by its words, before any is tried.

There are a thousand patterns, and a reply is to cost a hundred microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Final

from domain.rules.replies.pattern import Pattern
from domain.rules.replies.rule import Rule
from domain.rules.vocabulary import Intent

#: Words remembered with the patterns they call for; names and rare words come back.
_REMEMBERED: Final = 65_536
#: A clause that is what these ask of a sentence is enough: "not Bill here, stop it".
_BY_CLAUSE: Final = frozenset((Intent.OPT_OUT, Intent.WRONG_NUMBER, Intent.DECEASED))
#: The rules in their order, and of one rule the patterns that cost least first: one that matches spares the others.
_IN_TURN: Final = attrgetter("turn")
_LONGEST_SOURCE: Final = 1_000_000


class Entry:
    """A pattern of a rule, and the guards that may hold it back."""

    __slots__ = (
        "guards",
        "is_for_clauses",
        "is_spared",
        "mask",
        "message_guards",
        "pattern",
        "rule",
        "settles",
        "turn",
    )

    def __init__(self, rule: Rule, pattern: Pattern, index: Index, passed_over: frozenset[str]) -> None:
        self.rule = rule
        self.pattern = pattern
        self.mask = index.mask_of(pattern)
        self.is_for_clauses = pattern.place in ("sentence", "end") and rule.intent in _BY_CLAUSE
        self.guards = [(index.mask_of(guard), guard) for guard in rule.guards]
        self.message_guards = [(index.mask_of(guard), guard) for guard in rule.message_guards]
        self.turn = rule.order * _LONGEST_SOURCE + min(sum(map(len, pattern.sources)), _LONGEST_SOURCE - 1)
        self.is_spared = rule.effects is None and not rule.over
        """It adds nothing to an earlier rule of its intent that settles it."""
        self.settles = rule.effects is None and not rule.alone and rule.id not in passed_over
        """Whatever else matches, later rules of its intent say no more than this one."""


class Index:
    """Finds entries by words. Each set of words that some pattern needs is one bit of a mask."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._bits: dict[frozenset[str], int] = {}
        by_key: dict[str, list[Entry]] = {}
        rules = list(rules)
        passed_over = frozenset(name for rule in rules for name in rule.over)
        for rule in rules:
            for pattern in rule.patterns:
                # the lowest bits are those asked for most: short masks are compared faster
                self.mask_of(pattern)
        for rule in rules:
            for pattern in rule.patterns:
                entry = Entry(rule, pattern, self, passed_over)
                for key in pattern.keys:
                    by_key.setdefault(key, []).append(entry)
        self._every_bit = (1 << len(self._bits)) - 1
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
        """What these words offer, and the entries that need no more than that, in turn."""
        offered = 0
        called: list[tuple[int, Entry]] = []
        for word in set(words):
            mask, callable_by_it = self._called_for(word)
            offered |= mask
            called += callable_by_it
        absent = self._every_bit ^ offered
        entries = [entry for mask, entry in called if not mask & absent]
        entries.sort(key=_IN_TURN)
        return offered, entries
