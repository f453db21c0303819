"""Quiet hours, against a walk over the minutes of the wall clocks concerned, by the system's own zone data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rulebooks import DEFAULT_HOURS, STANDARD

from domain.rules.quiet_hours import END_OF_DAY, Hours, closing, is_allowed, next_allowed, window_end

MINUTE = timedelta(minutes=1)
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles")
FAR = (*ZONES, "Pacific/Honolulu", "America/St_Johns", "America/Anchorage", "Pacific/Guam")
#: Clocks that change at midnight, by half an hour, by a whole day, or in the late evening.
ODD = ("America/Havana", "Australia/Lord_Howe", "Africa/Casablanca", "America/Nuuk", "Asia/Beirut", "Pacific/Apia")

#: Both changes of 2026 in the United States, an ordinary week, and both of 2027 fall inside.
instants = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(  # noqa: DTZ001 - the zone is set here
    lambda each: each.replace(second=0, microsecond=0, tzinfo=UTC)
)
#: Within two days of both changes of the clocks of 2026, where somebody keeps summer time.
near_changes = st.one_of(
    *(
        st.integers(-2 * 1440, 2 * 1440).map(lambda minutes, at=at: at + minutes * MINUTE)
        for at in (datetime(2026, 3, 8, 8, tzinfo=UTC), datetime(2026, 11, 1, 7, tzinfo=UTC))
    )
)
spring, autumn = datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC)

Judge = Callable[[datetime], bool]

#: What the tables say of some states, in other words: minutes of the day from which and until which, by ISO weekday.
STATES = {
    "AL": {**dict.fromkeys(range(1, 7), (8 * 60, 20 * 60)), 7: None},
    "KY": dict.fromkeys(range(1, 8), (10 * 60, 21 * 60)),
    "FL": dict.fromkeys(range(1, 8), (8 * 60, 20 * 60)),
    "RI": {**dict.fromkeys(range(1, 6), (9 * 60, 18 * 60)), 6: (10 * 60, 17 * 60), 7: (10 * 60, 17 * 60)},
    "TX": {**dict.fromkeys(range(1, 7), (9 * 60, 21 * 60)), 7: (12 * 60, 21 * 60)},
    "CO": dict.fromkeys(range(1, 8), (8 * 60, 21 * 60)),
}
#: The federal holidays of these years with the weekdays they are observed on, from the calendar of 5 USC 6103.
_FEDERAL_HOLIDAYS = """
    2026-01-01 2026-01-19 2026-02-16 2026-05-25 2026-06-19 2026-07-03 2026-07-04 2026-09-07 2026-10-12 2026-11-11
    2026-11-26 2026-12-25
    2027-01-01 2027-01-18 2027-02-15 2027-05-31 2027-06-18 2027-06-19 2027-07-04 2027-07-05 2027-09-06 2027-10-11
    2027-11-11 2027-11-25 2027-12-24 2027-12-25 2027-12-31 2028-01-01
"""
FEDERAL_HOLIDAYS = frozenset(map(date.fromisoformat, _FEDERAL_HOLIDAYS.split()))


def may_be_reached(now: datetime, zones: Sequence[str], states: Sequence[str] = ()) -> bool:
    """The rules in other words: 9 to 20, Sundays 12 to 20, no holiday, and what the states say, on every wall clock."""
    for zone in zones:
        wall = now.astimezone(ZoneInfo(zone))
        minute, weekday = wall.hour * 60 + wall.minute, wall.isoweekday()
        if wall.date() in FEDERAL_HOLIDAYS or not (12 if weekday == 7 else 9) * 60 <= minute < 20 * 60:
            return False
        for state in states:
            window = STATES[state][weekday]
            if window is None or not window[0] <= minute < window[1]:
                return False
    return True


def walk(now: datetime, judge: Judge, *, wanted: bool) -> datetime:
    """The first whole minute at or after `now` at which the judge says what is wanted."""
    while judge(now) is not wanted:
        now += MINUTE
    return now


@settings(max_examples=400, deadline=None)
@given(
    now=st.one_of(instants, near_changes),
    zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=3, unique=True),
    states=st.lists(st.sampled_from(sorted(STATES)), max_size=2, unique=True),
)
@example(now=spring, zones=["America/New_York", "America/Phoenix"], states=[])
@example(now=autumn, zones=["America/New_York", "America/Phoenix"], states=[])
@example(now=spring, zones=["America/Chicago"], states=["AL"])
@example(now=datetime(2026, 12, 25, tzinfo=UTC), zones=["America/New_York"], states=["RI", "KY"])
@example(now=datetime(2027, 12, 31, tzinfo=UTC), zones=["America/Los_Angeles"], states=["AL"])
def test_the_next_allowed_instant_and_the_windows_end_are_those_a_walk_over_the_minutes_finds(
    now: datetime, zones: list[str], states: list[str]
) -> None:
    hours = STANDARD.in_force(None, states).hours

    found = next_allowed(now, zones, hours)

    assert found == walk(now, lambda at: may_be_reached(at, zones, states), wanted=True)
    assert window_end(found, zones, hours) == walk(found, lambda at: may_be_reached(at, zones, states), wanted=False)
    assert is_allowed(now, zones, hours) is (found == now)


@settings(max_examples=120, deadline=None)
@given(now=instants, zones=st.lists(st.sampled_from(FAR), min_size=1, max_size=3, unique=True))
def test_an_instant_is_allowed_if_every_wall_clock_says_so(now: datetime, zones: list[str]) -> None:
    assert is_allowed(now, zones, DEFAULT_HOURS) is may_be_reached(now, zones)


@settings(max_examples=400, deadline=None)
@given(
    now=st.one_of(
        near_changes, st.integers(0, 3 * 366 * 1440).map(lambda each: datetime(2025, 1, 1, tzinfo=UTC) + each * MINUTE)
    ),
    zone=st.sampled_from((*ODD, "America/New_York", "America/St_Johns")),
    opens=st.integers(0, 23 * 60),
    length=st.integers(1, 24 * 60),
    quiet=st.sets(st.integers(0, 6), max_size=3),
)
@example(now=autumn, zone="America/New_York", opens=60, length=30, quiet=set())
@example(now=autumn, zone="America/New_York", opens=90, length=60, quiet=set())
# within the hour that comes twice: its second half past one
@example(now=autumn + timedelta(minutes=105), zone="America/New_York", opens=60, length=30, quiet=set())
@example(now=autumn + timedelta(minutes=125), zone="America/New_York", opens=90, length=60, quiet=set())
@example(now=spring, zone="America/New_York", opens=150, length=15, quiet=set())
@example(now=spring, zone="America/New_York", opens=150, length=300, quiet=set())
@example(now=datetime(2026, 3, 7, 5, tzinfo=UTC), zone="America/Havana", opens=0, length=1440, quiet={5})
def test_windows_of_any_hour_are_exact_wherever_and_however_the_clocks_change(
    now: datetime, zone: str, opens: int, length: int, quiet: set[int]
) -> None:
    closes = min(opens + length, 24 * 60)
    window = (time(opens // 60, opens % 60), END_OF_DAY if closes == 24 * 60 else time(closes // 60, closes % 60))
    hours = Hours({day: window for day in range(7) if day not in quiet})

    def is_open(at: datetime) -> bool:
        wall = at.astimezone(ZoneInfo(zone))
        return wall.weekday() not in quiet and opens <= wall.hour * 60 + wall.minute < closes

    found = next_allowed(now, [zone], hours)

    assert found == walk(now, is_open, wanted=True)
    if quiet or closes - opens < 24 * 60:
        assert window_end(found, [zone], hours) == walk(found, is_open, wanted=False)


@pytest.mark.parametrize(
    ("before", "opens"),
    [
        # the clock jumps from 2:00 to 3:00 on March 8th, and back from 2:00 to 1:00 on November 1st
        (datetime(2026, 3, 7, 12, tzinfo=UTC), datetime(2026, 3, 7, 14, tzinfo=UTC)),
        (datetime(2026, 3, 8, 3, tzinfo=UTC), datetime(2026, 3, 8, 16, tzinfo=UTC)),
        (datetime(2026, 3, 9, 3, tzinfo=UTC), datetime(2026, 3, 9, 13, tzinfo=UTC)),
        (datetime(2026, 11, 1, 3, tzinfo=UTC), datetime(2026, 11, 1, 17, tzinfo=UTC)),
        (datetime(2026, 11, 2, 3, tzinfo=UTC), datetime(2026, 11, 2, 14, tzinfo=UTC)),
    ],
)
def test_opening_follows_the_wall_clock_through_both_changes_of_the_clocks(before: datetime, opens: datetime) -> None:
    assert next_allowed(before, ["America/New_York"], DEFAULT_HOURS) == opens


def test_arizona_keeps_its_hours_while_others_change_theirs() -> None:
    winter, summer = datetime(2026, 1, 6, 5, tzinfo=UTC), datetime(2026, 7, 7, 5, tzinfo=UTC)

    openings = [next_allowed(each, ["America/Phoenix"], DEFAULT_HOURS) for each in (winter, summer)]

    assert [each.hour for each in openings if each is not None] == [16, 16]


def test_the_opening_minute_is_allowed_and_the_closing_one_is_not() -> None:
    opens, closes = datetime(2026, 7, 6, 13, tzinfo=UTC), datetime(2026, 7, 7, 0, tzinfo=UTC)
    moment = timedelta(microseconds=1)

    allowed = [
        is_allowed(each, ["America/New_York"], DEFAULT_HOURS)
        for each in (opens - moment, opens, closes - moment, closes)
    ]

    assert allowed == [False, True, True, False]


def test_two_zones_share_only_the_hours_in_which_both_are_awake() -> None:
    zones = ["America/New_York", "America/Los_Angeles"]
    midnight = datetime(2026, 7, 6, 4, tzinfo=UTC)

    both = next_allowed(midnight, zones, DEFAULT_HOURS)

    assert both == datetime(2026, 7, 6, 16, tzinfo=UTC)
    assert window_end(both, zones, DEFAULT_HOURS) == datetime(2026, 7, 7, 0, tzinfo=UTC)


def test_zones_without_a_common_hour_have_no_next_allowed_instant() -> None:
    zones = ["America/New_York", "Asia/Shanghai"]

    assert next_allowed(datetime(2026, 7, 6, 4, tzinfo=UTC), zones, DEFAULT_HOURS) is None


def test_hours_that_are_never_open_have_no_next_allowed_instant() -> None:
    assert next_allowed(spring, ["America/New_York"], Hours({})) is None


def test_a_day_without_hours_is_skipped() -> None:
    never_on_sunday = Hours({day: (time(8), time(20)) for day in range(6)})

    found = next_allowed(datetime(2026, 7, 5, 12, tzinfo=UTC), ["America/Chicago"], never_on_sunday)

    assert found == datetime(2026, 7, 6, 13, tzinfo=UTC)


def test_a_window_names_the_rule_that_ends_it_where_it_ends_first() -> None:
    noon = datetime(2026, 7, 8, 17, tzinfo=UTC)
    rhode_island = STANDARD.in_force(None, ["RI"]).hours

    assert closing(noon, ["America/New_York"], rhode_island) == (noon + timedelta(hours=5), "hours.us-ri")
    assert closing(noon, ["America/New_York"], DEFAULT_HOURS) == (noon + timedelta(hours=7), "hours.default")


@pytest.mark.parametrize("zones", [[], ["America/New_York"]])
def test_there_is_no_end_of_a_window_that_is_not_open(zones: list[str]) -> None:
    with pytest.raises(ValueError, match="no window"):
        window_end(datetime(2026, 7, 6, 4, tzinfo=UTC), zones, DEFAULT_HOURS)
