"""Lapses: a patient found inactive on a line, in which segment, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    String,
    Table,
    Update,
    and_,
    bindparam,
    case,
    exists,
    or_,
    select,
    update,
)

from domain.ledger import store
from domain.ledger.appointments import care
from domain.ledger.columns import Id, Instant, id_column, metadata, ref
from domain.ledger.patients import patient
from domain.ledger.store import chunks
from domain.rules.inactivity import RULE_VERSION
from domain.rules.segments import PRIORITY
from domain.rules.vocabulary import Segment, ServiceLine

#: The event that tells of a noticed lapse: its `lapse_id` is a row of this table.
DETECTED: Final = "inactivity.detected"

lapse = Table(
    "lapse",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("patient_id", "patient"),
    ref("site_id", "site"),
    Column("service_line", String(32), nullable=False),
    Column("segment", String(32), nullable=False),
    Column("inactive_since", Instant, nullable=False),
    Column("last_visit_at", Instant),
    Column("rule_version", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("detected_at", Instant, nullable=False),
    Column("segment_at", Instant, nullable=False),
    #: Set when enrolment looked at it; null = still owed a decision (the sweep re-announces it).
    Column("decided_at", Instant),
    #: Why it was not enrolled (`already_enrolled`, `unreachable`, …); null if it was. `goes_on` = it was
    #: before, and nothing changed when it moved on to another segment.
    Column("declined", String(32)),
    Column("closed_at", Instant),
    Column("closed_by", String(32)),
)
_open = lapse.c.closed_at.is_(None)
Index(
    "uq_lapse_open", lapse.c.patient_id, lapse.c.service_line, unique=True, sqlite_where=_open, postgresql_where=_open
)
_unreachable = and_(lapse.c.declined == "unreachable", _open)
Index("ix_lapse_unreachable", lapse.c.id, sqlite_where=_unreachable, postgresql_where=_unreachable)
#: Those that wait for room at their site, whatever it lacks.
_waiting = and_(lapse.c.declined.in_(("daily_limit", "no_open_slots", "open_slots_unknown")), _open)
Index(
    "ix_lapse_waiting",
    lapse.c.site_id,
    lapse.c.priority,
    lapse.c.id,
    sqlite_where=_waiting,
    postgresql_where=_waiting,
)
_out_of_season = and_(lapse.c.declined == "out_of_season", _open)
Index(
    "ix_lapse_out_of_season",
    lapse.c.organisation_id,
    lapse.c.priority,
    lapse.c.id,
    sqlite_where=_out_of_season,
    postgresql_where=_out_of_season,
)
_undecided = lapse.c.decided_at.is_(None)
Index("ix_lapse_undecided", lapse.c.detected_at, sqlite_where=_undecided, postgresql_where=_undecided)


_IDS: Final = bindparam("ids", type_=Id, expanding=True)
_OPENED: Final = select(lapse.c.patient_id, lapse.c.service_line, lapse.c.id).where(lapse.c.patient_id.in_(_IDS), _open)


def _closing() -> Update:
    over = (lapse.c.patient_id == care.c.patient_id) & (lapse.c.service_line == care.c.service_line)
    unnoticed = exists().where(over, care.c.noticed_segment.is_(None))
    visited = exists().where(
        over,
        or_(lapse.c.last_visit_at.is_(None), care.c.last_visit_at > lapse.c.last_visit_at),
        care.c.last_visit_at.is_not(None),
    )
    deceased = exists().where(patient.c.id == lapse.c.patient_id, patient.c.deceased_at.is_not(None))
    merged = exists().where(patient.c.id == lapse.c.patient_id, patient.c.merged_into_id.is_not(None))
    why = case((merged, "merged"), (deceased, "deceased"), (visited, "visit"), else_="no_longer_due")
    return (
        update(lapse)
        .where(lapse.c.patient_id.in_(_IDS), _open, or_(merged, deceased, unnoticed))
        .values(closed_at=bindparam("now", type_=Instant), closed_by=why)
    )


_CLOSE_UNTRUE: Final = _closing()


@dataclass(frozen=True, slots=True)
class Noticed:
    """A lapse found, or one that changed its segment."""

    organisation_id: int
    patient_id: int
    site_id: int
    service_line: ServiceLine
    segment: Segment
    inactive_since: datetime
    last_visit_at: datetime | None


def notice(conn: Connection, found: Sequence[Noticed], now: datetime) -> dict[tuple[int, ServiceLine], int]:
    """Open these lapses, or move the open ones to their new segment; in both cases a decision is owed again.

    Returns lapse ids by patient and line. Call it with the patients locked; at most one lapse per patient and line.
    """
    if not found:
        return {}
    rows = [_row(each, now) for each in found]
    conn.execute(_noticing(conn.dialect.name, tuple(rows[0])), rows)
    ids: dict[tuple[int, ServiceLine], int] = {}
    for patient_ids in chunks(sorted({each.patient_id for each in found})):
        opened = conn.execute(_OPENED, {"ids": patient_ids})
        ids.update({(row[0], ServiceLine(row[1])): row[2] for row in opened})
    return ids


def close_untrue(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """Close the open lapses of these patients that their history no longer bears out, saying by what.

    Untrue are lapses of the deceased and of merged records, and those whose `care` row (just refreshed) no longer
    counts as lapsed: a visit came, or the cause went away. A booking alone closes nothing.
    """
    for ids in chunks(sorted(patient_ids)):
        conn.execute(_CLOSE_UNTRUE, {"ids": ids, "now": now})


@cache
def _noticing(dialect: str, names: tuple[str, ...]) -> Any:
    statement = store.insert_on(dialect, lapse)
    kept = ("organisation_id", "patient_id", "service_line", "detected_at")
    return statement.on_conflict_do_update(
        index_elements=["patient_id", "service_line"],
        index_where=_open,
        set_={name: statement.excluded[name] for name in names if name not in kept}
        | {"decided_at": None, "declined": None},
    )


def _row(each: Noticed, now: datetime) -> dict[str, Any]:
    return {
        "organisation_id": each.organisation_id,
        "patient_id": each.patient_id,
        "site_id": each.site_id,
        "service_line": each.service_line.value,
        "segment": each.segment.value,
        "inactive_since": each.inactive_since,
        "last_visit_at": each.last_visit_at,
        "rule_version": RULE_VERSION,
        "priority": PRIORITY[each.segment],
        "detected_at": now,
        "segment_at": now,
    }
