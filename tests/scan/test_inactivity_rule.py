"""The inactivity rule against a walk over the days, which says the same in the plainest way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.rules.calendar import add_months
from domain.rules.inactivity import (
    COUNTS_ON,
    CareFacts,
    gap_due,
    inactive_since,
    is_still_lapsed,
    next_scan,
    segment_of,
    threshold_months,
)
from domain.rules.segments import PRIORITY
from domain.rules.vocabulary import Segment, ServiceLine

START = datetime(2020, 1, 31, tzinfo=UTC)
DAYS = 1200

days = st.integers(0, 900).map(lambda n: START + timedelta(days=n))
some_day = st.none() | days
facts_of_anyone = st.builds(
    CareFacts,
    last_visit_at=some_day,
    next_appointment_at=some_day,
    missed_at=some_day,
    gap_due_at=some_day,
    deceased=st.sampled_from([False, False, False, True]),
)
months_of_anyone = st.sampled_from([None, 1, 3, 6, 12, 18, 24, 36])


def segment_by_hand(facts: CareFacts, months: int | None, at: datetime) -> Segment | None:
    if facts.deceased:
        return None
    if facts.next_appointment_at and at < facts.next_appointment_at + timedelta(days=7):
        return None
    is_overdue = facts.gap_due_at is not None and facts.gap_due_at <= at
    is_missed = facts.missed_at is not None and (at - facts.missed_at) >= timedelta(days=30)
    away = facts.last_visit_at is not None and months is not None and months_between(facts.last_visit_at, at) >= months
    if is_overdue:
        return Segment.CHRONIC_OVERDUE
    if is_missed:
        return Segment.NEVER_REBOOKED
    if not away or facts.last_visit_at is None:
        return None
    gone = months_between(facts.last_visit_at, at)
    return Segment.BEYOND_24 if gone >= 24 else Segment.MONTHS_12_24 if gone >= 12 else Segment.MONTHS_6_12


def months_between(earlier: datetime, later: datetime) -> int:
    """Whole calendar months, counted one by one."""
    count = 0
    while True:
        year, month = divmod(earlier.year * 12 + earlier.month - 1 + count + 1, 12)
        for day in (earlier.day, 30, 29, 28):
            try:
                then = earlier.replace(year=year, month=month + 1, day=day)
                break
            except ValueError:
                continue
        if then > later:
            return count
        count += 1


@given(facts_of_anyone, months_of_anyone, st.integers(0, DAYS))
def test_the_segment_of_a_day_is_the_one_worked_out_by_hand(facts: CareFacts, months: int | None, day: int) -> None:
    at = START + timedelta(days=day)

    assert segment_of(facts, months, at) == segment_by_hand(facts, months, at)


@settings(max_examples=60, deadline=None)
@given(facts_of_anyone, months_of_anyone, st.integers(0, DAYS - 1))
@example(CareFacts(last_visit_at=START, missed_at=START + timedelta(days=800)), 12, 0)
@example(CareFacts(last_visit_at=START, next_appointment_at=START + timedelta(days=900)), 6, 400)
def test_scanning_only_when_told_notices_every_change_a_daily_walk_sees(
    facts: CareFacts, months: int | None, first: int
) -> None:
    walked: list[tuple[datetime, Segment]] = []
    seen: Segment | None = None
    for day in range(first, DAYS):
        at = START + timedelta(days=day)
        segment = segment_by_hand(facts, months, at)
        if segment is not None and segment is not seen:
            walked.append((at, segment))
            seen = segment

    noticed: list[tuple[datetime, Segment]] = []
    now, last = START + timedelta(days=first), None
    while (scan_at := next_scan(facts, months, now, last)) and scan_at < START + timedelta(days=DAYS):
        now = max(now, scan_at)
        last = segment_of(facts, months, now)
        assert last is not None
        noticed.append((now, last))

    assert noticed == walked


@given(facts_of_anyone, months_of_anyone, days)
def test_a_patient_in_a_segment_has_a_cause_in_the_past_and_is_still_lapsed(
    facts: CareFacts, months: int | None, at: datetime
) -> None:
    if segment_of(facts, months, at) is None:
        return

    since = inactive_since(facts, months)

    assert since is not None
    assert since <= at
    assert is_still_lapsed(facts, months, at)


@pytest.mark.parametrize(
    ("day", "months", "later"),
    [
        ((2020, 2, 29), 12, (2021, 2, 28)),
        ((2020, 2, 29), 48, (2024, 2, 29)),
        ((2021, 8, 31), 6, (2022, 2, 28)),
        ((2021, 12, 1), 1, (2022, 1, 1)),
        ((2021, 12, 1), 0, (2021, 12, 1)),
    ],
)
def test_months_are_calendar_months(day: tuple[int, int, int], months: int, later: tuple[int, int, int]) -> None:
    assert add_months(datetime(*day, tzinfo=UTC), months) == datetime(*later, tzinfo=UTC)


def test_months_past_the_end_of_the_calendar_are_its_end() -> None:
    assert add_months(datetime(9999, 6, 1, tzinfo=UTC), 12).year == 9999


def test_every_line_has_a_threshold_and_a_site_may_set_its_own() -> None:
    assert [threshold_months(line) for line in ServiceLine] == [12, 6, None]
    assert threshold_months(ServiceLine.CHRONIC, 9) == 9
    assert set(COUNTS_ON) == set(ServiceLine)


def test_the_lapse_begins_on_the_very_instant() -> None:
    facts = CareFacts(last_visit_at=START)
    lapse = add_months(START, 6)

    assert segment_of(facts, 6, lapse - timedelta(microseconds=1)) is None
    assert segment_of(facts, 6, lapse) is Segment.MONTHS_6_12


def test_urgent_and_likely_patients_come_first() -> None:
    assert sorted(Segment, key=PRIORITY.__getitem__) == [
        Segment.CHRONIC_OVERDUE,
        Segment.NEVER_REBOOKED,
        Segment.MONTHS_6_12,
        Segment.MONTHS_12_24,
        Segment.BEYOND_24,
    ]


def test_a_recurring_gap_counts_from_the_visit_or_the_onset_whichever_is_later() -> None:
    onset, visit = START, START + timedelta(days=100)

    assert gap_due(START, 6, onset, None) == add_months(onset, 6)
    assert gap_due(START, 6, onset, visit) == add_months(visit, 6)
    assert gap_due(START, 6, visit, onset) == add_months(visit, 6)


def test_a_gap_with_a_fixed_date_waits_three_months_after_a_visit() -> None:
    due, visit = START + timedelta(days=40), START + timedelta(days=30)

    assert gap_due(due, None, None, None) == due
    assert gap_due(due, None, None, visit) == add_months(visit, 3)
    assert gap_due(due, None, None, START - timedelta(days=400)) == due
