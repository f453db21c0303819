"""The waiting line: when withheld messages get their next turn, spaced as the narrowest limit allows.

Were all told the same next instant, all but one would be claimed and withheld again, over and over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ops.runtime.pacing import Cell


class WaitingLine:
    """One channel's line in one process; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = datetime.min.replace(tzinfo=UTC)

    def turn(self, earliest: datetime, cells: Iterable[Cell], cost: int) -> datetime:
        """The next free turn at or after `earliest` (UTC) for a message that takes `cost` from each of `cells`."""
        spacing = timedelta(seconds=max((cost / cell.per_second for cell in cells), default=0.0))
        with self._lock:
            turn = max(earliest, self._next)
            self._next = turn + spacing
            return turn
