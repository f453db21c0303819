"""Terms of the audit: the hours, holidays and caps every call is judged by, restated here on purpose.

They are the figures of the law and of our own promise, written down a second time: a table of rules, or a guard, that
went wrong cannot vouch for itself. Where an organisation put a limit of its own in a rule's place, the laxer of both
counts: it may be older or newer than the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from domain.rules.limits import Amount, AtMost, Limit, Week

#: Organisation (None = every other) -> rule -> the limit it put in its place.
Declared = Mapping[str | None, Mapping[str, Limit]]

_Windows = Mapping[int, tuple[time, time]]


def _daily(opens: int, closes: int) -> dict[int, tuple[time, time]]:
    return {day: (time(opens), time(closes)) for day in range(7)}


_NO_SUNDAY = {day: (time(8), time(20)) for day in range(6)}
#: Rule -> allowed local hours by weekday (Monday = 0), where they are stricter than the law's 8 to 21.
_HOURS: Mapping[str, _Windows] = {
    "hours.us": _daily(8, 21),
    "hours.default": {**_daily(9, 20), 6: (time(12), time(20))},
    "hours.us-al": _NO_SUNDAY,
    "hours.us-ct": _daily(9, 20),
    "hours.us-fl": _daily(8, 20),
    "hours.us-ky": _daily(10, 21),
    "hours.us-la": _NO_SUNDAY,
    "hours.us-md": _daily(8, 20),
    "hours.us-ms": _NO_SUNDAY,
    "hours.us-ok": _daily(8, 20),
    "hours.us-ri": {**_daily(9, 18), 5: (time(10), time(17)), 6: (time(10), time(17))},
    "hours.us-tx": {**_daily(9, 21), 6: (time(12), time(21))},
    "hours.us-wa": _daily(8, 20),
}


#: What a federal payer's patient may be offered at once, and in a calendar year, in dollars (42 CFR 1003.110).
_ITEM, _YEAR = 15, 75


@dataclass(frozen=True, slots=True)
class CapTerm:
    """No call may come within `window` of the call `back` before it, to one patient, contact point or household."""

    subject: str
    back: int
    window: timedelta
    state: str | None = None
    """Only calls to people of this state are judged."""


_DAY, _WEEK = timedelta(hours=24), timedelta(days=7)
#: Rule -> one in any 24 hours, three in any 7 days.
CAPS: Mapping[str, CapTerm] = {
    "caps.person.day": CapTerm("patient_id", 1, _DAY),
    "caps.person.week": CapTerm("patient_id", 3, _WEEK),
    "caps.contact.day": CapTerm("contact_point_id", 1, _DAY),
    "caps.contact.week": CapTerm("contact_point_id", 3, _WEEK),
}
#: Rule -> two in any 24 hours, five in any 7 days, to everybody of a household together.
HOUSEHOLD_CAPS: Mapping[str, CapTerm] = {
    "caps.household.day": CapTerm("household", 2, _DAY),
    "caps.household.week": CapTerm("household", 5, _WEEK),
}
#: Rule -> three in any 24 hours, to people of the state.
STATE_CAPS: Mapping[str, tuple[CapTerm, ...]] = {
    f"caps.us-{state.lower()}": tuple(CapTerm(each, 3, _DAY, state) for each in ("patient_id", "contact_point_id"))
    for state in ("FL", "MD", "OK")
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What one organisation's calls to people of certain states are judged by."""

    windows: tuple[_Windows, ...]
    keeps_holidays: bool

    def is_open(self, at: datetime, zone: str) -> bool:
        """Whether a call at `at` is allowed by the clock of the zone."""
        local = at.astimezone(ZoneInfo(zone))
        if self.keeps_holidays and is_federal_holiday(local.date()):
            return False
        spans = [windows.get(local.weekday()) for windows in self.windows]
        return all(span is not None and span[0] <= local.time() < span[1] for span in spans)


def terms(declared: Declared, organisation: str, states: str | None) -> Terms:
    """The terms of an organisation in these states (codes, separated by commas)."""
    own = of_organisation(declared, organisation)
    rules = ["hours.us", "hours.default", *(f"hours.us-{each.lower()}" for each in (states or "").split(",") if each)]
    windows = tuple(_laxer(_HOURS[rule], own.get(rule)) for rule in rules if rule in _HOURS)
    return Terms(windows, keeps_holidays="hours.holidays" not in own)


def of_organisation(declared: Declared, organisation: str) -> Mapping[str, Limit]:
    """What this organisation put in the place of rules."""
    return declared.get(organisation, declared.get(None, {}))


def cap_terms(declared: Declared, organisation: str) -> list[CapTerm]:
    """The caps an organisation's calls are judged by; a state's only where it is not stricter by itself.

    Nor may anybody alone be called more often than a household may.
    """
    own = of_organisation(declared, organisation)
    found = [_cap(term, own.get(rule)) for rule, term in CAPS.items()]
    of_states = [_cap(term, own.get(rule)) for rule, terms_ in STATE_CAPS.items() for term in terms_]
    alone = [replace(each, subject="patient_id") for each in household_terms(declared, organisation)]
    return found + [
        each
        for each in (*of_states, *alone)
        if not any(one.subject == each.subject and one.back <= each.back and one.window >= each.window for one in found)
    ]


def household_terms(declared: Declared, organisation: str) -> list[CapTerm]:
    """The ceilings of households that an organisation's calls are judged by."""
    own = of_organisation(declared, organisation)
    return [_cap(term, own.get(rule)) for rule, term in HOUSEHOLD_CAPS.items()]


def _cap(term: CapTerm, own: Limit | None) -> CapTerm:
    match own:
        case AtMost(count=count, window=window):
            return replace(term, back=max(term.back, count), window=min(term.window, window))
    return term


def ceiling_terms(declared: Declared, organisation: str) -> tuple[int, int]:
    """The dollars that one item, and a calendar year's, may come to there for a patient of a federal payer."""
    own = of_organisation(declared, organisation)
    return _dollars(_ITEM, own.get("incentives.us-item")), _dollars(_YEAR, own.get("incentives.us-year"))


def _dollars(figure: int, own: Limit | None) -> int:
    return max(figure, own.dollars) if isinstance(own, Amount) else figure


def is_federal_holiday(day: date) -> bool:
    """Whether it is a federal holiday, or the weekday one is observed on (5 USC 6103)."""
    if _is_named(day):
        return True
    tomorrow, yesterday = day + timedelta(days=1), day - timedelta(days=1)
    return (day.weekday() == 4 and _is_named(tomorrow)) or (day.weekday() == 0 and _is_named(yesterday))


def _is_named(day: date) -> bool:
    if (day.month, day.day) in {(1, 1), (6, 19), (7, 4), (11, 11), (12, 25)}:
        return True
    if day.weekday() == 3:
        return day.month == 11 and 22 <= day.day <= 28
    nth = (day.day + 6) // 7
    mondays = {(1, 3), (2, 3), (9, 1), (10, 2)}
    return day.weekday() == 0 and ((day.month, nth) in mondays or (day.month == 5 and day.day > 24))


def _laxer(figure: _Windows, own: Limit | None) -> _Windows:
    if not isinstance(own, Week):
        return figure
    return {
        day: (min(span[0] for span in spans), max(span[1] for span in spans))
        for day in range(7)
        if (spans := [windows[day] for windows in (figure, own.windows) if day in windows])
    }
