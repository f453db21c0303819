"""Outcomes measured on enrolments, in both arms: a booking after enrolment, a visit after enrolment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    exists,
    literal,
    or_,
    select,
    union_all,
)

from domain.ledger import outbox, store
from domain.ledger.appointments import appointment
from domain.ledger.columns import Id, Instant, id_column, metadata, ref
from domain.ledger.enrolments import enrolment
from domain.ledger.patients import patient
from domain.ledger.touches import touch
from domain.rules.inactivity import COUNTS_ON
from domain.rules.vocabulary import AHEAD, AppointmentStatus

#: `kind`: rebooked (an appointment was made) | returned (a visit was completed). One of each per enrolment.
outcome = Table(
    "outcome",
    metadata,
    id_column(),
    ref("enrolment_id", "enrolment"),
    Column("kind", String(16), nullable=False),
    ref("appointment_id", "appointment"),
    ref("touch_id", "touch", nullable=True),
    Column("at", Instant, nullable=False),
    UniqueConstraint("enrolment_id", "kind"),
)

#: Kinds of outcomes, each with the event that tells of it.
_OUTCOMES: Final = {"rebooked": "patient.rebooked", "returned": "patient.reactivated"}

_IDS: Final = bindparam("ids", type_=Id, expanding=True)
_NOW: Final = bindparam("now", type_=Instant)


def concerns_enrolment(*statuses: AppointmentStatus) -> ColumnElement[bool]:
    """Appointments in one of these states of an enrolment's patient, on a line that counts for its own."""
    return and_(
        appointment.c.patient_id == enrolment.c.patient_id,
        _counts_for(enrolment.c.service_line),
        appointment.c.status.in_([status.value for status in statuses]),
    )


def _counts_for(line: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether an appointment concerns an enrolment of `line` (see `COUNTS_ON`)."""
    return or_(
        *(
            and_(line == own.value, appointment.c.service_line.in_([each.value for each in counted]))
            for own, counted in COUNTS_ON.items()
        )
    )


def _fresh_outcome(kind: str, at: ColumnElement[datetime], *conditions: ColumnElement[bool]) -> Select[Any]:
    """Appointments after the enrolment that are an outcome of this kind, where none is known yet."""
    known = exists().where(outcome.c.enrolment_id == enrolment.c.id, outcome.c.kind == kind)
    return (
        select(
            literal(kind).label("kind"),
            enrolment.c.id.label("enrolment_id"),
            at.label("at"),
            appointment.c.id.label("appointment_id"),
            patient.c.ref,
            enrolment.c.campaign_key,
            enrolment.c.arm,
            enrolment.c.service_line,
        )
        .join(appointment, and_(*conditions, appointment.c.starts_at > enrolment.c.enrolled_at))
        .join(patient, patient.c.id == enrolment.c.patient_id)
        .where(enrolment.c.patient_id.in_(_IDS), ~known)
    )


_FRESH_OUTCOMES: Final = union_all(
    _fresh_outcome(
        "rebooked",
        appointment.c.changed_at,
        concerns_enrolment(*AHEAD),
        appointment.c.changed_at >= enrolment.c.enrolled_at,
    ),
    _fresh_outcome(
        "returned",
        appointment.c.starts_at,
        concerns_enrolment(AppointmentStatus.FULFILLED),
        appointment.c.starts_at <= _NOW,
    ),
)
_ACCEPTED: Final = (
    select(touch.c.enrolment_id, touch.c.id)
    .where(touch.c.enrolment_id.in_(_IDS), touch.c.accepted_at.is_not(None))
    .order_by(touch.c.accepted_at, touch.c.id)
)


def record(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    """Rebooked: an appointment made after enrolment. Returned: a visit completed after enrolment. The first counts."""
    rows = conn.execute(_FRESH_OUTCOMES, {"ids": ids, "now": now}).all()
    if not rows:
        return
    accepted = conn.execute(_ACCEPTED, {"ids": sorted({row.enrolment_id for row in rows})})
    last_accepted = {row.enrolment_id: row.id for row in accepted}
    for kind, event in _OUTCOMES.items():
        of_kind = [row for row in rows if row.kind == kind]
        of_kind.sort(key=lambda row: (row.enrolment_id, row.at, row.appointment_id), reverse=True)
        first: Mapping[int, Row[Any]] = {row.enrolment_id: row for row in of_kind}
        found = [row for _, row in sorted(first.items())]
        if found:
            conn.execute(
                _keeping(conn.dialect.name),
                [
                    {
                        "enrolment_id": row.enrolment_id,
                        "kind": kind,
                        "appointment_id": row.appointment_id,
                        "touch_id": last_accepted.get(row.enrolment_id),
                        "at": row.at,
                    }
                    for row in found
                ],
            )
            outbox.add_many(conn, event, [_told(row) for row in found], now)


@cache
def _keeping(dialect: str) -> Any:
    return store.insert_on(dialect, outcome).on_conflict_do_nothing()


def _told(row: Row[Any]) -> Mapping[str, Any]:
    return {"patient": row.ref, "campaign": row.campaign_key, "arm": row.arm, "service_line": row.service_line}
