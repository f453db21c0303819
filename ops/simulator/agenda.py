"""What happens when: actions by instant and kind, in an order that does not depend on when they were planned."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import count

#: Patients and desks act at every third hour.
SLOT_HOURS = 3


class Kind(IntEnum):
    """Kinds of action; at one instant the lower go first, and a kind is finished before the next begins."""

    RECEIPT = 0
    RECORDS = 1
    """The record system does something (book, admit, cancel) and tells of it."""
    REPLY = 2
    CLICK = 3


Act = Callable[[], Awaitable[None]]


@dataclass(order=True, slots=True)
class Action:
    """One thing to do. Actions of one `key` are done one after the other; those of different keys may overlap."""

    at: datetime
    kind: Kind
    key: str
    number: int
    act: Act = field(compare=False)


class Agenda:
    """Actions not yet done."""

    def __init__(self) -> None:
        self._heap: list[Action] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: datetime, kind: Kind, key: str, act: Act) -> None:
        """Plan an action (`at` in UTC)."""
        heapq.heappush(self._heap, Action(at, kind, key, next(self._numbers), act))

    def next_at(self) -> datetime | None:
        """The instant of the earliest action."""
        return self._heap[0].at if self._heap else None

    def take_group(self, now: datetime) -> list[Action]:
        """Take the earliest due actions that share an instant and a kind; empty when nothing is due."""
        group: list[Action] = []
        while self._heap and self._heap[0].at <= now:
            first = self._heap[0]
            if group and (first.at, first.kind) != (group[0].at, group[0].kind):
                break
            group.append(heapq.heappop(self._heap))
        return group


def next_slot(at: datetime) -> datetime:
    """`at` rounded up to 00:00, 03:00, 06:00 … (UTC), so that simulated instants stay few."""
    floor = at.replace(hour=at.hour - at.hour % SLOT_HOURS, minute=0, second=0, microsecond=0)
    return floor if floor == at else floor + timedelta(hours=SLOT_HOURS)
