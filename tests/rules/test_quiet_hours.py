"""Quiet hours, against a walk over the minutes of the wall clocks concerned."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.rules.quiet_hours import DEFAULT_HOURS, Hours, is_allowed, next_allowed, window_end

MINUTE = timedelta(minutes=1)
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles")
FAR = (*ZONES, "Pacific/Honolulu", "America/St_Johns", "America/Anchorage", "Pacific/Guam")

#: Both changes of 2026 in the United States, an ordinary week, and both of 2027 fall inside.
instants = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(  # noqa: DTZ001 - the zone is set here
    lambda each: each.replace(second=0, microsecond=0, tzinfo=UTC)
)
spring, autumn = datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC)


def may_be_reached(now: datetime, zones: tuple[str, ...]) -> bool:
    """The rule in other words: every wall clock shows 9 to 20, and on Sundays 12 to 20."""
    for zone in zones:
        wall = now.astimezone(ZoneInfo(zone))
        opens = 12 if wall.isoweekday() == 7 else 9
        if not opens * 60 <= wall.hour * 60 + wall.minute < 20 * 60:
            return False
    return True


def walk(now: datetime, zones: tuple[str, ...], wanted: bool) -> datetime:
    """The first whole minute at or after `now` at which it is (or is no longer) allowed."""
    while may_be_reached(now, zones) is not wanted:
        now += MINUTE
    return now


@settings(max_examples=120, deadline=None)
@given(now=instants, zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=2, unique=True).map(tuple))
@example(now=spring, zones=("America/New_York", "America/Phoenix"))
@example(now=autumn, zones=("America/New_York", "America/Phoenix"))
def test_the_next_allowed_instant_is_the_first_that_a_walk_over_the_minutes_finds(
    now: datetime, zones: tuple[str, ...]
) -> None:
    assert next_allowed(now, zones) == walk(now, zones, wanted=True)


@settings(max_examples=120, deadline=None)
@given(now=instants, zones=st.lists(st.sampled_from(FAR), min_size=1, max_size=3, unique=True).map(tuple))
def test_an_instant_is_allowed_if_every_wall_clock_says_so(now: datetime, zones: tuple[str, ...]) -> None:
    assert is_allowed(now, zones) is may_be_reached(now, zones)


@settings(max_examples=100, deadline=None)
@given(now=instants, zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=2, unique=True).map(tuple))
def test_a_window_ends_at_the_first_minute_that_is_quiet_again(now: datetime, zones: tuple[str, ...]) -> None:
    inside = walk(now, zones, wanted=True)

    assert window_end(inside, zones) == walk(inside, zones, wanted=False)


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
    assert next_allowed(before, ["America/New_York"]) == opens


def test_arizona_keeps_its_hours_while_others_change_theirs() -> None:
    winter, summer = datetime(2026, 1, 6, 5, tzinfo=UTC), datetime(2026, 7, 7, 5, tzinfo=UTC)

    openings = [next_allowed(each, ["America/Phoenix"]) for each in (winter, summer)]

    assert [each.hour for each in openings if each is not None] == [16, 16]


def test_the_opening_minute_is_allowed_and_the_closing_one_is_not() -> None:
    opens, closes = datetime(2026, 7, 6, 13, tzinfo=UTC), datetime(2026, 7, 7, 0, tzinfo=UTC)

    assert is_allowed(opens, ["America/New_York"])
    assert not is_allowed(opens - timedelta(microseconds=1), ["America/New_York"])
    assert is_allowed(closes - timedelta(microseconds=1), ["America/New_York"])
    assert not is_allowed(closes, ["America/New_York"])


def test_two_zones_share_only_the_hours_in_which_both_are_awake() -> None:
    midnight = datetime(2026, 7, 6, 4, tzinfo=UTC)

    both = next_allowed(midnight, ["America/New_York", "America/Los_Angeles"])

    assert both == datetime(2026, 7, 6, 16, tzinfo=UTC)
    assert window_end(both, ["America/New_York", "America/Los_Angeles"]) == datetime(2026, 7, 7, 0, tzinfo=UTC)


def test_zones_without_a_common_hour_have_no_next_allowed_instant() -> None:
    zones = ["America/New_York", "Asia/Shanghai"]

    assert next_allowed(datetime(2026, 7, 6, 4, tzinfo=UTC), zones) is None


def test_hours_that_are_never_open_have_no_next_allowed_instant() -> None:
    assert next_allowed(spring, ["America/New_York"], Hours({})) is None


def test_a_day_without_hours_is_skipped() -> None:
    never_on_sunday = Hours({day: (time(8), time(20)) for day in range(6)})

    found = next_allowed(datetime(2026, 7, 5, 12, tzinfo=UTC), ["America/Chicago"], never_on_sunday)

    assert found == datetime(2026, 7, 6, 13, tzinfo=UTC)


@pytest.mark.parametrize("zones", [[], ["America/New_York"]])
def test_there_is_no_end_of_a_window_that_is_not_open(zones: list[str]) -> None:
    with pytest.raises(ValueError, match="no window"):
        window_end(datetime(2026, 7, 6, 4, tzinfo=UTC), zones)


def test_the_default_hours_lie_inside_the_federal_ones() -> None:
    windows = DEFAULT_HOURS.weekdays.values()

    assert all(time(8) <= opens < closes <= time(21) for opens, closes in windows)
    assert set(DEFAULT_HOURS.weekdays) == set(range(7))
