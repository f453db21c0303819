"""The holdout: stable for ever, and as large as it was said to be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.holdout import arm, draw
from domain.rules.vocabulary import Arm

PEOPLE = [f"P{number:06}" for number in range(20_000)]


def test_the_draw_of_a_patient_never_changes() -> None:
    # written down once: a change would move patients between the arms of running campaigns
    assert draw("holdout", "welcome-back", "PABCDEFGH") == pytest.approx(0.5216074026, abs=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.1, 1 / 3, 0.5])
@pytest.mark.parametrize("campaign", ["welcome-back", "spring"])
def test_the_holdouts_share_is_within_four_standard_errors(share: float, campaign: str) -> None:
    held = sum(arm(campaign, who, share) is Arm.HOLDOUT for who in PEOPLE)

    assert abs(held / len(PEOPLE) - share) < 4 * math.sqrt(share * (1 - share) / len(PEOPLE))


def test_campaigns_draw_independently_of_each_other() -> None:
    first, second = ({who for who in PEOPLE if arm(key, who, 0.1) is Arm.HOLDOUT} for key in ("one", "two"))

    both = len(first & second) / len(PEOPLE)

    assert abs(both - 0.01) < 4 * math.sqrt(0.01 * 0.99 / len(PEOPLE))


@given(who=st.text(max_size=20), smaller=st.floats(0, 1), larger=st.floats(0, 1))
def test_a_larger_holdout_only_adds_to_a_smaller_one(who: str, smaller: float, larger: float) -> None:
    smaller, larger = sorted((smaller, larger))

    assert arm("any", who, larger) is Arm.HOLDOUT or arm("any", who, smaller) is Arm.TREATMENT


@given(parts=st.lists(st.text(max_size=10), max_size=4))
def test_a_draw_lies_between_nothing_and_one(parts: list[str]) -> None:
    assert 0 <= draw(*parts) < 1


def test_nobody_is_held_out_of_nothing_and_everybody_of_all() -> None:
    assert {arm("any", who, 0.0) for who in PEOPLE[:500]} == {Arm.TREATMENT}
    assert {arm("any", who, 1.0) for who in PEOPLE[:500]} == {Arm.HOLDOUT}


def test_where_a_word_ends_matters() -> None:
    assert draw("ab", "c") != draw("a", "bc")
