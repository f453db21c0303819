"""Withheld messages get turns of their own, no faster than the limit and no later than it allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ops.runtime.pacing import Cell
from workers.waiting_line import WaitingLine

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
CELLS = (Cell("account", 100, 100), Cell("number", 2, 10))


def test_turns_are_spaced_by_the_narrowest_limit_and_the_cost() -> None:
    line = WaitingLine()

    turns = [line.turn(NOON, CELLS, cost) for cost in (1, 2, 1)]

    assert turns == [NOON, NOON + timedelta(seconds=0.5), NOON + timedelta(seconds=1.5)]


def test_nobody_is_given_a_turn_before_the_limiter_could_grant_it() -> None:
    line = WaitingLine()
    line.turn(NOON, CELLS, 1)

    later = line.turn(NOON + timedelta(minutes=5), CELLS, 1)

    assert later == NOON + timedelta(minutes=5)
