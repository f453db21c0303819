"""Open slots: how many appointments a site can still give on a line in a week, and how many are expected to be taken.

What is expected is the sum, over the touches of every campaign paced by open slots, of the bookings per touch that its
running version states. Weeks begin on Monday, by the calendar of the site.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Date,
    Integer,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    func,
    select,
)

from domain.ledger import store
from domain.ledger.among import among
from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.campaigns import campaign
from domain.ledger.columns import Instant, id_column, metadata, ref
from domain.ledger.enrolments import enrolment
from domain.ledger.organisations import site
from domain.ledger.touches import IS_PLANNED, touch
from domain.rules.news import version_of
from domain.rules.quiet_hours import zone_info

open_slots = Table(
    "open_slots",
    metadata,
    id_column(),
    ref("site_id", "site"),
    Column("service_line", String(32), nullable=False),
    #: Its Monday.
    Column("week", Date, nullable=False),
    Column("open", Integer, nullable=False),
    Column("told_at", Instant, nullable=False),
    #: Of what was told; older news changes nothing.
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("site_id", "service_line", "week"),
)

#: (site id, service line, Monday)
Slot = tuple[int, str, date]

#: Sums of stated shares: a tenth ten times over is one.
_ALMOST: Final = 1e-9

_FROM, _UNTIL = bindparam("begins", type_=Instant), bindparam("ends", type_=Instant)


def _expected(columns: Any, joined: Any) -> Select[Any]:
    paced = campaign.alias("paced")
    return (
        select(columns, enrolment.c.service_line, func.sum(paced.c.bookings_per_touch).label("bookings"))
        .select_from(joined)
        .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
        .join(
            paced,
            and_(
                paced.c.organisation_id == enrolment.c.organisation_id,
                paced.c.key == enrolment.c.campaign_key,
                paced.c.ended_at.is_(None),
                paced.c.bookings_per_touch.is_not(None),
            ),
        )
        .where(among(columns, "sites"))
        .group_by(columns, enrolment.c.service_line)
    )


_SENT: Final = _expected(attempt.c.site_id, attempt.join(touch, touch.c.id == attempt.c.touch_id)).where(
    attempt.c.claimed_at >= _FROM, attempt.c.claimed_at < _UNTIL, MAY_HAVE_REACHED
)
_PLANNED: Final = _expected(touch.c.site_id, touch).where(IS_PLANNED, touch.c.due_at >= _FROM, touch.c.due_at < _UNTIL)
_LATE: Final = _expected(touch.c.site_id, touch).where(IS_PLANNED, touch.c.due_at < _UNTIL)
_KNOWN: Final = select(open_slots).where(
    among(open_slots.c.site_id, "sites"), open_slots.c.week.in_(bindparam("weeks", type_=Date(), expanding=True))
)


@dataclass(frozen=True, slots=True)
class SlotNews:
    """So many appointments are open at a site, on a line, in the week that begins on this Monday."""

    site_id: int
    service_line: str
    week: date
    open: int
    version: int | None = None
    """Without one, it is as new as the moment it is stored."""


def monday(day: date) -> date:
    """The first day of its week."""
    return day - timedelta(days=day.weekday())


def tell(conn: Connection, news: Sequence[SlotNews], now: datetime) -> int:
    """Store what was told; what was told before of the same site, line and week is replaced. How much is older news."""
    if not news:
        return 0
    statement = store.insert(conn, open_slots)
    replaced = {name: statement.excluded[name] for name in ("open", "told_at", "version")}
    # by key, as everybody writes them: two batches that cross must not wait for each other
    ordered = sorted(news, key=lambda each: (each.site_id, each.service_line, each.week, each.version or 0))
    values: list[dict[str, Any]] = [
        {
            "site_id": each.site_id,
            "service_line": each.service_line,
            "week": each.week,
            "open": each.open,
            "told_at": now,
            "version": version_of(now) if each.version is None else each.version,
        }
        for each in ordered
    ]
    before = {
        (row.site_id, row.service_line, row.week): row.version
        for row in conn.execute(
            _KNOWN, {"sites": sorted({each.site_id for each in news}), "weeks": sorted({each.week for each in news})}
        )
    }
    # how it was, where two tell at once; what is kept is decided by the statement
    stale: int = sum(
        row["version"] < before.get((row["site_id"], row["service_line"], row["week"]), row["version"])
        for row in values
    )
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["site_id", "service_line", "week"],
            set_=replaced,
            where=statement.excluded.version >= open_slots.c.version,
        ),
        values,
    )
    return stale


def known(conn: Connection, site_ids: Collection[int], weeks: Collection[date]) -> dict[Slot, int]:
    """How many are open, where anybody told."""
    rows = conn.execute(_KNOWN, {"sites": sorted(site_ids), "weeks": sorted(weeks)})
    return {(row.site_id, row.service_line, row.week): row.open for row in rows}


def listed(conn: Connection, organisation_id: int, since: date) -> Sequence[Row[Any]]:
    """What an organisation told of this week and later ones, with the key of the site."""
    return conn.execute(
        select(site.c.key, open_slots)
        .join(site, site.c.id == open_slots.c.site_id)
        .where(site.c.organisation_id == organisation_id, open_slots.c.week >= monday(since))
        .order_by(open_slots.c.week, site.c.key, open_slots.c.service_line)
    ).all()


def sent(conn: Connection, zones: Mapping[int, str], now: datetime) -> dict[Slot, float]:
    """Bookings expected of what was sent, or may have been, in the present week; `zones` by site id."""
    return _sum(conn, _SENT, zones, now, 0)


def expected(conn: Connection, zones: Mapping[int, str], now: datetime, weeks_ahead: int) -> dict[Slot, float]:
    """Bookings expected of a week: of what was sent in it, and what is planned into it or late."""
    if weeks_ahead:
        return _sum(conn, _PLANNED, zones, now, weeks_ahead)
    found = sent(conn, zones, now)
    for key, bookings in _sum(conn, _LATE, zones, now, 0).items():
        found[key] = found.get(key, 0.0) + bookings
    return found


def takes(bookings: float, open_: int, rate: float) -> int:
    """How many more touches of this rate a week takes that so many bookings are expected of."""
    return max(0, int((open_ - bookings) / rate + _ALMOST))


def _sum(
    conn: Connection, statement: Select[Any], zones: Mapping[int, str], now: datetime, weeks_ahead: int
) -> dict[Slot, float]:
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for site_id, zone in zones.items():
        alike[zone].append(site_id)
    found: dict[Slot, float] = {}
    for zone, sites in alike.items():
        week = monday(now.astimezone(zone_info(zone)).date()) + timedelta(weeks=weeks_ahead)
        begins, ends = (datetime.combine(day, time(), zone_info(zone)) for day in (week, week + timedelta(weeks=1)))
        values = {"sites": sorted(sites), "begins": begins, "ends": ends}
        for row in conn.execute(statement, values):
            found[row[0], row.service_line, week] = float(row.bookings)
    return found
