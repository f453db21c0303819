"""Enrolments of lapsed patients in campaigns, and the outcomes measured on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    String,
    Table,
    UniqueConstraint,
    and_,
    exists,
    or_,
    select,
    update,
)

from domain.ledger import outbox, store, touches
from domain.ledger.appointments import appointment
from domain.ledger.columns import Instant, id_column, metadata, ref
from domain.ledger.patients import patient
from domain.ledger.store import chunks
from domain.ledger.touches import touch
from domain.rules.inactivity import COUNTS_ON
from domain.rules.vocabulary import AHEAD, AppointmentStatus, EnrolmentState

enrolment = Table(
    "enrolment",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("campaign_id", "campaign"),
    Column("campaign_key", String(64), nullable=False),
    ref("patient_id", "patient"),
    ref("site_id", "site"),
    ref("lapse_id", "lapse"),
    Column("service_line", String(32), nullable=False),
    Column("segment", String(32), nullable=False),
    Column("arm", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(48)),
    Column("enrolled_at", Instant, nullable=False),
    #: An appointment is ahead: touches stay revoked until it is kept or lost.
    Column("booked_at", Instant),
    Column("ended_at", Instant),
    #: When to look whether it graduates, gets its next reminder, or is finished.
    Column("review_at", Instant),
)
_live = enrolment.c.ended_at.is_(None)
Index(
    "uq_enrolment_live",
    enrolment.c.patient_id,
    enrolment.c.campaign_key,
    unique=True,
    sqlite_where=_live,
    postgresql_where=_live,
)
_to_review = enrolment.c.review_at.is_not(None)
Index("ix_enrolment_review_at", enrolment.c.review_at, sqlite_where=_to_review, postgresql_where=_to_review)

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


def follow_appointments(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """Make enrolments of these patients agree with their appointments, in the transaction that stored the news.

    A completed visit on the enrolment's line after enrolment is a return (measured in both arms, and also where the
    enrolment has ended otherwise). An appointment ahead is a rebooking and revokes planned touches; losing it brings
    the touches still worth sending back. Death or a merge ends the enrolment.
    """
    for ids in chunks(sorted(patient_ids)):
        # the claim locks patients first, too: it sees this news whole or not at all
        conn.execute(select(patient.c.id).where(patient.c.id.in_(ids)).order_by(patient.c.id).with_for_update())
        _record_outcomes(conn, ids, now)
        _end_returned(conn, ids, now)
        _end_ineligible(conn, ids, now)
        _hold_booked(conn, ids, now)
        _resume_unbooked(conn, ids, now)


def stop_for_opt_out(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """End the live enrolments of patients who opted out and revoke what was planned for them."""
    for ids in chunks(sorted(patient_ids)):
        live = and_(enrolment.c.patient_id.in_(ids), enrolment.c.ended_at.is_(None))
        _end(conn, live, EnrolmentState.OPTED_OUT, "opted_out", now)


def end(conn: Connection, enrolment_ids: Collection[int], state: EnrolmentState, reason: str, now: datetime) -> None:
    """End live enrolments, for one reason, and revoke what was planned for them."""
    for ids in chunks(sorted(enrolment_ids)):
        _end(conn, and_(enrolment.c.id.in_(ids), enrolment.c.ended_at.is_(None)), state, reason, now)


def _end(conn: Connection, which: ColumnElement[bool], state: EnrolmentState, reason: str, now: datetime) -> None:
    ended = conn.scalars(
        update(enrolment)
        .where(which)
        .values(state=state.value, reason=reason, ended_at=now, review_at=None)
        .returning(enrolment.c.id)
    ).all()
    touches.revoke(conn, ended, reason, now)


def counts_for(line: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether an appointment concerns an enrolment of `line` (see `COUNTS_ON`)."""
    return or_(
        *(
            and_(line == own.value, appointment.c.service_line.in_([each.value for each in counted]))
            for own, counted in COUNTS_ON.items()
        )
    )


def _of_enrolment(*statuses: AppointmentStatus) -> ColumnElement[bool]:
    return and_(
        appointment.c.patient_id == enrolment.c.patient_id,
        counts_for(enrolment.c.service_line),
        appointment.c.status.in_([status.value for status in statuses]),
    )


def _record_outcomes(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    """Rebooked: an appointment made after enrolment. Returned: a visit completed after enrolment."""
    visited = and_(
        _of_enrolment(AppointmentStatus.FULFILLED),
        appointment.c.starts_at > enrolment.c.enrolled_at,
        appointment.c.starts_at <= now,
    )
    booked = and_(
        _of_enrolment(*AHEAD),
        appointment.c.starts_at > enrolment.c.enrolled_at,
        appointment.c.changed_at >= enrolment.c.enrolled_at,
    )
    for kind, condition, at in (
        ("rebooked", booked, appointment.c.changed_at),
        ("returned", visited, appointment.c.starts_at),
    ):
        rows = conn.execute(
            select(enrolment.c.id, enrolment.c.patient_id, enrolment.c.arm, appointment.c.id, at)
            .join(appointment, condition)
            .where(
                enrolment.c.patient_id.in_(ids),
                ~exists().where(outcome.c.enrolment_id == enrolment.c.id, outcome.c.kind == kind),
            )
            .order_by(enrolment.c.id, at, appointment.c.id)
        ).all()
        first = {row[0]: row for row in reversed(rows)}
        if not first:
            continue
        touched = _last_accepted(conn, list(first))
        conn.execute(
            store.insert(conn, outcome).on_conflict_do_nothing(),
            [
                {
                    "enrolment_id": key,
                    "kind": kind,
                    "appointment_id": row[3],
                    "touch_id": touched.get(key),
                    "at": row[4],
                }
                for key, row in sorted(first.items())
            ],
        )
        for key in sorted(first):
            _tell(conn, key, kind, now)


def _tell(conn: Connection, enrolment_id: int, kind: str, now: datetime) -> None:
    event = "patient.rebooked" if kind == "rebooked" else "patient.reactivated"
    row = conn.execute(
        select(patient.c.ref, enrolment.c.campaign_key, enrolment.c.arm, enrolment.c.service_line)
        .join(patient, patient.c.id == enrolment.c.patient_id)
        .where(enrolment.c.id == enrolment_id)
    ).one()
    outbox.add(
        conn,
        event,
        {"patient": row.ref, "campaign": row.campaign_key, "arm": row.arm, "service_line": row.service_line},
        now,
    )


def _last_accepted(conn: Connection, enrolment_ids: Sequence[int]) -> dict[int, int]:
    rows = conn.execute(
        select(touch.c.enrolment_id, touch.c.id)
        .where(touch.c.enrolment_id.in_(enrolment_ids), touch.c.accepted_at.is_not(None))
        .order_by(touch.c.accepted_at, touch.c.id)
    )
    return {row.enrolment_id: row.id for row in rows}


def _end_returned(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    returned = exists().where(outcome.c.enrolment_id == enrolment.c.id, outcome.c.kind == "returned")
    live = and_(enrolment.c.patient_id.in_(ids), enrolment.c.ended_at.is_(None))
    _end(conn, and_(live, returned), EnrolmentState.REACTIVATED, "returned", now)


def _end_ineligible(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    live = and_(enrolment.c.patient_id.in_(ids), enrolment.c.ended_at.is_(None))
    for reason, column in (("deceased", patient.c.deceased_at), ("merged", patient.c.merged_into_id)):
        gone = enrolment.c.patient_id.in_(select(patient.c.id).where(patient.c.id.in_(ids), column.is_not(None)))
        _end(conn, and_(live, gone), EnrolmentState.INELIGIBLE, reason, now)


def _ahead(now: datetime) -> ColumnElement[bool]:
    return exists().where(_of_enrolment(*AHEAD), appointment.c.starts_at >= now)


def _hold_booked(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    booked = conn.scalars(
        update(enrolment)
        .where(
            enrolment.c.patient_id.in_(ids),
            enrolment.c.ended_at.is_(None),
            enrolment.c.booked_at.is_(None),
            _ahead(now),
        )
        .values(booked_at=now)
        .returning(enrolment.c.id)
    ).all()
    touches.revoke(conn, booked, "booked", now)


def _resume_unbooked(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    lost = conn.scalars(
        update(enrolment)
        .where(
            enrolment.c.patient_id.in_(ids),
            enrolment.c.ended_at.is_(None),
            enrolment.c.booked_at.is_not(None),
            ~_ahead(now),
        )
        .values(booked_at=None)
        .returning(enrolment.c.id)
    ).all()
    touches.restore(conn, lost, "booked", now)
