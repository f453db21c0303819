"""Seasons: every year again, over the turn of the year and the leap day, and around a patient's benefit year."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules import terms
from domain.rules.seasons import KNOWN, Season, from_entries, last_reset, month_day, next_reset, open_on

DAY = timedelta(days=1)
DAYS = st.dates(date(2023, 1, 1), date(2032, 12, 31))
MONTHS = st.integers(1, 12)
MONTH_DAYS = DAYS.map(lambda day: (day.month, day.day))
FLU = Season("flu", (9, 1), (1, 31))


def definition(**more: Any) -> dict[str, Any]:
    return {
        "cadence": [0],
        "channels": ["sms"],
        "send_at": ["10:30:00"],
        "graduate_after_days": 30,
        "reminder": {"every_months": 4, "at_most": 1},
        **more,
    }


@pytest.mark.parametrize(
    ("day", "is_in"),
    [
        (date(2026, 8, 31), False),
        (date(2026, 9, 1), True),
        (date(2026, 12, 31), True),
        (date(2027, 1, 1), True),
        (date(2027, 1, 31), True),
        (date(2027, 2, 1), False),
    ],
)
def test_a_season_goes_on_over_the_turn_of_the_year(day: date, is_in: bool) -> None:
    assert FLU.covers(day, None) is is_in


def test_winter_ends_with_february_whether_it_has_a_leap_day_or_not() -> None:
    (winter,) = [each for each in from_entries({}) if each.name == "winter"]

    days = (date(2027, 2, 28), date(2027, 3, 1), date(2028, 2, 29), date(2028, 3, 1))

    assert [winter.covers(day, None) for day in days] == [True, False, True, False]


@given(first=MONTH_DAYS, last=MONTH_DAYS, day=DAYS)
def test_a_season_is_the_days_from_its_first_to_its_last_in_the_order_of_the_calendar(
    first: tuple[int, int], last: tuple[int, int], day: date
) -> None:
    # walk back from the day to the nearest first or last: the season is on where its first came later
    is_in = False
    for back in range(367 * 4):
        walked = day - back * DAY
        here = (walked.month, walked.day)
        # a day that this year lacks is passed between 28 February and 1 March
        tomorrow = walked + DAY
        leap_passed = here == (2, 28) and tomorrow.month == 3
        if back and (here == last or (leap_passed and last == (2, 29))):
            break
        if here == first or (leap_passed and first == (2, 29) and back):
            is_in = True
            break

    assert Season("x", first, last).covers(day, None) is is_in


@given(day=DAYS, month=MONTHS)
def test_the_benefit_year_of_a_day_begins_on_it_or_before_and_the_next_one_after_it(day: date, month: int) -> None:
    behind, ahead = last_reset(day, month), next_reset(day, month)

    assert behind <= day < ahead
    assert (behind.day, behind.month, ahead.day, ahead.month) == (1, month, 1, month)
    assert ahead.year - behind.year == 1


@given(month=MONTHS, year=st.integers(2024, 2031), weeks=st.integers(1, 20))
def test_so_many_weeks_before_and_after_the_reset_are_exactly_so_many_days(month: int, year: int, weeks: int) -> None:
    reset = date(year, month, 1)
    before, after = Season("b", weeks_before_reset=weeks), Season("a", weeks_after_reset=weeks)
    around = [reset + n * DAY for n in range(-150, 150)]

    assert [day for day in around if before.covers(day, month)] == [reset + n * DAY for n in range(-7 * weeks, 0)]
    assert [day for day in around if after.covers(day, month)] == [reset + n * DAY for n in range(7 * weeks)]


@given(day=DAYS)
def test_whose_benefit_year_nobody_knows_is_in_no_season_of_it(day: date) -> None:
    assert not Season("b", weeks_before_reset=20).covers(day, None)


def test_a_patients_own_month_goes_before_that_of_their_class_of_payer() -> None:
    its = terms.from_definition(definition(seasons={"soon": {"weeks_before_reset": 4}}, benefit_year={"commercial": 1}))
    june, december = date(2026, 6, 10), date(2026, 12, 10)

    def is_soon(day: date, payer: str | None, month: int | None) -> bool:
        return "soon" in its.open_on(day, payer=payer, benefit_month=month)

    assert is_soon(december, "commercial", None)
    assert not is_soon(december, "medicare", None)
    assert not is_soon(december, "commercial", 7)
    assert is_soon(june, "commercial", 7)


def test_a_files_own_season_goes_before_the_known_one_of_its_name() -> None:
    own = from_entries({"flu": {"first": "10-01", "last": "10-31"}})

    assert "flu" not in open_on(own, date(2026, 9, 15), None)
    assert "flu" in open_on(from_entries({}), date(2026, 9, 15), None)
    assert {each.name for each in own} == set(KNOWN)


def test_the_day_is_the_one_where_the_patient_is_through_the_change_of_the_clocks() -> None:
    its = terms.from_definition(
        definition(enrol_in=["november"], seasons={"november": {"first": "11-01", "last": "11-30"}})
    )
    # the clocks of the US go back on 1 November 2026, at 2:00
    instant = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)

    def enrols(zone: str) -> bool:
        return its.enrols_on(instant.astimezone(ZoneInfo(zone)).date(), payer=None, benefit_month=None)

    assert (enrols("America/New_York"), enrols("America/Chicago")) == (True, True)
    assert (enrols("America/Denver"), enrols("America/Los_Angeles")) == (False, False)


@given(day=DAYS)
def test_what_the_ledger_keeps_of_the_terms_says_the_same(day: date) -> None:
    said = definition(
        enrol_in=["flu", "soon"], seasons={"soon": {"weeks_before_reset": 4}}, benefit_year={"medicare": 1}
    )

    kept = terms.from_text(terms.as_text(said))

    assert kept == terms.from_definition(said)
    assert kept.enrols_on(day, payer="medicare", benefit_month=None) == bool(
        kept.open_on(day, payer="medicare", benefit_month=None) & {"flu", "soon"}
    )


@pytest.mark.parametrize("text", ["02-30", "13-01", "9-1", "00-10", "spring", "1-1-1", "", "²²-11"])
def test_a_day_of_no_year_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="day"):
        month_day(text)
