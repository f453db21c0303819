"""Seasons: the named times of the year, and of a patient's benefit year, in which a campaign enrols or says more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

#: A month and a day of it, of any year.
MonthDay = tuple[int, int]

#: Seasons that every campaign file may name without saying when they are; its own of the same name goes before.
KNOWN: Mapping[str, Mapping[str, str]] = {
    "spring": {"first": "03-01", "last": "05-31"},
    "summer": {"first": "06-01", "last": "08-31"},
    "autumn": {"first": "09-01", "last": "11-30"},
    "winter": {"first": "12-01", "last": "02-29"},
    "flu": {"first": "09-01", "last": "01-31"},
    "back-to-school": {"first": "07-15", "last": "09-15"},
}

#: A leap year: every day of any year is in it.
_EVERY_DAY = 2024


@dataclass(frozen=True, slots=True)
class Season:
    """Days of any year, the first and the last included; or so many weeks around the reset of a benefit year."""

    name: str
    first: MonthDay = (1, 1)
    last: MonthDay = (12, 31)
    """Before `first`: the season goes on into the next year."""
    weeks_before_reset: int = 0
    weeks_after_reset: int = 0

    def covers(self, day: date, reset_month: int | None) -> bool:
        """Whether `day` is in it, for somebody whose benefit year begins with `reset_month` (None = nobody knows)."""
        if not self.weeks_before_reset and not self.weeks_after_reset:
            today = (day.month, day.day)
            if self.first <= self.last:
                return self.first <= today <= self.last
            return today >= self.first or today <= self.last
        if reset_month is None:
            return False
        ahead, behind = next_reset(day, reset_month), last_reset(day, reset_month)
        return ahead - day <= timedelta(weeks=self.weeks_before_reset) or day - behind < timedelta(
            weeks=self.weeks_after_reset
        )


def next_reset(day: date, month: int) -> date:
    """The first day of the benefit year that begins after `day`."""
    this_year = date(day.year, month, 1)
    return this_year if this_year > day else date(day.year + 1, month, 1)


def last_reset(day: date, month: int) -> date:
    """The first day of the benefit year that `day` is in."""
    this_year = date(day.year, month, 1)
    return this_year if this_year <= day else date(day.year - 1, month, 1)


def open_on(seasons: Iterable[Season], day: date, reset_month: int | None) -> frozenset[str]:
    """The names of the seasons that `day` is in."""
    return frozenset(each.name for each in seasons if each.covers(day, reset_month))


def month_day(text: str) -> MonthDay:
    """`09-01` as month and day.

    Raises:
        ValueError: there is no such day in any year.
    """
    month, _, day = text.partition("-")
    if len(month) != 2 or len(day) != 2 or not (month + day).isdecimal():
        raise ValueError("expected a month and a day of it, such as 09-01")
    try:
        date(_EVERY_DAY, int(month), int(day))
    except ValueError:
        raise ValueError(f"no year has the day {text} (it is month-day)") from None
    return int(month), int(day)


def from_entries(entries: Mapping[str, Mapping[str, Any]]) -> tuple[Season, ...]:
    """The seasons of a campaign's stored definition, and the known ones that it does not say otherwise of."""
    return tuple(_season(name, each) for name, each in sorted({**KNOWN, **entries}.items()))


def _season(name: str, entry: Mapping[str, Any]) -> Season:
    before, after = entry.get("weeks_before_reset") or 0, entry.get("weeks_after_reset") or 0
    if before or after:
        return Season(name, weeks_before_reset=before, weeks_after_reset=after)
    return Season(name, month_day(entry["first"]), month_day(entry["last"]))
