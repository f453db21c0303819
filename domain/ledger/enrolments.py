"""Enrolments of lapsed patients in campaigns, and the outcomes measured on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    Update,
    and_,
    bindparam,
    case,
    exists,
    literal,
    or_,
    select,
    union_all,
    update,
)

from domain.ledger import outbox, store, touches
from domain.ledger.appointments import appointment
from domain.ledger.columns import Id, Instant, id_column, metadata, ref
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
Index("ix_enrolment_patient_id", enrolment.c.patient_id)
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

#: Kinds of outcomes, each with the event that tells of it.
_OUTCOMES: Final = {"rebooked": "patient.rebooked", "returned": "patient.reactivated"}

_IDS: Final = bindparam("ids", type_=Id, expanding=True)
_NOW: Final = bindparam("now", type_=Instant)

_LOOK_AGAIN: Final = bindparam("look_again", type_=Instant)

#: When a booked enrolment is reviewed: by then most appointments were kept or lost.
BOOKING_REVIEW: Final = timedelta(days=30)

_LOCK: Final = select(patient.c.id).where(patient.c.id.in_(_IDS)).order_by(patient.c.id).with_for_update()
_ENROLLED: Final = (
    select(enrolment.c.patient_id).where(enrolment.c.patient_id.in_(_IDS)).distinct().order_by(enrolment.c.patient_id)
)


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
        _of_enrolment(*AHEAD),
        appointment.c.changed_at >= enrolment.c.enrolled_at,
    ),
    _fresh_outcome(
        "returned",
        appointment.c.starts_at,
        _of_enrolment(AppointmentStatus.FULFILLED),
        appointment.c.starts_at <= _NOW,
    ),
)
_ACCEPTED: Final = (
    select(touch.c.enrolment_id, touch.c.id)
    .where(touch.c.enrolment_id.in_(_IDS), touch.c.accepted_at.is_not(None))
    .order_by(touch.c.accepted_at, touch.c.id)
)
_LIVE: Final = (
    select(
        enrolment.c.id,
        enrolment.c.booked_at,
        patient.c.deceased_at,
        patient.c.merged_into_id,
        exists().where(outcome.c.enrolment_id == enrolment.c.id, outcome.c.kind == "returned").label("has_returned"),
        exists().where(_of_enrolment(*AHEAD), appointment.c.starts_at >= _NOW).label("has_booked"),
    )
    .join(patient, patient.c.id == enrolment.c.patient_id)
    .where(enrolment.c.patient_id.in_(_IDS), _live)
    .order_by(enrolment.c.id)
)


def _ending(which: Column[int]) -> Update:
    return (
        update(enrolment)
        .where(which.in_(_IDS), _live)
        .values(
            state=bindparam("new_state", type_=String),
            reason=bindparam("new_reason", type_=String),
            ended_at=_NOW,
            review_at=None,
        )
        .returning(enrolment.c.id)
    )


_END: Final = _ending(enrolment.c.id)
_END_ALL_OF: Final = _ending(enrolment.c.patient_id)
_HOLD: Final = (
    update(enrolment)
    .where(enrolment.c.id.in_(_IDS), _live, enrolment.c.booked_at.is_(None))
    .values(
        booked_at=_NOW,
        # an appointment whose outcome nobody ever tells must not hold the enrolment for ever
        review_at=case((enrolment.c.review_at < _LOOK_AGAIN, enrolment.c.review_at), else_=_LOOK_AGAIN),
    )
    .returning(enrolment.c.id)
)
_RESUME: Final = (
    update(enrolment)
    .where(enrolment.c.id.in_(_IDS), _live, enrolment.c.booked_at.is_not(None))
    .values(booked_at=None)
    .returning(enrolment.c.id)
)


def follow_appointments(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """Make enrolments of these patients agree with their appointments, in the transaction that stored the news.

    A completed visit on the enrolment's line after enrolment is a return (measured in both arms, and also where the
    enrolment has ended otherwise). An appointment ahead is a rebooking and revokes planned touches; losing it brings
    the touches still worth sending back. Death or a merge ends the enrolment.
    """
    for ids in chunks(sorted(patient_ids)):
        # the claim locks patients first, too: it sees this news whole or not at all
        conn.execute(_LOCK, {"ids": ids})
        # most patients of an organisation, and all of a first import, were never enrolled
        enrolled = conn.scalars(_ENROLLED, {"ids": ids}).all()
        if enrolled:
            _record_outcomes(conn, enrolled, now)
            _follow_live(conn, enrolled, now)


def stop_for_opt_out(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """End the live enrolments of patients who opted out and revoke what was planned for them."""
    for ids in chunks(sorted(patient_ids)):
        _end(conn, _END_ALL_OF, ids, EnrolmentState.OPTED_OUT, "opted_out", now)


def end(conn: Connection, enrolment_ids: Collection[int], state: EnrolmentState, reason: str, now: datetime) -> None:
    """End live enrolments, for one reason, and revoke what was planned for them."""
    for ids in chunks(sorted(enrolment_ids)):
        _end(conn, _END, ids, state, reason, now)


def _end(
    conn: Connection, which: Update, ids: Sequence[int], state: EnrolmentState, reason: str, now: datetime
) -> None:
    ended = conn.scalars(which, {"ids": ids, "new_state": state.value, "new_reason": reason, "now": now}).all()
    touches.revoke(conn, ended, reason, now)


def _record_outcomes(conn: Connection, ids: Sequence[int], now: datetime) -> None:
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


def _follow_live(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    rows = conn.execute(_LIVE, {"ids": ids, "now": now}).all()
    reasons = {row.id: _reason_to_end(row) for row in rows}
    for reason, state in _ENDINGS.items():
        end(conn, [key for key, found in reasons.items() if found == reason], state, reason, now)
    staying = [row for row in rows if reasons[row.id] is None]
    booked = [row.id for row in staying if row.has_booked and row.booked_at is None]
    lost = [row.id for row in staying if not row.has_booked and row.booked_at is not None]
    if booked:
        touches.revoke(
            conn,
            conn.scalars(_HOLD, {"ids": booked, "now": now, "look_again": now + BOOKING_REVIEW}).all(),
            "booked",
            now,
        )
    if lost:
        touches.restore(conn, conn.scalars(_RESUME, {"ids": lost}).all(), "booked", now)


#: Why enrolments end by what is known of the patient, and how; the first that holds counts.
_ENDINGS: Final = {
    "returned": EnrolmentState.REACTIVATED,
    "deceased": EnrolmentState.INELIGIBLE,
    "merged": EnrolmentState.INELIGIBLE,
}


def _reason_to_end(row: Row[Any]) -> str | None:
    holds = (row.has_returned, row.deceased_at is not None, row.merged_into_id is not None)
    return next((reason for reason, is_true in zip(_ENDINGS, holds, strict=True) if is_true), None)
