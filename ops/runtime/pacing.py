"""Pacing: hierarchical GCRA. One round trip takes tokens from several cells for many messages, with partial grants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Cell:
    """One limit: at most `per_second` sustained and `burst` at once, counted under `key`."""

    key: str
    per_second: float
    burst: int
    reserve: int = 0
    """So many more at once for this message alone: what others under the same key always leave it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One message's wish: `cost` tokens from every one of `cells`, all or none."""

    cells: tuple[Cell, ...]
    cost: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to one Ask: granted, or try again after `retry_after`."""

    granted: bool
    retry_after: timedelta


class Pacer(Protocol):
    """Grants or withholds tokens; never fails open."""

    def take(self, asks: Sequence[Ask], now: datetime | None = None) -> list[Grant]:
        """Answer each ask, in order. `now` None = the limiter's own time (Redis server time); simulations give it."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...
