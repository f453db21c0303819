"""Limits: what a row of the rules allows, how it reads, and whether another would allow more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from enum import StrEnum

from domain.rules.quiet_days import QuietDays
from domain.rules.quiet_hours import END_OF_DAY

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Week:
    """Local hours per weekday (Monday = 0); a weekday that is missing is quiet."""

    windows: Mapping[int, tuple[time, time]]

    def __str__(self) -> str:
        """`Mon-Sat 09:00-20:00, Sun none`."""
        told: list[tuple[int, int, str]] = []
        for day in range(7):
            text = _span(self.windows.get(day))
            if told and told[-1][2] == text:
                told[-1] = (told[-1][0], day, text)
            else:
                told.append((day, day, text))
        return ", ".join(f"{_range(first, last)} {text}" for first, last, text in told)

    def allows_more_than(self, other: Week) -> bool:
        """Whether some minute of the week is open here and not there."""
        for day, (opens, closes) in self.windows.items():
            theirs = other.windows.get(day)
            if theirs is None or opens < theirs[0] or closes > theirs[1]:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Holidays:
    """Days without any contact."""

    days: QuietDays

    def __str__(self) -> str:
        """Their names."""
        names = ", ".join(name for name, _ in self.days.days) or "none"
        return f"{names} (and the weekday they are observed on)" if self.days.observed and self.days.days else names

    def allows_more_than(self, other: Holidays) -> bool:
        """Whether a day that is quiet there is not quiet here."""
        ours = {rule for _, rule in self.days.days}
        return any(rule not in ours for _, rule in other.days.days) or (other.days.observed and not self.days.observed)


@dataclass(frozen=True, slots=True)
class AtMost:
    """So many contacts within any window of so many hours."""

    count: int
    window: timedelta

    def __str__(self) -> str:
        """`3 in 168 h`."""
        return f"{self.count} in {int(self.window / timedelta(hours=1))} h"

    def allows_more_than(self, other: AtMost) -> bool:
        """Whether it may let one through that the other would not; a shorter window forgets sooner."""
        return self.count > other.count or self.window < other.window


@dataclass(frozen=True, slots=True)
class Amount:
    """At most so many dollars."""

    dollars: int

    def __str__(self) -> str:
        """`$15`."""
        return f"${self.dollars}"


@dataclass(frozen=True, slots=True)
class Years:
    """Records are kept for so many years at least."""

    years: int

    def __str__(self) -> str:
        """`6 years`."""
        return f"{self.years} years"


class Covers(StrEnum):
    """What an agreed word such as STOP, alone in a message, puts an end to."""

    EVERYTHING = "everything"
    ASK = "ask"
    """Everything; the confirmation asks whether less was meant, and no answer means everything."""
    CALLS_AND_TEXTS = "calls_and_texts"
    """Of somebody who texts it, calls and texts at whichever number; mail goes on."""


@dataclass(frozen=True, slots=True)
class Scope:
    """How far an opt-out reaches that names no scope."""

    covers: Covers

    def __str__(self) -> str:
        """`everything`."""
        return self.covers.value

    def allows_more_than(self, other: Scope) -> bool:
        """Whether something may be sent that the other stops; to ask stops everything until there is an answer."""
        return self.covers is Covers.CALLS_AND_TEXTS and other.covers is not Covers.CALLS_AND_TEXTS


@dataclass(frozen=True, slots=True)
class Words:
    """What is said in words and built in: nothing here is weaker or stronger than another."""

    text: str

    def __str__(self) -> str:
        """The words."""
        return self.text


Limit = Week | Holidays | AtMost | Amount | Years | Scope | Words


def is_looser(one: Limit, other: Limit) -> bool:
    """Whether `one` allows something that `other`, of the same kind, does not. Limits that differ in kind do."""
    match one, other:
        case Week(), Week():
            return one.allows_more_than(other)
        case Holidays(), Holidays():
            return one.allows_more_than(other)
        case AtMost(), AtMost():
            return one.allows_more_than(other)
        case Scope(), Scope():
            return one.allows_more_than(other)
        case Amount(), Amount():
            return one.dollars > other.dollars
        case Years(), Years():
            # records may go sooner
            return one.years < other.years
    return one != other


def _span(window: tuple[time, time] | None) -> str:
    if window is None:
        return "none"
    return f"{window[0]:%H:%M}-{'24:00' if window[1] == END_OF_DAY else f'{window[1]:%H:%M}'}"


def _range(first: int, last: int) -> str:
    return _DAYS[first] if first == last else f"{_DAYS[first]}-{_DAYS[last]}"
