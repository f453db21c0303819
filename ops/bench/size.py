"""How much a run measures: the full sizes, about a quarter of an hour's worth less, or just enough for a test."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Size(StrEnum):
    """The size of a run; only a full one says how fast the fleet is."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"

    def pick(self, full: T, quick: T, tiny: T) -> T:
        """What this size takes of three."""
        return {Size.FULL: full, Size.QUICK: quick, Size.TINY: tiny}[self]
