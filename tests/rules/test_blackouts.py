"""Blackouts: silent dates are counted where the person is, and what they shift keeps its distance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time

import pytest
from rulebooks import DEFAULT_HOURS

from domain.rules.blackouts import NO_BLACKOUT, Blackout, from_entries, from_text
from domain.rules.cadence import Cadence, plan, reminder
from domain.rules.quiet_hours import zone_info

DENVER, AUCKLAND = "America/Denver", "Pacific/Auckland"
HOLIDAYS = Blackout(((date(2026, 12, 24), date(2026, 12, 26)), (date(2026, 12, 27), date(2026, 12, 27))))
CADENCE = Cadence(
    offsets=(0, 7, 21),
    channels=("sms",),
    send_at=(time(10, 30),),
    graduate_after_days=30,
    reminder_every_months=4,
    reminders=3,
    blackout=HOLIDAYS,
)


def at(day: int, hour: int = 17) -> datetime:
    return datetime(2026, 12, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "zones", "until"),
    [
        (at(23), [DENVER], None),
        (at(24, 6), [DENVER], None),
        (at(24, 7), [DENVER], at(28, 7)),
        (at(27), [DENVER], at(28, 7)),
        (at(28, 7), [DENVER], None),
        # the last zone in which the day is silent counts
        (at(23, 12), [DENVER, AUCKLAND], at(28, 7)),
        (at(23, 12), [AUCKLAND], at(27, 11)),
    ],
)
def test_it_ends_with_the_last_silent_day_of_every_zone(
    now: datetime, zones: list[str], until: datetime | None
) -> None:
    assert HOLIDAYS.ends(now, zones) == until


def test_what_the_ledger_keeps_is_what_the_file_says() -> None:
    entries = [{"first": "2026-12-24", "last": "2026-12-26"}, {"first": "2026-12-27", "last": "2026-12-27"}]

    assert from_entries(entries) == HOLIDAYS == from_text(HOLIDAYS.as_text())
    assert from_text(None) == from_entries(()) == NO_BLACKOUT
    assert NO_BLACKOUT.as_text() is None


def days_of(cadence: Cadence, start: datetime) -> list[tuple[int, int, time]]:
    planned = plan(cadence, start=start, zone=DENVER, hours=DEFAULT_HOURS, reachable=["sms"], preferred=None, draw=0.0)
    local = [each.due_at.astimezone(zone_info(DENVER)) for each in planned]
    return [(each.month, each.day, each.time()) for each in local]


def test_what_falls_into_it_goes_on_the_first_day_after_and_the_rest_keeps_its_distance() -> None:
    half_past = time(10, 30)

    assert days_of(CADENCE, at(17)) == [(12, 17, half_past), (12, 28, half_past), (1, 11, half_past)]
    assert days_of(replace(CADENCE, blackout=NO_BLACKOUT), at(17)) == [
        (12, 17, half_past),
        (12, 24, half_past),
        (1, 7, half_past),
    ]


def test_a_reminder_waits_for_its_end_too() -> None:
    found = reminder(
        CADENCE,
        0,
        after=datetime(2026, 8, 25, 17, tzinfo=UTC),
        zone=DENVER,
        hours=DEFAULT_HOURS,
        reachable=["sms"],
        preferred=None,
        draw=0.0,
    )

    assert found.due_at.astimezone(zone_info(DENVER)).date() == date(2026, 12, 28)
