"""Quiet days: rules that hold for every year, and the weekday a holiday is observed on."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from rulebooks import STANDARD

from domain.ledger.audit_terms import is_federal_holiday
from domain.rules.limits import Holidays
from domain.rules.quiet_days import QuietDays, day_rule
from domain.rules.rulebook import Kind

DAY = timedelta(days=1)


def federal() -> QuietDays:
    row = next(row for row in STANDARD.rows(kind=Kind.HOURS) if row.id == "hours.holidays")
    assert isinstance(row.limit, Holidays)
    return row.limit.days


@pytest.mark.parametrize(
    ("text", "year", "expected"),
    [
        ("4 July", 2026, date(2026, 7, 4)),
        ("third Monday of January", 2026, date(2026, 1, 19)),
        ("first Monday of September", 2025, date(2025, 9, 1)),
        ("fourth  thursday in NOVEMBER", 2023, date(2023, 11, 23)),
        ("last Monday of May", 2026, date(2026, 5, 25)),
        ("last Monday of May", 2027, date(2027, 5, 31)),
        ("last Sunday of February", 2032, date(2032, 2, 29)),
        ("last Friday of December", 2027, date(2027, 12, 31)),
        ("29 February", 2028, date(2028, 2, 29)),
        ("29 February", 2027, None),
        ("2026-12-24", 2026, date(2026, 12, 24)),
        ("2026-12-24", 2027, None),
    ],
)
def test_a_rule_names_its_day_of_every_year(text: str, year: int, expected: date | None) -> None:
    assert day_rule(text).in_year(year) == expected


@pytest.mark.parametrize(
    "text", ["", "31 April", "0 May", "fifth Monday of May", "third Someday of May", "July 4", "2026-13-01", "4 Juli"]
)
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a day such as"):
        day_rule(text)


def test_a_holiday_at_the_weekend_is_quiet_on_the_weekday_it_is_observed_on_too() -> None:
    quiet = QuietDays((("New Year's Day", day_rule("1 January")), ("Juneteenth", day_rule("19 June"))), observed=True)

    # January 1st of 2028 is a Saturday, June 19th of 2022 a Sunday
    assert quiet.name_of(date(2027, 12, 31)) == "New Year's Day (observed)"
    assert quiet.name_of(date(2028, 1, 1)) == "New Year's Day"
    assert quiet.name_of(date(2022, 6, 20)) == "Juneteenth (observed)"
    assert quiet.name_of(date(2026, 6, 18)) is None


def test_a_day_of_ones_own_is_not_observed_elsewhere_unless_wanted() -> None:
    quiet = QuietDays((("Founders' Day", day_rule("4 July")),))

    assert [quiet.name_of(date(2026, 7, day)) for day in (3, 4, 5)] == [None, "Founders' Day", None]


def test_the_federal_holidays_of_the_table_are_those_the_audit_computes_for_itself() -> None:
    quiet, day = federal(), date(2020, 1, 1)

    differing = []
    while day < date(2045, 1, 1):
        if (quiet.name_of(day) is not None) is not is_federal_holiday(day):
            differing.append(day)
        day += DAY

    assert differing == []


def test_the_longest_run_of_quiet_days_is_counted() -> None:
    christmas = tuple((f"day {day}", day_rule(f"2026-12-{day}")) for day in range(24, 32))

    assert QuietDays(christmas).longest_run(2026) == 8
    assert QuietDays(()).longest_run(2026) == 0
