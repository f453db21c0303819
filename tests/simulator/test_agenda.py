"""The order of simulated actions, and chance that does not depend on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

from ops.simulator.agenda import Agenda, Kind, next_slot
from ops.simulator.draws import Draws

NOON = datetime(2025, 3, 3, 12, tzinfo=UTC)


async def nothing() -> None:
    """An action without effect."""


def test_groups_come_by_instant_then_kind_then_key_however_they_were_planned() -> None:
    plans = [
        (NOON, Kind.REPLY, "b"),
        (NOON, Kind.RECEIPT, "a"),
        (NOON, Kind.REPLY, "a"),
        (NOON - timedelta(hours=1), Kind.CLICK, "z"),
    ]

    for order in permutations(plans):
        agenda = Agenda()
        for at, kind, key in order:
            agenda.add(at, kind, key, nothing)
        groups = []
        while group := agenda.take_group(NOON):
            groups.append([(action.kind, action.key) for action in group])

        assert groups == [[(Kind.CLICK, "z")], [(Kind.RECEIPT, "a")], [(Kind.REPLY, "a"), (Kind.REPLY, "b")]]


def test_nothing_is_taken_before_its_time() -> None:
    agenda = Agenda()
    agenda.add(NOON, Kind.REPLY, "a", nothing)

    assert agenda.take_group(NOON - timedelta(microseconds=1)) == []
    assert agenda.next_at() == NOON
    assert len(agenda.take_group(NOON)) == 1
    assert agenda.next_at() is None


def test_next_slots_are_kept_and_others_rounded_up() -> None:
    assert next_slot(NOON) == NOON
    assert next_slot(NOON + timedelta(seconds=1)) == NOON + timedelta(hours=3)


def test_a_draw_depends_on_the_question_only() -> None:
    draws = Draws(1)

    first = draws.fraction("reply", "p1", 2)
    for other in range(50):
        draws.fraction("reply", "p2", other)

    assert draws.fraction("reply", "p1", 2) == first == Draws(1).fraction("reply", "p1", 2)
    assert Draws(2).fraction("reply", "p1", 2) != first
    assert draws.fraction("reply", "p12") != draws.fraction("reply", "p1", 2)


def test_draws_are_fair() -> None:
    draws = Draws(5)

    share = sum(draws.happens(0.2, "coin", number) for number in range(20_000)) / 20_000
    thirds = [draws.weighted((("a", 1.0), ("b", 2.0)), "pick", number) for number in range(9_000)]

    assert abs(share - 0.2) < 0.01
    assert abs(thirds.count("a") / 9_000 - 1 / 3) < 0.02
    assert {draws.whole(3, 5, "whole", number) for number in range(200)} == {3, 4, 5}
