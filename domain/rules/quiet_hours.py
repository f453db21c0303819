"""Quiet hours: at which instants a person may be reached, by the clock on the wall where they may be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from domain.rules.quiet_days import QuietDays

#: Of a window that is open to the end of its day.
END_OF_DAY = time.max

#: Longer than any run of quiet days; zones half a day apart share no waking hour on any of them.
_SEARCH_DAYS = 60
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """Allowed local hours per weekday (Monday = 0): open at the first instant, closed from the second on."""

    weekdays: Mapping[int, tuple[time, time]]
    quiet: tuple[QuietDays, ...] = ()
    """Days on which it is quiet whatever the weekday."""
    closed_by: Mapping[int, str] = field(default_factory=dict)
    """Which rule ends the window of a weekday."""

    def on(self, day: date) -> tuple[time, time] | None:
        """Opening and closing time of a day, or None if it is quiet all day."""
        window = self.weekdays.get(day.weekday())
        if window is None or any(each.name_of(day) for each in self.quiet):
            return None
        return window


def is_allowed(now: datetime, zones: Collection[str], hours: Hours) -> bool:
    """Whether `now` is inside the window in every candidate zone."""
    return all(_is_open(now.astimezone(zone_info(zone)), hours) for zone in zones)


def closing(now: datetime, zones: Collection[str], hours: Hours) -> tuple[datetime, str | None] | None:
    """The instant (in `now`'s zone) from which the window open at `now` is closed in some zone, and the rule.

    None if it is not open, or if there is no zone to judge by.
    """
    ends = []
    for zone in zones:
        end = _closing(now.astimezone(UTC), zone, hours)
        if end is None:
            return None
        ends.append(end)
    if not ends:
        return None
    first, rule = min(ends, key=lambda each: each[0])
    return first.astimezone(now.tzinfo), rule


def window_end(now: datetime, zones: Collection[str], hours: Hours) -> datetime:
    """The instant (in `now`'s zone) from which the current window is closed in some zone.

    Raises:
        ValueError: `now` is not allowed, or there is no zone to judge by.
    """
    found = closing(now, zones, hours)
    if found is None:
        raise ValueError("no window is open at this instant")
    return found[0]


def next_allowed(now: datetime, zones: Collection[str], hours: Hours) -> datetime | None:
    """The first instant at or after `now` that is allowed in every zone; None if the zones share no hour."""
    candidate = start = now.astimezone(UTC)
    while candidate < start + _SEARCH_DAYS * _DAY:
        openings = [_next_opening(candidate, zone, hours) for zone in zones]
        if any(opening is None for opening in openings):
            return None
        latest = max((opening for opening in openings if opening is not None), default=candidate)
        if latest == candidate:
            return candidate.astimezone(now.tzinfo)
        candidate = latest
    return None


@cache
def zone_info(name: str) -> ZoneInfo:
    """The zone's rules. Raises ZoneInfoNotFoundError."""
    return ZoneInfo(name)


def _is_open(local: datetime, hours: Hours) -> bool:
    window = hours.on(local.date())
    return window is not None and window[0] <= local.time() and (local.time() < window[1] or window[1] == END_OF_DAY)


def _closing(at: datetime, zone: str, hours: Hours) -> tuple[datetime, str | None] | None:
    local = at.astimezone(zone_info(zone))
    if not _is_open(local, hours):
        return None
    closes_at = hours.weekdays[local.weekday()][1]
    closes = datetime.combine(local.date(), closes_at, zone_info(zone)).astimezone(UTC)
    rule = hours.closed_by.get(local.weekday())
    # asked of the instant: a local time that is left out still has the offset from before
    if closes_at != END_OF_DAY and _offset(closes, zone) == local.utcoffset():
        return closes, rule
    # the clocks change within the window, or it runs into the next day's
    ends = (edge for edge in _edges_after(at, zone, hours) if not _is_open(edge.astimezone(zone_info(zone)), hours))
    return next(ends, at + _SEARCH_DAYS * _DAY), rule


def _next_opening(at: datetime, zone: str, hours: Hours) -> datetime | None:
    if _is_open(at.astimezone(zone_info(zone)), hours):
        return at
    edges = _edges_after(at, zone, hours)
    return next((edge for edge in edges if _is_open(edge.astimezone(zone_info(zone)), hours)), None)


def _edges_after(at: datetime, zone: str, hours: Hours) -> Iterator[datetime]:
    """Every instant (UTC) after `at` at which it may open or close in the zone, in order."""
    # the day before, too: where clocks go back at midnight its last hour comes twice
    first = at.astimezone(zone_info(zone)).date() - _DAY
    pending: set[datetime] = set()
    for ahead in range(_SEARCH_DAYS):
        day = first + ahead * _DAY
        pending |= {edge for edge in _edges(day, zone, hours) if edge > at}
        # nowhere does the next day begin earlier
        ready = sorted(edge for edge in pending if edge < datetime.combine(day, time(8), UTC))
        pending.difference_update(ready)
        yield from ready


def _edges(day: date, zone: str, hours: Hours) -> list[datetime]:
    """The instants of a local day's opening and closing, and of every change of the clocks around it.

    A local time that comes twice counts twice. One that is left out falls on the change of the clocks that skips it.
    """
    instants = set(_changes(day, zone))
    window = hours.on(day)
    if window is not None:
        closes = datetime.combine(day + _DAY, time()) if window[1] == END_OF_DAY else datetime.combine(day, window[1])
        for wall in (datetime.combine(day, window[0]), closes):
            instants |= {wall.replace(tzinfo=zone_info(zone), fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(instants)


@lru_cache(maxsize=8192)
def _changes(day: date, zone: str) -> tuple[datetime, ...]:
    """Changes of the zone's clocks (UTC, to the second) between the half day before the day and the one after it."""
    start = datetime.combine(day, time(), UTC) - timedelta(hours=15)
    marks = [start + timedelta(hours=9) * number for number in range(7)]
    return tuple(
        _change(earlier, later, zone)
        for earlier, later in pairwise(marks)
        if _offset(earlier, zone) != _offset(later, zone)
    )


def _change(earlier: datetime, later: datetime, zone: str) -> datetime:
    """The first second at which the zone no longer keeps the offset it had at `earlier`."""
    offset = _offset(earlier, zone)
    while later - earlier > timedelta(seconds=1):
        middle = earlier + timedelta(seconds=(later - earlier) // timedelta(seconds=2))
        if _offset(middle, zone) == offset:
            earlier = middle
        else:
            later = middle
    return later


def _offset(at: datetime, zone: str) -> timedelta | None:
    return at.astimezone(zone_info(zone)).utcoffset()
