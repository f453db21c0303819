"""Pacing inside one process: GCRA in whole microseconds, the arithmetic that the Redis script repeats to the digit."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ops.runtime.pacing import Ask, Cell, Grant

_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Cells remembered before those at rest are forgotten.
_MANY = 10_000


class LocalPacer:
    """The limits of one process. Safe to share between threads."""

    def __init__(self) -> None:
        self._arrivals: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, asks: Sequence[Ask], now: datetime | None = None) -> list[Grant]:
        """Answer each ask, in order; `now` None means this machine's clock."""
        instant = micros(now) if now is not None else time.time_ns() // 1000
        charges = [charges_of(ask) for ask in asks]
        with self._lock:
            if len(self._arrivals) > _MANY:
                self._arrivals = {key: at for key, at in self._arrivals.items() if at > instant}
            return [self._take(cells, instant) for cells in charges]

    def close(self) -> None:
        """Forget every cell."""
        with self._lock:
            self._arrivals.clear()

    def _take(self, cells: list[tuple[str, int, int]], now: int) -> Grant:
        wait = 0
        arrivals = []
        for key, increment, capacity in cells:
            arrival = max(self._arrivals.get(key, 0), now) + increment
            wait = max(wait, arrival - capacity - now)
            arrivals.append((key, arrival))
        if wait > 0:
            return Grant(granted=False, retry_after=timedelta(microseconds=wait))
        self._arrivals.update(arrivals)
        return Grant(granted=True, retry_after=timedelta())


def charges_of(ask: Ask) -> list[tuple[str, int, int]]:
    """What `ask` takes of each of its cells: key, microseconds it adds, microseconds the cell may run ahead.

    A message that costs more than a whole burst passes when its cell is full; otherwise it would wait for ever.

    Raises:
        ValueError: a limit or cost that could never be kept.
    """
    if ask.cost < 1:
        raise ValueError("a message costs at least one token")
    cells = {cell.key: cell for cell in ask.cells}
    return [
        (key, ask.cost * _period(cell), max(cell.burst + cell.reserve, ask.cost) * _period(cell))
        for key, cell in cells.items()
    ]


def micros(instant: datetime) -> int:
    """Whole microseconds since 1970 of an aware instant, without a float on the way."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _period(cell: Cell) -> int:
    if not cell.per_second > 0 or cell.burst < 1:
        raise ValueError("a pacing cell needs a rate above zero and a burst of at least one")
    # rounded up: a limit is kept, never exceeded by a rounding
    return math.ceil(_SECOND / cell.per_second)
