"""Quiet hours: at which instants a person may be reached, by the clock on the wall where they may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

#: Two zones half a day apart share no waking hour; after so many days of looking there is none to be found.
_SEARCH_DAYS = 15


@dataclass(frozen=True, slots=True)
class Hours:
    """Allowed local hours per weekday (Monday = 0): open at the first instant, closed from the second on."""

    weekdays: Mapping[int, tuple[time, time]]

    def on(self, weekday: int) -> tuple[time, time] | None:
        """Opening and closing time of a weekday, or None if it is quiet all day."""
        return self.weekdays.get(weekday)


#: Mon-Sat 9-20, Sun 12-20: inside the federal 8-21 (47 CFR 64.1200(c)(1)) and most stricter state windows.
DEFAULT_HOURS = Hours({**dict.fromkeys(range(6), (time(9), time(20))), 6: (time(12), time(20))})


def is_allowed(now: datetime, zones: Collection[str], hours: Hours = DEFAULT_HOURS) -> bool:
    """Whether `now` is inside the window in every candidate zone."""
    return all(_closing(now, zone, hours) is not None for zone in zones)


def window_end(now: datetime, zones: Collection[str], hours: Hours = DEFAULT_HOURS) -> datetime:
    """The instant (in `now`'s zone) from which the current window is closed in some zone.

    Raises:
        ValueError: `now` is not allowed, or there is no zone to judge by.
    """
    closings = [_closing(now, zone, hours) for zone in zones]
    if not closings or None in closings:
        raise ValueError("no window is open at this instant")
    return min(closing for closing in closings if closing is not None)


def next_allowed(now: datetime, zones: Collection[str], hours: Hours = DEFAULT_HOURS) -> datetime | None:
    """The first instant at or after `now` that is allowed in every zone; None if the zones share no hour."""
    candidate, limit = now, now + timedelta(days=_SEARCH_DAYS)
    while candidate < limit:
        openings = [_next_opening(candidate, zone, hours) for zone in zones]
        if any(opening is None for opening in openings):
            return None
        latest = max((opening for opening in openings if opening is not None), default=candidate)
        if latest == candidate:
            return candidate
        candidate = latest
    return None


@cache
def zone_info(name: str) -> ZoneInfo:
    """The zone's rules. Raises ZoneInfoNotFoundError."""
    return ZoneInfo(name)


def _closing(now: datetime, zone: str, hours: Hours) -> datetime | None:
    local = now.astimezone(zone_info(zone))
    window = hours.on(local.weekday())
    if window is None or not window[0] <= local.time() < window[1]:
        return None
    return datetime.combine(local.date(), window[1], zone_info(zone)).astimezone(now.tzinfo)


def _next_opening(now: datetime, zone: str, hours: Hours) -> datetime | None:
    local = now.astimezone(zone_info(zone))
    for ahead in range(8):
        day = local.date() + timedelta(days=ahead)
        window = hours.on(day.weekday())
        if window is None:
            continue
        opens = datetime.combine(day, window[0], zone_info(zone)).astimezone(now.tzinfo)
        closes = datetime.combine(day, window[1], zone_info(zone)).astimezone(now.tzinfo)
        if now < closes:
            return max(now, opens)
    return None
