"""Lift and its interval, against the worked examples of the papers that define them."""

from __future__ import annotations

from datetime import timedelta
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.experiment import Lift, Share, lift, median_days, wilson

#: Newcombe, Stat Med 17 (1998) 857-872, Table I, method 3.
WILSON_EXAMPLES = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]

#: Newcombe, Stat Med 17 (1998) 873-890, Table II, contrasts (a) to (h), method 10.
NEWCOMBE_EXAMPLES = [
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (6, 7, 2, 7, 0.0582, 0.8062),
    (5, 56, 0, 29, -0.0381, 0.1926),
    (0, 10, 0, 20, -0.1611, 0.2775),
    (0, 10, 0, 10, -0.2775, 0.2775),
    (10, 10, 0, 20, 0.6791, 1.0000),
    (10, 10, 0, 10, 0.6075, 1.0000),
]


@pytest.mark.parametrize(("n", "of", "low", "high"), WILSON_EXAMPLES)
def test_the_interval_of_one_rate_is_the_published_one(n: int, of: int, low: float, high: float) -> None:
    assert list(wilson(Share(n, of))) == pytest.approx([low, high], abs=5e-5)


@pytest.mark.parametrize(("a", "m", "b", "n", "low", "high"), NEWCOMBE_EXAMPLES)
def test_the_interval_of_the_lift_is_the_published_one(a: int, m: int, b: int, n: int, low: float, high: float) -> None:
    found = lift(Share(a, m), Share(b, n))

    assert found is not None
    assert found.low / 100 == pytest.approx(low, abs=5e-5)
    assert found.high / 100 == pytest.approx(high, abs=5e-5)
    assert found.points / 100 == pytest.approx(a / m - b / n)


shares = st.integers(1, 5000).flatmap(lambda of: st.integers(0, of).map(lambda n: Share(n, of)))


@given(shares)
def test_the_bounds_are_the_rates_whose_own_error_reaches_what_was_seen(share: Share) -> None:
    """Wilson's definition, not its formula: |p - x| = z sqrt(x (1 - x) / n) at both ends."""
    seen = share.n / share.of

    for bound in wilson(share):
        reach = 1.959963984540054 * sqrt(bound * (1 - bound) / share.of)
        assert abs(seen - bound) == pytest.approx(reach, abs=1e-6)


@given(shares, shares)
def test_swapping_the_arms_mirrors_the_lift(one: Share, other: Share) -> None:
    there, back = lift(one, other), lift(other, one)

    assert there is not None
    assert back is not None
    assert (there.points, there.low, there.high) == pytest.approx((-back.points, -back.high, -back.low))
    assert -100 - 1e-9 <= there.low <= there.points <= there.high <= 100 + 1e-9


def test_the_published_trial_of_text_reminders_had_a_sure_lift() -> None:
    """J Hum Hypertens s41371-024-00942-1: 26.5 % of the texted and 20.7 % of the others returned, 12,708 in all."""
    found = lift(Share(1684, 6354), Share(1315, 6354))

    assert found is not None
    assert round(found.points, 1) == 5.8
    assert found.is_sure


def test_there_is_no_lift_while_an_arm_is_empty() -> None:
    assert lift(Share(3, 10), Share(0, 0)) is None
    assert lift(Share(0, 0), Share(3, 10)) is None
    assert Share(0, 0).rate is None
    with pytest.raises(ValueError, match="no interval"):
        wilson(Share(0, 0))


def test_an_interval_that_holds_zero_is_not_sure() -> None:
    assert not Lift(1.0, -0.5, 2.5).is_sure
    assert Lift(-2.0, -3.0, -0.1).is_sure


def test_more_than_all_is_refused() -> None:
    with pytest.raises(ValueError, match="11 of 10"):
        Share(11, 10)


def test_the_median_of_an_even_number_lies_between_the_middle_two() -> None:
    assert median_days([timedelta(days=d) for d in (1, 40, 10, 21)]) == 15.5
    assert median_days([timedelta(hours=36)]) == 1.5
    assert median_days([]) is None
