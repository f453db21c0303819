"""The digest of a patient's history: one `care` row per line, made again from appointments and gaps after any news."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, bindparam, case, exists, func, or_, select, update

from domain.ledger import organisations, store
from domain.ledger.appointments import appointment, care, care_gap
from domain.ledger.columns import Id
from domain.ledger.patients import patient
from domain.ledger.store import chunks
from domain.rules.inactivity import COUNTS_ON, CareFacts, gap_due, is_still_lapsed, next_scan, threshold_months
from domain.rules.vocabulary import AHEAD, AppointmentStatus, Segment, ServiceLine

_AHEAD = tuple(sorted(status.value for status in AHEAD))
_LOST = (AppointmentStatus.CANCELLED.value, AppointmentStatus.NOSHOW.value)
_GOOD = (AppointmentStatus.FULFILLED.value, *_AHEAD)

Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Digest:
    """One line's appointments; the site is that of the last visit, else of the last appointment."""

    site_id: int
    last_visit_at: datetime | None
    furthest_ahead_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Gap:
    site_id: int
    due_at: datetime


def refresh(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """Make the `care` rows of these patients agree with their history, and say when the scan must look.

    Call it with the patients locked, after every change of their appointments, gaps or death.
    """
    thresholds = organisations.thresholds(conn)
    for ids in chunks(sorted(patient_ids)):
        _refresh(conn, ids, thresholds, now)


def of_sites(conn: Connection, site_ids: Collection[int], after: int, limit: int) -> Sequence[int]:
    """Patients with a `care` row at one of these sites, in id order, beyond `after`: for a change of thresholds."""
    return conn.scalars(
        select(care.c.patient_id)
        .where(care.c.site_id.in_(site_ids), care.c.patient_id > after)
        .distinct()
        .order_by(care.c.patient_id)
        .limit(limit)
    ).all()


def _refresh(conn: Connection, ids: Sequence[int], thresholds: Mapping[Key, int], now: datetime) -> None:
    digests = {
        (row.patient_id, row.service_line): _Digest(row.site_id, row.last_visit_at, row.furthest_ahead_at)
        for row in conn.execute(_DIGESTS, {"ids": ids})
    }
    missed: dict[Key, datetime] = {(row[0], row[1]): row[2] for row in conn.execute(_MISSED, {"ids": ids})}
    gaps = _refresh_gaps(conn, ids, digests)
    deceased = set(conn.scalars(_DECEASED, {"ids": ids}))
    before = {(row.patient_id, row.service_line): row for row in conn.execute(_STORED, {"ids": ids})}
    rows = []
    for key in sorted(
        digests.keys() | before.keys() | {(patient_id, ServiceLine.CHRONIC.value) for patient_id in gaps}
    ):
        counted = list(_counted(digests, key))
        gap = gaps.get(key[0]) if key[1] == ServiceLine.CHRONIC else None
        facts = CareFacts(
            last_visit_at=_latest(each.last_visit_at for each in counted),
            next_appointment_at=_latest(each.furthest_ahead_at for each in counted),
            missed_at=missed.get(key),
            gap_due_at=gap.due_at if gap else None,
            deceased=key[0] in deceased,
        )
        old = before.get(key)
        site_id = counted[0].site_id if counted else gap.site_id if gap else old.site_id if old else None
        row = _row(key, site_id, facts, old, thresholds, now)
        if old is None or any(getattr(old, name) != value for name, value in row.items()):
            rows.append(row)
    _write(conn, rows)


def _row(
    key: Key, site_id: Any, facts: CareFacts, old: Row[Any] | None, thresholds: Mapping[Key, int], now: datetime
) -> dict[str, Any]:
    months = threshold_months(ServiceLine(key[1]), thresholds.get((site_id, key[1])))
    noticed = Segment(old.noticed_segment) if old is not None and old.noticed_segment else None
    if noticed is not None and not is_still_lapsed(facts, months, now):
        noticed = None
    return {
        "patient_id": key[0],
        "site_id": site_id,
        "service_line": key[1],
        "last_visit_at": facts.last_visit_at,
        "next_appointment_at": facts.next_appointment_at,
        "missed_at": facts.missed_at,
        "gap_due_at": facts.gap_due_at,
        "scan_at": next_scan(facts, months, now, noticed),
        "noticed_segment": noticed.value if noticed else None,
    }


def _counted(digests: Mapping[Key, _Digest], key: Key) -> Iterator[_Digest]:
    for line in COUNTS_ON[ServiceLine(key[1])]:
        if (key[0], line.value) in digests:
            yield digests[key[0], line.value]


def _latest(instants: Iterable[datetime | None]) -> datetime | None:
    return max((instant for instant in instants if instant is not None), default=None)


_IDS: Final = bindparam("ids", type_=Id, expanding=True)


def _digests() -> Select[Any]:
    columns = appointment.c
    own = [columns.patient_id, columns.service_line]
    visited = case((columns.status == AppointmentStatus.FULFILLED.value, columns.starts_at))
    ahead = case((columns.status.in_(_AHEAD), columns.starts_at))
    ranked = (
        select(
            *own,
            columns.site_id,
            func.max(visited).over(partition_by=own).label("last_visit_at"),
            func.max(ahead).over(partition_by=own).label("furthest_ahead_at"),
            func.row_number()
            .over(partition_by=own, order_by=[visited.desc().nulls_last(), columns.starts_at.desc(), columns.id.desc()])
            .label("place"),
        )
        .where(columns.patient_id.in_(_IDS), columns.status != AppointmentStatus.ENTERED_IN_ERROR.value)
        .subquery()
    )
    return select(ranked).where(ranked.c.place == 1)


def _missed() -> Select[Any]:
    """The latest lost appointment per line that nothing made good since it was cancelled or missed."""
    lost, good = appointment.alias("lost"), appointment.alias("good")
    # a replacement may lie before the original date, so it counts from the cancellation
    lost_at = case((lost.c.changed_at < lost.c.starts_at, lost.c.changed_at), else_=lost.c.starts_at)
    counts = or_(
        *(
            and_(lost.c.service_line == line.value, good.c.service_line.in_([each.value for each in counted]))
            for line, counted in COUNTS_ON.items()
        )
    )
    made_good = exists().where(
        good.c.patient_id == lost.c.patient_id, counts, good.c.status.in_(_GOOD), good.c.starts_at >= lost_at
    )
    return (
        select(lost.c.patient_id, lost.c.service_line, func.max(lost.c.starts_at))
        .where(lost.c.patient_id.in_(_IDS), lost.c.status.in_(_LOST), ~made_good)
        .group_by(lost.c.patient_id, lost.c.service_line)
    )


_DIGESTS: Final = _digests()
_MISSED: Final = _missed()
_DECEASED: Final = select(patient.c.id).where(patient.c.id.in_(_IDS), patient.c.deceased_at.is_not(None))
_STORED: Final = select(care).where(care.c.patient_id.in_(_IDS))
_OPEN_GAPS: Final = select(care_gap).where(care_gap.c.patient_id.in_(_IDS), care_gap.c.closed_at.is_(None))
_MOVE_GAP: Final = update(care_gap).where(care_gap.c.id == bindparam("gap_id")).values(due_at=bindparam("new_due_at"))


def _refresh_gaps(conn: Connection, ids: Sequence[int], digests: Mapping[Key, _Digest]) -> dict[int, _Gap]:
    """The first gap due per patient; recurring ones come due anew by the last visit, and are stored so."""
    found: defaultdict[int, list[_Gap]] = defaultdict(list)
    moved = []
    for row in conn.execute(_OPEN_GAPS, {"ids": ids}):
        visits = _counted(digests, (row.patient_id, ServiceLine.CHRONIC.value))
        due_at = gap_due(row.due_at, row.every_months, row.since, _latest(each.last_visit_at for each in visits))
        found[row.patient_id].append(_Gap(row.site_id, due_at))
        if row.every_months is not None and due_at != row.due_at:
            moved.append({"gap_id": row.id, "new_due_at": due_at})
    if moved:
        conn.execute(_MOVE_GAP, moved)
    return {patient_id: min(gaps, key=lambda gap: (gap.due_at, gap.site_id)) for patient_id, gaps in found.items()}


def _write(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        conn.execute(_writing(conn.dialect.name, tuple(rows[0])), list(rows))


@cache
def _writing(dialect: str, names: tuple[str, ...]) -> Any:
    statement = store.insert_on(dialect, care)
    key = ("patient_id", "service_line")
    told = {name: statement.excluded[name] for name in names if name not in key}
    return statement.on_conflict_do_update(index_elements=key, set_=told)
