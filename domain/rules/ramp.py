"""The ramp: how much of the rate sending may use after an outage, when what waited must not all fire at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

#: An absence longer than this is an outage: the backlog it leaves is caught up with slowly.
OUTAGE: Final = timedelta(minutes=10)

#: The fraction of the rate a ramp begins with, and how long it takes to reach all of it.
FIRST: Final = 0.1
LENGTH: Final = timedelta(minutes=30)


def is_outage(expected: datetime, now: datetime) -> bool:
    """Whether work that was expected no later than at `expected`, and begins `now`, was away for an outage."""
    return now - expected > OUTAGE


def is_over(since: datetime, now: datetime) -> bool:
    """Whether a ramp that began at `since` has reached the whole rate."""
    return now - since >= LENGTH


def allowance(since: datetime, before: datetime, now: datetime) -> float:
    """Seconds of the whole rate that a ramp begun at `since` lets through between `before` and `now`.

    The rate rises evenly from `FIRST` to all of it; what it lets through is the area below that line, whatever the
    steps in which it is asked for.
    """
    return max(0.0, _area(since, now) - _area(since, before))


def _area(since: datetime, at: datetime) -> float:
    elapsed, length = max(0.0, (at - since).total_seconds()), LENGTH.total_seconds()
    rising = min(elapsed, length)
    return FIRST * rising + (1 - FIRST) * rising * rising / (2 * length) + (elapsed - rising)
