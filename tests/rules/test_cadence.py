"""The cadence: on which local days and times, on which channels, and what follows it."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rulebooks import DEFAULT_HOURS, STANDARD

from domain.rules.cadence import Cadence, Planned, from_definition, plan, reminder, review_after
from domain.rules.quiet_hours import Hours, is_allowed
from domain.rules.vocabulary import TouchKind

DENVER = "America/Denver"
#: A Wednesday, 8:00 in Denver: before either time of day.
START = datetime(2026, 3, 4, 15, tzinfo=UTC)
DAY = timedelta(days=1)
SUNDAY = 6
CADENCE = Cadence(
    offsets=(0, 10, 30, 90, 180),
    channels=("sms", "email"),
    send_at=(time(10, 30), time(15)),
    graduate_after_days=30,
    reminder_every_months=4,
    reminders=3,
)
WITHOUT_HOLIDAYS = Hours(DEFAULT_HOURS.weekdays)


def planned(**changes: Any) -> list[Planned]:
    told: dict[str, Any] = {
        "start": START,
        "zone": DENVER,
        "hours": DEFAULT_HOURS,
        "reachable": ("email", "sms"),
        "preferred": None,
        "draw": 0.0,
    }
    return plan(CADENCE, **(told | changes))


def local(each: Planned, zone: str = DENVER) -> datetime:
    return each.due_at.astimezone(ZoneInfo(zone))


def test_touches_fall_on_their_days_at_the_same_local_time_through_the_change_of_the_clocks() -> None:
    found = planned()

    assert [(local(each).date() - START.date()).days for each in found] == [0, 10, 30, 90, 180]
    assert {local(each).time() for each in found} == {time(10, 30)}
    assert [each.due_at.hour for each in found] == [17, 16, 16, 16, 16]


def test_steps_are_numbered_outreach_and_expire_five_days_after_they_were_due() -> None:
    found = planned()

    assert [each.step for each in found] == [0, 1, 2, 3, 4]
    assert {each.kind for each in found} == {TouchKind.OUTREACH}
    assert {each.expires_at - each.due_at for each in found} == {5 * DAY}


@pytest.mark.parametrize(
    ("changes", "channels"),
    [
        ({}, ["sms", "email", "sms", "email", "sms"]),
        ({"preferred": "email"}, ["email", "sms", "email", "sms", "email"]),
        ({"preferred": "sms"}, ["sms", "email", "sms", "email", "sms"]),
        ({"reachable": ("sms",), "preferred": "email"}, ["sms"] * 5),
        ({"reachable": ("email",)}, ["email"] * 5),
        ({"preferred": "postcard"}, ["sms", "email", "sms", "email", "sms"]),
        ({"reachable": ("email", "sms", "voice")}, ["sms", "email", "sms", "email", "sms"]),
    ],
)
def test_channels_alternate_by_preference_among_those_that_reach_the_patient(
    changes: dict[str, Any], channels: list[str]
) -> None:
    assert [each.channel for each in planned(**changes)] == channels


@pytest.mark.parametrize(
    ("start", "days"),
    [
        (datetime(2026, 3, 4, 17, 30, tzinfo=UTC), 0),
        (datetime(2026, 3, 4, 17, 30, 1, tzinfo=UTC), 1),
        # half past four in the morning in UTC is still the evening before in Denver
        (datetime(2026, 3, 5, 4, 30, tzinfo=UTC), 1),
    ],
)
def test_a_first_touch_whose_hour_has_passed_goes_tomorrow(start: datetime, days: int) -> None:
    first, second = planned(start=start)[:2]

    assert (local(first).date() - datetime(2026, 3, 4, tzinfo=UTC).date()).days == days
    assert second.due_at.date() - first.due_at.date() == 10 * DAY


@pytest.mark.parametrize(("draw", "at"), [(0.0, time(10, 30)), (0.499, time(10, 30)), (0.5, time(15))])
def test_the_draw_picks_the_time_of_day(draw: float, at: time) -> None:
    assert {local(each).time() for each in planned(draw=draw)} == {at}


@settings(max_examples=100, deadline=None)
@given(
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(  # noqa: DTZ001 - the zone is set here
        lambda each: each.replace(tzinfo=UTC)
    ),
    zone=st.sampled_from(["America/New_York", "America/Phoenix", "Pacific/Honolulu", DENVER]),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_no_touch_is_due_before_the_enrolment_nor_later_than_a_day_after_its_offset(
    start: datetime, zone: str, draw: float
) -> None:
    found = planned(start=start, zone=zone, draw=draw, hours=WITHOUT_HOLIDAYS)

    # an hour sooner where the clocks went on, and an hour and a half where a Sunday's enrolment waited for its noon
    assert all(
        offset * DAY - timedelta(hours=2.5) <= each.due_at - start <= (offset + 1) * DAY + timedelta(hours=3)
        for offset, each in zip(CADENCE.offsets, found, strict=True)
    )
    assert found[0].due_at >= start
    assert all(is_allowed(each.due_at, [zone], WITHOUT_HOLIDAYS) for each in found)
    on_sundays = {local(each, zone).time() for each in found if local(each, zone).weekday() == SUNDAY}
    assert on_sundays <= {time(12), *CADENCE.send_at}
    assert {local(each, zone).time() for each in found if local(each, zone).weekday() != SUNDAY} <= set(CADENCE.send_at)


def test_no_touch_is_planned_on_a_holiday_nor_on_a_sunday_where_the_state_forbids_it() -> None:
    # a Tuesday in Alabama; ten days later it is Christmas Day, and thirty days later a Thursday
    start = datetime(2026, 12, 15, 15, tzinfo=UTC)
    # ten days later it is a Sunday
    sunday = start + 9 * DAY

    hours = STANDARD.in_force(None, ["AL"]).hours
    found = [planned(start=each, zone="America/Chicago", hours=hours)[1] for each in (start, sunday)]

    assert [local(each, "America/Chicago") for each in found] == [
        datetime(2026, 12, 26, 9, tzinfo=ZoneInfo("America/Chicago")),
        datetime(2027, 1, 4, 9, tzinfo=ZoneInfo("America/Chicago")),
    ]


def test_the_review_comes_a_month_after_the_last_touch() -> None:
    assert review_after(CADENCE, START) == START + 210 * DAY


def test_a_reminder_comes_calendar_months_later_at_the_patients_time_of_day() -> None:
    after = datetime(2026, 10, 31, 20, tzinfo=UTC)

    found = reminder(
        CADENCE, 0, after=after, zone=DENVER, hours=DEFAULT_HOURS, reachable=("sms", "email"), preferred=None, draw=0.9
    )

    assert (found.kind, found.step) == (TouchKind.REMINDER, 5)
    assert local(found) == datetime(2027, 2, 28, 15, tzinfo=ZoneInfo(DENVER))


def test_reminders_go_on_alternating_where_the_cadence_stopped() -> None:
    found = [
        reminder(
            CADENCE,
            nth,
            after=START,
            zone=DENVER,
            hours=DEFAULT_HOURS,
            reachable=("sms", "email"),
            preferred="email",
            draw=0,
        )
        for nth in range(3)
    ]

    assert [(each.step, each.channel) for each in found] == [(5, "sms"), (6, "email"), (7, "sms")]


def test_a_stored_definition_becomes_the_cadence_it_says() -> None:
    definition = {
        "cadence": [0, 10, 30, 90, 180],
        "channels": ["sms", "email"],
        "send_at": ["10:30:00", "15:00:00"],
        "graduate_after_days": 30,
        "reminder": {"every_months": 4, "at_most": 3},
    }

    assert from_definition(definition) == CADENCE
