"""Rule: one row of a data file, as the reader of messages uses it."""

from __future__ import annotations

from dataclasses import dataclass

from domain.rules.replies.pattern import Pattern
from domain.rules.vocabulary import Effect, Intent


@dataclass(frozen=True)
class Rule:
    """One row of a data file."""

    id: str
    intent: Intent
    language: str | None
    """None where the words are asked for in every language (STOP, C): then the patient's own language counts."""
    where: str
    """`file:line`."""
    order: int
    """Of two rules of one intent the one that stands first is named."""
    alone: bool
    """It counts only as the answer: beside an earlier intent it adds nothing."""
    effects: tuple[Effect, ...] | None
    """None: those of its intent."""
    over: frozenset[str]
    """Intents and rules that count for nothing where this one matches."""
    words: tuple[str, ...]
    """Whole messages, folded."""
    misspelt: dict[str, int]
    patterns: tuple[Pattern, ...]
    guards: tuple[Pattern, ...]
    message_guards: tuple[Pattern, ...]
    examples: tuple[str, ...]
    counter_examples: tuple[str, ...]
