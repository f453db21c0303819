"""The ramp after an outage: it starts low, ends at the whole rate, and lets through the same whatever the steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.ramp import FIRST, LENGTH, OUTAGE, allowance, is_outage, is_over

NOW = datetime(2026, 3, 4, 17, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_an_absence_is_an_outage_once_it_lasts_longer_than_ten_minutes() -> None:
    assert timedelta(minutes=10) == OUTAGE
    assert not is_outage(NOW, NOW + OUTAGE)
    assert is_outage(NOW, NOW + OUTAGE + SECOND)
    assert not is_outage(NOW + OUTAGE, NOW)


def test_it_begins_with_a_tenth_of_the_rate_and_ends_with_all_of_it() -> None:
    first = allowance(NOW, NOW, NOW + SECOND)
    last = allowance(NOW, NOW + LENGTH - SECOND, NOW + LENGTH)
    after = allowance(NOW, NOW + LENGTH, NOW + LENGTH + SECOND)

    assert first == pytest.approx(FIRST, abs=0.001)
    assert last == pytest.approx(1, abs=0.001)
    assert after == pytest.approx(1)


def test_half_an_hour_lets_through_a_little_more_than_half_of_what_it_could() -> None:
    whole = allowance(NOW, NOW, NOW + LENGTH)

    assert whole == pytest.approx(LENGTH.total_seconds() * (1 + FIRST) / 2)


@given(st.lists(st.integers(0, 7_200_000), min_size=2, max_size=20))
def test_what_it_lets_through_does_not_depend_on_the_steps(steps: list[int]) -> None:
    instants = [NOW + timedelta(milliseconds=step) for step in sorted(steps)]

    parts = sum(allowance(NOW, before, after) for before, after in pairwise(instants))

    assert parts == pytest.approx(allowance(NOW, instants[0], instants[-1]))


def test_a_clock_that_goes_back_lets_nothing_through() -> None:
    assert allowance(NOW, NOW + SECOND, NOW) == 0
    assert allowance(NOW, NOW - SECOND, NOW) == 0


def test_it_is_over_when_its_half_hour_is() -> None:
    assert timedelta(minutes=30) == LENGTH
    assert not is_over(NOW, NOW + LENGTH - SECOND)
    assert is_over(NOW, NOW + LENGTH)
