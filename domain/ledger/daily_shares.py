"""Daily shares foreseen: on which later days touches fall where a site, or a campaign there, may send so many a day.

It goes by the rule of the claim (`domain.rules.shares`), counts what was sent today and what is planned already, and
writes nothing. Whoever is due first goes first, the more urgent of those due at once; what was planned before, earlier.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, func, select

from domain.ledger import ceilings
from domain.ledger.campaigns import Running
from domain.ledger.enrolments import enrolment
from domain.ledger.organisations import site
from domain.ledger.touches import IS_PLANNED, touch
from domain.rules.blackouts import Blackout
from domain.rules.cadence import Planned
from domain.rules.quiet_hours import Hours, next_allowed
from domain.rules.shares import day_of, is_used_up, tomorrow
from domain.rules.vocabulary import TouchKind

_PLANNED: Final = (
    select(touch.c.site_id, enrolment.c.campaign_key, touch.c.due_at, func.count().label("touches"))
    .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .where(IS_PLANNED, touch.c.kind != TouchKind.ANSWER.value)
    .group_by(touch.c.site_id, enrolment.c.campaign_key, touch.c.due_at)
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A touch that wants its place on a day of its site."""

    number: tuple[int, int]
    """Lapse and position; unique."""
    site_id: int
    planned: Planned
    priority: int
    zone: str
    """Where the patient is."""
    hours: Hours
    blackout: Blackout


class Shares:
    """What is left of each day, at each site."""

    def __init__(self, key: str, of_campaign: int | None, sites: dict[int, tuple[str, int | None]]) -> None:
        self._key, self._share, self._sites = key, of_campaign, sites
        self._in_all: Counter[tuple[int, date]] = Counter()
        self._ours: Counter[tuple[int, date]] = Counter()

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit: without one everybody goes when planned."""
        return self._share is not None or any(share is not None for _, share in self._sites.values())

    def count(self, site_id: int, key: str | None, day: date, touches: int) -> None:
        """So many are sent, or planned, there already."""
        self._in_all[site_id, day] += touches
        self._ours[site_id, day] += touches if key == self._key else 0

    def give(self, turns: Sequence[Turn]) -> dict[tuple[int, int], datetime | None]:
        """When each touch finds its place; None = it expires before."""
        line = [(turn.planned.due_at, turn.priority, turn.number, turn) for turn in turns]
        heapq.heapify(line)
        given: dict[tuple[int, int], datetime | None] = {}
        while line:
            at, priority, number, turn = heapq.heappop(line)
            if at > turn.planned.expires_at:
                given[number] = None
            elif self._take(turn.site_id, at):
                given[number] = at
            else:
                heapq.heappush(line, (self._again(turn, at), priority, number, turn))
        return given

    def _take(self, site_id: int, at: datetime) -> bool:
        zone, share = self._sites[site_id]
        place = (site_id, day_of(at, zone))
        if is_used_up(self._in_all[place], share) or is_used_up(self._ours[place], self._share):
            return False
        self._in_all[place] += 1
        self._ours[place] += 1
        return True

    def _again(self, turn: Turn, at: datetime) -> datetime:
        """Its next turn, by the hours and silent dates where the patient is, as the claim asks them then."""
        again = tomorrow(at, self._sites[turn.site_id][0])
        while True:
            allowed = turn.blackout.ends(again, [turn.zone]) or next_allowed(again, [turn.zone], turn.hours) or again
            if allowed == again:
                return again
            again = allowed


def read(conn: Connection, version: Running, now: datetime) -> Shares:
    """What today and the days to come have of these places, were this version the one that runs."""
    rows: Any = conn.execute(
        select(site.c.id, site.c.zone, site.c.daily_touches).where(site.c.organisation_id == version.organisation_id)
    )
    sites = {row.id: (row.zone, row.daily_touches) for row in rows}
    shares = Shares(version.key, version.definition.get("daily_touches_per_site"), sites)
    if not shares.is_limited:
        return shares
    zones = {site_id: zone for site_id, (zone, _) in sites.items()}
    for row in ceilings.sent_today(conn, zones, now):
        shares.count(row.site_id, row.campaign_key, day_of(now, zones[row.site_id]), row.sent)
    for row in conn.execute(_PLANNED.where(touch.c.site_id.in_(sites))):
        # what is late goes today
        shares.count(row.site_id, row.campaign_key, day_of(max(row.due_at, now), zones[row.site_id]), row.touches)
    return shares
