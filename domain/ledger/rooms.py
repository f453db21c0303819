"""Rooms: how many more patients a campaign may enrol at a site, by its daily limit and by the site's open slots.

Both go by the site's own calendar. A patient let in takes one place of each, in whichever arm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, func, literal_column, select, update

from domain.ledger import season_waiting, slots
from domain.ledger.campaigns import Running, campaign
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.organisations import site
from domain.ledger.store import chunks
from domain.rules.quiet_hours import zone_info

#: Why a lapse waits although its campaign wants it and reaches the patient.
FULL = "daily_limit"
NO_SLOTS, UNKNOWN = "no_open_slots", "open_slots_unknown"
WAITING = (FULL, NO_SLOTS, UNKNOWN)


class Rooms:
    """What is left at each site; each patient let in takes one place, in whichever arm."""

    def __init__(self, conn: Connection, running: Sequence[Running], now: datetime) -> None:
        self._left = {each.id: _left(conn, each, now) for each in running if _limit(each) is not None}
        self._slots = {each.id: SlotsLeft(conn, each, now) for each in running if pace(each) is not None}

    def take(self, version: Running, site_id: int, line: str) -> str | None:
        """Take a place; or why there was none."""
        left, open_ = self._left.get(version.id), self._slots.get(version.id)
        if left is not None and left.get(site_id, 0) <= 0:
            return FULL
        refusal = None if open_ is None else open_.take(site_id, line)
        if refusal is None and left is not None:
            left[site_id] -= 1
        return refusal

    def of(self, version: Running) -> dict[tuple[int, tuple[str, ...]], int]:
        """What is left of a limited campaign at each site, for these lines together."""
        left, open_ = self._left.get(version.id), self._slots.get(version.id)
        lines = tuple(version.definition["audience"]["service_lines"])
        if open_ is None:
            return {(site_id, lines): places for site_id, places in (left or {}).items()}
        return {
            (site_id, (line,)): places if left is None else min(places, left[site_id])
            for site_id in open_.sites
            for line in lines
            if (places := open_.places(site_id, line)) is not None
        }


class SlotsLeft:
    """How many more first touches the open slots of each site and line take, of a campaign paced by them.

    A first touch falls on the day of the enrolment or the next: where these are two weeks, both must have room.
    """

    def __init__(self, conn: Connection, version: Running, now: datetime) -> None:
        entry = pace(version) or {}
        self._rate: float = entry["bookings_per_touch"]
        self._goes_on = entry["when_unknown"] != "wait"
        rows = conn.execute(select(site.c.id, site.c.zone).where(site.c.organisation_id == version.organisation_id))
        self.sites: Mapping[int, str] = {row.id: row.zone for row in rows}
        self._weeks = {site_id: _weeks(now, zone) for site_id, zone in self.sites.items()}
        every = {week for weeks in self._weeks.values() for week in weeks}
        self._open = slots.known(conn, self.sites, every)
        self._expected = slots.expected(conn, self.sites, now, 0)
        if any(len(weeks) > 1 for weeks in self._weeks.values()):
            self._expected = slots.expected(conn, self.sites, now, 1) | self._expected

    def places(self, site_id: int, line: str) -> int | None:
        """How many are left; None = nobody told, and the file says to wait."""
        found = []
        for week in self._weeks[site_id]:
            key = (site_id, line, week)
            if key in self._open:
                found.append(slots.takes(self._expected.get(key, 0.0), self._open[key], self._rate))
            elif not self._goes_on:
                return None
        return min(found, default=_ANY)

    def take(self, site_id: int, line: str) -> str | None:
        """Take a place; or why there was none."""
        places = self.places(site_id, line) if site_id in self.sites else None
        if not places:
            return UNKNOWN if places is None else NO_SLOTS
        for week in self._weeks[site_id]:
            key = (site_id, line, week)
            self._expected[key] = self._expected.get(key, 0.0) + self._rate
        return None


#: Where nobody told and the file goes by its daily limit.
_ANY = 1_000_000


def pace(version: Running) -> Mapping[str, Any] | None:
    """How the file paces it by open slots; None = it does not."""
    entry: Mapping[str, Any] | None = version.definition.get("pace")
    return entry


def take_turns(conn: Connection, running: Sequence[Running]) -> None:
    """Let nobody else enrol in those with a limit before we commit: two who count at once would let in too many."""
    limited = [each.id for each in running if _is_limited(each)]
    if limited:
        mine = select(campaign.c.id).where(campaign.c.id.in_(limited)).order_by(campaign.c.id)
        conn.execute(mine.with_for_update(key_share=True))


def let_in(conn: Connection, running: Sequence[Running], now: datetime) -> int:
    """Owe as many waiting lapses another decision as there is room today, the most urgent first; how many.

    Before them those that waited for a season which has come.
    """
    return season_waiting.let_in(conn, running, now) + _let_in_by_room(conn, running, now)


def _let_in_by_room(conn: Connection, running: Sequence[Running], now: datetime) -> int:
    limited = [each for each in running if _is_limited(each) and each.paused_at is None]
    take_turns(conn, limited)
    rooms = Rooms(conn, limited, now)
    count = 0
    for each in limited:
        for (site_id, lines), left in rooms.of(each).items():
            waiting = _waiting(conn, each, site_id, lines, left) if left > 0 else []
            for ids in chunks(waiting):
                conn.execute(update(lapse).where(lapse.c.id.in_(ids)).values(decided_at=None, declined=None))
            count += len(waiting)
    return count


def _is_limited(version: Running) -> bool:
    return _limit(version) is not None or pace(version) is not None


def _limit(version: Running) -> int | None:
    limit: int | None = version.definition.get("daily_enrolments_per_site")
    return limit


def _weeks(now: datetime, zone: str) -> tuple[date, ...]:
    today = now.astimezone(zone_info(zone)).date()
    return tuple(dict.fromkeys(slots.monday(day) for day in (today, today + timedelta(days=1))))


def _waiting(conn: Connection, version: Running, site_id: int, lines: Sequence[str], most: int) -> Sequence[int]:
    return conn.scalars(
        select(lapse.c.id)
        .where(
            lapse.c.site_id == site_id,
            # by its letter, as the index has it
            lapse.c.declined.in_([literal_column(f"'{reason}'") for reason in WAITING]),
            lapse.c.closed_at.is_(None),
            lapse.c.service_line.in_(lines),
            lapse.c.segment.in_(version.definition["audience"]["segments"]),
        )
        .order_by(lapse.c.priority, lapse.c.id)
        .limit(most)
    ).all()


def _left(conn: Connection, version: Running, now: datetime) -> dict[int, int]:
    limit = _limit(version) or 0
    zones: defaultdict[str, list[int]] = defaultdict(list)
    sites: Any = conn.execute(
        select(site.c.id, site.c.zone).where(site.c.organisation_id == version.organisation_id).order_by(site.c.id)
    )
    for row in sites:
        zones[row.zone].append(row.id)
    left = {site_id: limit for ids in zones.values() for site_id in ids}
    for zone, ids in zones.items():
        today = datetime.combine(now.astimezone(zone_info(zone)).date(), time(), zone_info(zone))
        enrolled = conn.execute(
            select(enrolment.c.site_id, func.count().label("begun"))
            .where(
                enrolment.c.site_id.in_(ids),
                enrolment.c.enrolled_at >= today,
                enrolment.c.campaign_key == version.key,
            )
            .group_by(enrolment.c.site_id)
        )
        for row in enrolled:
            left[row.site_id] = limit - row.begun
    return left
