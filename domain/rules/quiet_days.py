"""Quiet days: on which dates nobody is contacted at all, by rules that hold for every year."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise

_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905 - read as they are spoken
)
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905 - as above
_NTH = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
_FIXED = re.compile(r"(\d{1,2}) ([a-z]+)")
_FLOATING = re.compile(r"([a-z]+) ([a-z]+) (?:of|in) ([a-z]+)")
_DAY = timedelta(days=1)
_SATURDAY, _SUNDAY = 5, 6


@dataclass(frozen=True, slots=True)
class DayRule:
    """One day of the year: `day` of `month`, its `nth` weekday (-1 = the last), or, with `year`, a single date."""

    month: int
    day: int = 0
    weekday: int = 0
    nth: int = 0
    year: int | None = None

    def in_year(self, year: int) -> date | None:
        """The date in that year; None = it has none (February 29th, or another year's date)."""
        if self.year is not None and self.year != year:
            return None
        if self.day:
            try:
                return date(year, self.month, self.day)
            except ValueError:
                return None
        if self.nth > 0:
            first = date(year, self.month, 1)
            return first + _DAY * ((self.weekday - first.weekday()) % 7 + 7 * (self.nth - 1))
        last = (date(year, self.month, 28) + 4 * _DAY).replace(day=1) - _DAY
        return last - _DAY * ((last.weekday() - self.weekday) % 7)


def day_rule(text: str) -> DayRule:
    """`4 July`, `third Monday of January`, `last Monday of May` or `2026-12-24` as a rule.

    Raises:
        ValueError: it is none of these.
    """
    words = " ".join(text.lower().split())
    if match := _FIXED.fullmatch(words):
        day, month = int(match[1]), match[2]
        # 2024 had a February 29th
        if month in _MONTHS and DayRule(_MONTHS.index(month) + 1, day=day).in_year(2024) and day:
            return DayRule(_MONTHS.index(month) + 1, day=day)
    elif match := _FLOATING.fullmatch(words):
        nth, weekday, month = match.groups()
        if nth in _NTH and weekday in _WEEKDAYS and month in _MONTHS:
            return DayRule(_MONTHS.index(month) + 1, weekday=_WEEKDAYS.index(weekday), nth=_NTH[nth])
    else:
        try:
            found = date.fromisoformat(words)
        except ValueError:
            pass
        else:
            return DayRule(found.month, day=found.day, year=found.year)
    raise ValueError("expected a day such as `4 July`, `third Monday of January`, `last Monday of May` or `2026-12-24`")


@dataclass(frozen=True, slots=True)
class QuietDays:
    """Named days without any contact."""

    days: tuple[tuple[str, DayRule], ...]
    observed: bool = False
    """Of a day on a Saturday the Friday before is quiet, too, of one on a Sunday the Monday after (5 USC 6103(b))."""
    _of_year: dict[int, dict[date, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def name_of(self, day: date) -> str | None:
        """What the day is called if it is quiet; None = it is not."""
        found = self._of_year.get(day.year)
        if found is None:
            found = self._of_year[day.year] = dict(self._dates(day.year))
        return found.get(day)

    def _dates(self, year: int) -> Iterator[tuple[date, str]]:
        """Last come those a day is really named after. New Year's Day may be observed in the year before."""
        named = [(day, name) for name, rule in self.days for at in (year, year + 1) if (day := rule.in_year(at))]
        if self.observed:
            moved = {_SATURDAY: -_DAY, _SUNDAY: _DAY}
            shifts = ((day, moved.get(day.weekday()), name) for day, name in named)
            yield from ((day + by, f"{name} (observed)") for day, by, name in shifts if by is not None)
        yield from ((day, name) for day, name in named if day.year == year)

    def longest_run(self, year: int) -> int:
        """How many quiet days of that year follow each other at most."""
        dates = sorted({day for day, _ in self._dates(year)})
        longest = run = 1 if dates else 0
        for earlier, later in pairwise(dates):
            run = run + 1 if later - earlier == _DAY else 1
            longest = max(longest, run)
        return longest
