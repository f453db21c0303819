"""Waiting for a season: which lapses a campaign whose season has come lets in, wherever that is so by now.

The query itself asks whose season it is, and which campaign comes first: whoever cannot be let in takes up no room
among those it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import available_timezones

from sqlalchemy import ColumnElement, Connection, Select, and_, false, func, literal_column, or_, select, true, update

from domain.ledger.campaigns import Running
from domain.ledger.deciding import OUT_OF_SEASON
from domain.ledger.lapses import lapse
from domain.ledger.organisations import site
from domain.ledger.patients import patient
from domain.ledger.store import chunks
from domain.rules import terms
from domain.rules.quiet_hours import zone_info
from domain.rules.vocabulary import Payer

#: So many are let in at once when a season comes, the most urgent first; the others in the next rounds.
MOST: Final = 20_000

_ZONE = func.coalesce(patient.c.zone, site.c.zone)
#: What is told of a patient's benefit year: class of payer, month.
_Kind = tuple[str | None, int | None]
_KINDS: Final[tuple[_Kind, ...]] = tuple(
    (payer, month) for payer in (None, *(each.value for each in Payer)) for month in (None, *range(1, 13))
)


def let_in(conn: Connection, running: Sequence[Running], now: datetime, most: int = MOST) -> int:
    """Owe another decision to the lapses whose season has come, up to `most` of each campaign; how many."""
    live = [each for each in running if each.paused_at is None]
    come: list[int] = []
    for nth, each in enumerate(live):
        if each.definition.get("enrol_in") and (found := waiting(each, live[:nth], now, most)) is not None:
            come += conn.scalars(found)
    # a lapse is one campaign's, so nothing comes twice
    for ids in chunks(come):
        conn.execute(update(lapse).where(lapse.c.id.in_(ids)).values(decided_at=None, declined=None))
    return len(come)


def waiting(version: Running, earlier: Sequence[Running], now: datetime, most: int) -> Select[tuple[int]] | None:
    """The lapses that this campaign lets in at `now`, the most urgent first; None = it is nobody's season.

    What an `earlier` campaign enrols now is that one's.
    """
    ours = _wants(version, now)
    if ours is None:
        return None
    theirs = [
        wanted
        for each in earlier
        if each.organisation_id == version.organisation_id and (wanted := _wants(each, now)) is not None
    ]
    return (
        select(lapse.c.id)
        .join(patient, patient.c.id == lapse.c.patient_id)
        .join(site, site.c.id == patient.c.home_site_id)
        .where(
            # by its letter, as the index has it
            lapse.c.declined == literal_column(f"'{OUT_OF_SEASON}'"),
            lapse.c.closed_at.is_(None),
            lapse.c.organisation_id == version.organisation_id,
            ours,
            *(~each for each in theirs),
        )
        .order_by(lapse.c.priority, lapse.c.id)
        .limit(most)
    )


def _wants(version: Running, now: datetime) -> ColumnElement[bool] | None:
    """Of a lapse and its patient: whether this campaign enrols it at `now`; None = nobody's."""
    season = _in_season(version, now)
    if season is None:
        return None
    audience = version.definition["audience"]
    return and_(lapse.c.service_line.in_(audience["service_lines"]), lapse.c.segment.in_(audience["segments"]), season)


def _in_season(version: Running, now: datetime) -> ColumnElement[bool] | None:
    """Of a patient: whether it is the campaign's season where they are; None = it is nobody's anywhere."""
    if not version.definition.get("enrol_in"):
        return true()
    its = terms.from_definition(version.definition)
    alike: defaultdict[frozenset[_Kind], list[str]] = defaultdict(list)
    for day, zones in _days(now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)).items():
        kinds = frozenset(kind for kind in _KINDS if its.enrols_on(day, payer=kind[0], benefit_month=kind[1]))
        alike[kinds] += zones
    # on most days it is the same on either side of the date line
    if len(alike) == 1:
        (kinds,) = alike
        return _is_one_of(kinds) if kinds else None
    return or_(*(and_(_ZONE.in_(sorted(zones)), _is_one_of(kinds)) for kinds, zones in alike.items() if kinds))


def _is_one_of(kinds: frozenset[_Kind]) -> ColumnElement[bool]:
    if len(kinds) == len(_KINDS):
        return true()
    months: defaultdict[str | None, list[int | None]] = defaultdict(list)
    for payer, month in kinds:
        months[payer].append(month)
    return or_(
        false(),
        *(
            and_(
                patient.c.payer.is_not_distinct_from(payer),
                or_(patient.c.benefit_month.in_([each for each in its if each]), _is_unknown(None in its)),
            )
            for payer, its in sorted(months.items(), key=lambda item: item[0] or "")
        ),
    )


def _is_unknown(counts: bool) -> ColumnElement[bool]:
    return patient.c.benefit_month.is_(None) if counts else false()


@lru_cache(maxsize=16)
def _days(now: datetime) -> dict[date, list[str]]:
    """The days that it is now somewhere on earth, and the zones of each; zones change their day on a quarter hour."""
    found: defaultdict[date, list[str]] = defaultdict(list)
    for zone in available_timezones():
        found[now.astimezone(zone_info(zone)).date()].append(zone)
    return dict(found)
