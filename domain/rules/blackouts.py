"""Blackouts: the dates on which a campaign is silent, told by the calendar where the person is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from domain.rules.quiet_hours import zone_info

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Blackout:
    """Ranges of dates, first and last day included."""

    ranges: tuple[tuple[date, date], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def covers(self, day: date) -> bool:
        """Whether the campaign is silent on this day."""
        return any(first <= day <= last for first, last in self.ranges)

    def first_open(self, day: date) -> date:
        """This day, or the first one after it on which the campaign may speak."""
        while self.covers(day):
            day += _DAY
        return day

    def ends(self, now: datetime, zones: Collection[str]) -> datetime | None:
        """The first instant after `now` at which no zone has a silent day; None if none has one now."""
        at = now
        while silent := [zone for zone in zones if self.covers(_day_in(at, zone))]:
            at = max(_midnight(self.first_open(_day_in(at, zone)), zone) for zone in silent)
        return None if at == now else at.astimezone(now.tzinfo)

    def as_text(self) -> str | None:
        """As the ledger keeps it: ISO dates, `first/last` each; None if there are none."""
        return " ".join(f"{first}/{last}" for first, last in self.ranges) or None


#: Of a campaign without one.
NO_BLACKOUT = Blackout()


def from_entries(entries: Iterable[Mapping[str, Any]]) -> Blackout:
    """The blackout of a campaign's stored definition."""
    return Blackout(tuple((date.fromisoformat(each["first"]), date.fromisoformat(each["last"])) for each in entries))


@lru_cache(maxsize=1024)
def from_text(text: str | None) -> Blackout:
    """What `as_text` wrote."""
    pairs = (each.split("/") for each in (text or "").split())
    return Blackout(tuple((date.fromisoformat(first), date.fromisoformat(last)) for first, last in pairs))


def _day_in(at: datetime, zone: str) -> date:
    return at.astimezone(zone_info(zone)).date()


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), zone_info(zone))
