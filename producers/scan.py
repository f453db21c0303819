"""The inactivity scan: who has lapsed, or moved on to another segment, since it was last looked; it tells everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, bindparam, select, update

from domain.ledger import lapses, organisations, outbox
from domain.ledger.appointments import care
from domain.ledger.lapses import Noticed
from domain.ledger.patients import lock
from domain.ledger.store import chunks, reading
from domain.rules.inactivity import (
    RULE_VERSION,
    CareFacts,
    inactive_since,
    next_scan,
    segment_of,
    threshold_months,
)
from domain.rules.vocabulary import Segment, ServiceLine


def scan(engine: Engine, now: datetime, limit: int = 1000) -> int:
    """Look at up to `limit` rows of `care` whose instant has come, in one transaction; returns how many were noticed.

    Its cost depends on what is due, not on how many patients there are. Call it again until it returns 0; every row
    it looks at moves on, so nothing is noticed twice.
    """
    noticed = 0
    while True:
        with reading(engine) as conn:
            found = conn.execute(due(now, limit)).all()
        if not found:
            return noticed
        with engine.begin() as conn:
            noticed += _look(conn, sorted({row.id for row in found}), {row.patient_id for row in found}, now)
        # rows that were due and proved to be nothing must not make the caller stop early
        if noticed or len(found) < limit:
            return noticed


def due(now: datetime, limit: int) -> Select[Any]:
    """The rows to look at, the longest due first."""
    return (
        select(care.c.id, care.c.patient_id)
        .where(care.c.scan_at <= now)
        .order_by(care.c.scan_at, care.c.id)
        .limit(limit)
    )


def _look(conn: Connection, ids: Sequence[int], patient_ids: set[int], now: datetime) -> int:
    people = lock(conn, patient_ids)
    thresholds = organisations.thresholds(conn)
    found: list[Noticed] = []
    looked: list[dict[str, Any]] = []
    for chunk in chunks(ids):
        # again under the lock: news may have come in between; in order, so that every store numbers lapses alike
        again = select(care).where(care.c.id.in_(chunk), care.c.scan_at <= now).order_by(care.c.id)
        for row in conn.execute(again):
            lapse, seen = _judge(row, people[row.patient_id], thresholds, now)
            looked.append(seen)
            found += [lapse] if lapse else []
    if looked:
        conn.execute(
            update(care)
            .where(care.c.id == bindparam("row_id"))
            .values(scan_at=bindparam("next_at"), noticed_segment=bindparam("segment")),
            looked,
        )
    _tell(conn, found, people, now)
    return len(found)


def _judge(
    row: Row[Any], person: Row[Any], thresholds: Mapping[tuple[int, str], int], now: datetime
) -> tuple[Noticed | None, dict[str, Any]]:
    line = ServiceLine(row.service_line)
    months = threshold_months(line, thresholds.get((row.site_id, row.service_line)))
    facts = CareFacts(
        last_visit_at=row.last_visit_at,
        next_appointment_at=row.next_appointment_at,
        missed_at=row.missed_at,
        gap_due_at=row.gap_due_at,
        deceased=person.deceased_at is not None or person.merged_into_id is not None,
    )
    segment = segment_of(facts, months, now)
    before = Segment(row.noticed_segment) if row.noticed_segment else None
    seen = segment or before
    since = inactive_since(facts, months)
    moved_on = {
        "row_id": row.id,
        "next_at": next_scan(facts, months, now, seen),
        "segment": seen.value if seen else None,
    }
    if segment is None or segment is before or since is None:
        return None, moved_on
    noticed = Noticed(person.organisation_id, row.patient_id, row.site_id, line, segment, since, row.last_visit_at)
    return noticed, moved_on


def _tell(conn: Connection, found: Sequence[Noticed], people: Mapping[int, Row[Any]], now: datetime) -> None:
    if not found:
        return
    ids = lapses.notice(conn, found, now)
    sites = _site_keys(conn, found)
    outbox.add_many(
        conn,
        lapses.DETECTED,
        [
            {
                "site": sites[each.site_id],
                "patient": people[each.patient_id].ref,
                "lapse_id": ids[each.patient_id, each.service_line],
                "service_line": each.service_line.value,
                "segment": each.segment.value,
                "rule_version": RULE_VERSION,
                "inactive_since": each.inactive_since.isoformat(),
                "last_visit_at": each.last_visit_at.isoformat() if each.last_visit_at else None,
            }
            for each in found
        ],
        now,
    )


def _site_keys(conn: Connection, found: Sequence[Noticed]) -> dict[int, str]:
    sites = organisations.sites_of(conn, {each.organisation_id for each in found})
    return {site.id: site.key for site in sites.values()}
