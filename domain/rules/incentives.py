"""Incentives: what a patient may be offered for coming back, by the ceilings of the rules in force."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from domain.rules.vocabulary import NOT_FEDERAL

#: Why an offer is withheld.
OVER_ITEM, OVER_YEAR = "incentive_item", "incentive_year"

#: Ends of the ids of rows that limit one item, and a calendar year.
ITEM_ROW, YEAR_ROW = "-item", "-year"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """At most so much, by this row of the rules."""

    cents: int
    rule: str


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What one patient may be offered: at once, and in a calendar year. None: no row says."""

    item: Ceiling | None = None
    year: Ceiling | None = None


def strictest(rows: Iterable[tuple[str, int]]) -> Ceilings:
    """The ceilings of rows, each an id and an amount in dollars."""
    told = sorted((dollars * 100, row_id) for row_id, dollars in rows)
    of = {
        end: next((Ceiling(cents, row_id) for cents, row_id in told if row_id.endswith(end)), None)
        for end in (ITEM_ROW, YEAR_ROW)
    }
    return Ceilings(of[ITEM_ROW], of[YEAR_ROW])


def is_federal(payer: str | None) -> bool:
    """Whether a patient's payer is federal, or may be: nobody knows it."""
    return payer not in NOT_FEDERAL


def refusal(ceilings: Ceilings, cents: int, offered: int) -> tuple[str, str] | None:
    """Why an item of so many cents must not be offered to a federal payer's patient, and the row that says so.

    `offered` is what they were offered in the same calendar year before, in cents. None: it may be offered.
    """
    if ceilings.item is not None and cents > ceilings.item.cents:
        return OVER_ITEM, ceilings.item.rule
    if ceilings.year is not None and offered + cents > ceilings.year.cents:
        return OVER_YEAR, ceilings.year.rule
    return None
