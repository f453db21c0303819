"""Ceilings: how much more a site may send by its own calendar: today, in all and per campaign, and by its open slots.

The site's figure is its organisation's, a campaign's is that of the version that runs, for whoever is in an older one
as well. What is being sent, was accepted or may have been counts; answers do not. Where nobody told how many slots are
open, none holds a touch back: who was enrolled by the slots of their week gets their later touches.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, select

from domain.ledger import slots
from domain.ledger.among import among
from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.columns import Instant
from domain.ledger.enrolments import enrolment
from domain.ledger.organisations import site
from domain.ledger.slots import Slot
from domain.ledger.touches import touch
from domain.rules.guard import CAMPAIGN_FULL, SITE_FULL, SLOTS_FULL, Facts, at_ceiling
from domain.rules.quiet_hours import zone_info
from domain.rules.shares import day_of, is_used_up, tomorrow
from domain.rules.vocabulary import TouchKind

_LOCK: Final = select(site.c.id).where(among(site.c.id, "sites")).order_by(site.c.id).with_for_update(key_share=True)
_SENT: Final = (
    select(attempt.c.site_id, enrolment.c.campaign_key, func.count().label("sent"))
    .join(touch, touch.c.id == attempt.c.touch_id)
    .outerjoin(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .where(
        among(attempt.c.site_id, "sites"),
        attempt.c.claimed_at >= bindparam("midnight", type_=Instant),
        MAY_HAVE_REACHED,
    )
    .group_by(attempt.c.site_id, enrolment.c.campaign_key)
)


class Ceilings:
    """What the sites of a claim have sent today; each touch that goes takes its place.

    The sites with a ceiling are locked: two claims that counted at once would send too much.
    """

    def __init__(self, conn: Connection, rows: Sequence[Row[Any]], now: datetime) -> None:
        """`rows` are the touches of the claim, with their site, its zone, and the two figures."""
        self._now = now
        self._in_all: Counter[int] = Counter()
        self._of_campaign: Counter[tuple[int, str | None]] = Counter()
        #: Touch -> the site at whose ceiling it counts.
        self.counted: dict[int, int] = {row.id: row.site_id for row in rows if _is_limited(row)}
        self._open: dict[Slot, int] = {}
        self._bookings: dict[Slot, float] = {}
        if self.counted:
            self._count(conn, {row.site_id: row.site_zone for row in rows if row.id in self.counted})
        paced = {row.site_id: row.site_zone for row in rows if row.id in self.counted and _is_paced(row)}
        if paced:
            self._open = slots.known(conn, paced, {self._week(zone) for zone in paced.values()})
            self._bookings = slots.sent(conn, paced, now)

    def judge(self, row: Row[Any], facts: Facts) -> Facts:
        """The facts of a touch, with the ceiling it meets, if it does."""
        if row.id not in self.counted:
            return facts
        again = tomorrow(self._now, row.site_zone)
        if is_used_up(self._in_all[row.site_id], row.site_daily):
            return at_ceiling(facts, SITE_FULL, again)
        if is_used_up(self._of_campaign[row.site_id, row.campaign_key], row.campaign_daily):
            return at_ceiling(facts, CAMPAIGN_FULL, again)
        if _is_paced(row):
            key = (row.site_id, row.service_line, self._week(row.site_zone))
            if key in self._open and not slots.takes(
                self._bookings.get(key, 0.0), self._open[key], row.bookings_per_touch
            ):
                return at_ceiling(facts, SLOTS_FULL, self._next_monday(row.site_zone))
        return facts

    def take(self, row: Row[Any]) -> None:
        """It goes."""
        if row.id in self.counted:
            self._in_all[row.site_id] += 1
            self._of_campaign[row.site_id, row.campaign_key] += 1
            if _is_paced(row):
                key = (row.site_id, row.service_line, self._week(row.site_zone))
                self._bookings[key] = self._bookings.get(key, 0.0) + row.bookings_per_touch

    def _week(self, zone: str) -> date:
        return slots.monday(self._now.astimezone(zone_info(zone)).date())

    def _next_monday(self, zone: str) -> datetime:
        local = self._now.astimezone(zone_info(zone))
        return (local + timedelta(days=7 - local.weekday())).astimezone(self._now.tzinfo)

    def _count(self, conn: Connection, zones: dict[int, str]) -> None:
        conn.execute(_LOCK, {"sites": sorted(zones)})
        for row in sent_today(conn, zones, self._now):
            self._in_all[row.site_id] += row.sent
            self._of_campaign[row.site_id, row.campaign_key] += row.sent


def sent_today(conn: Connection, zones: Mapping[int, str], now: datetime) -> Iterator[Row[Any]]:
    """How many each site (`zones` by site id) has sent, or may have, of each campaign on its present day."""
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for site_id, zone in sorted(zones.items()):
        alike[zone].append(site_id)
    for zone, sites in alike.items():
        midnight = datetime.combine(day_of(now, zone), time(), zone_info(zone))
        yield from conn.execute(_SENT, {"sites": sites, "midnight": midnight})


def _is_limited(row: Row[Any]) -> bool:
    has_ceiling = row.site_daily is not None or row.campaign_daily is not None or _is_paced(row)
    return has_ceiling and row.kind != TouchKind.ANSWER and row.site_id is not None


def _is_paced(row: Row[Any]) -> bool:
    return row.bookings_per_touch is not None
