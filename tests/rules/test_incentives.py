"""Incentives: $15 at once and $75 a year for who may be a federal payer's; more only where it is acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rulebooks import STANDARD, rules_from

from domain.rules.incentives import is_federal, refusal, strictest
from ops.runtime.yamlfile import FileProblems
from producers.templates import no_cash

CEILINGS = STANDARD.in_force(None).ceilings
CENTS = st.integers(1, 2500)


def test_the_ceilings_in_force_are_the_laws() -> None:
    assert CEILINGS.item is not None
    assert CEILINGS.year is not None
    assert (CEILINGS.item.cents, CEILINGS.item.rule) == (1500, "incentives.us-item")
    assert (CEILINGS.year.cents, CEILINGS.year.rule) == (7500, "incentives.us-year")


@pytest.mark.parametrize(
    ("cents", "offered", "why"),
    [
        (1500, 0, None),
        (1501, 0, ("incentive_item", "incentives.us-item")),
        (1500, 6000, None),
        (1500, 6001, ("incentive_year", "incentives.us-year")),
        (1, 7500, ("incentive_year", "incentives.us-year")),
    ],
)
def test_an_offer_is_withheld_by_the_first_cent_too_many(cents: int, offered: int, why: tuple[str, str] | None) -> None:
    assert refusal(CEILINGS, cents, offered) == why


@given(st.lists(CENTS, max_size=40))
def test_whatever_is_asked_for_no_item_and_no_year_comes_to_more(asked: list[int]) -> None:
    offered = 0
    for cents in asked:
        if refusal(CEILINGS, cents, offered) is None:
            assert cents <= 1500
            offered += cents

    assert offered <= 7500


@pytest.mark.parametrize("payer", ["medicare", "medicaid", "other_federal", None])
def test_who_has_a_federal_payer_or_none_that_is_known_is_under_the_ceilings(payer: str | None) -> None:
    assert is_federal(payer)


@pytest.mark.parametrize("payer", ["commercial", "self_pay"])
def test_who_has_another_payer_is_not(payer: str) -> None:
    assert not is_federal(payer)


def test_of_several_rows_the_lowest_counts() -> None:
    found = strictest([("incentives.us-item", 15), ("incentives.us-ma-item", 10), ("incentives.us-year", 75)])

    assert found.item is not None
    assert (found.item.cents, found.item.rule) == (1000, "incentives.us-ma-item")


HIGHER = """
organisation: lakeside
override:
  - row: incentives.us-item
    limit: {dollars: 20}
    reason: advised by counsel
"""
ACKNOWLEDGED = "    acknowledged_by: Jo Doe, General Counsel\n    acknowledged_on: 2026-10-01\n"


def test_a_higher_ceiling_wants_the_acknowledgement_of_any_rule_of_law(tmp_path: Path) -> None:
    with pytest.raises(FileProblems, match="acknowledged_by"):
        rules_from(tmp_path, HIGHER)

    ceilings = rules_from(tmp_path, HIGHER + ACKNOWLEDGED).in_force("lakeside").ceilings

    assert refusal(ceilings, 2000, 0) is None
    assert refusal(ceilings, 2001, 0) == ("incentive_item", "incentives.us-item")


@pytest.mark.parametrize("item", ["$10 cash", "gift cards", "a voucher", "Visa prepaid card", "tarjeta de regalo"])
def test_cash_and_what_is_as_good_as_cash_is_no_incentive(item: str) -> None:
    with pytest.raises(ValueError, match="never cash"):
        no_cash(item)


@pytest.mark.parametrize(
    "item", ["water bottle", "folding umbrella", "healthy lunch", "ride to the clinic", "checkers set"]
)
def test_a_thing_is(item: str) -> None:
    assert no_cash(item) == item
