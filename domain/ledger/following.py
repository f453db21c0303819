"""Following: how enrolments keep up with the appointments, visits and deaths of their patients."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, case, exists, select, update

from domain.ledger import enrolments, outcomes, touches
from domain.ledger.appointments import appointment
from domain.ledger.columns import Id, Instant
from domain.ledger.enrolments import IS_LIVE, enrolment
from domain.ledger.outcomes import concerns_enrolment, outcome
from domain.ledger.patients import patient
from domain.ledger.store import chunks
from domain.rules.vocabulary import AHEAD, EnrolmentState

#: When a booked enrolment is reviewed: by then most appointments were kept or lost.
BOOKING_REVIEW: Final = timedelta(days=30)

_IDS: Final = bindparam("ids", type_=Id, expanding=True)
_NOW: Final = bindparam("now", type_=Instant)
_LOOK_AGAIN: Final = bindparam("look_again", type_=Instant)

_LOCK: Final = select(patient.c.id).where(patient.c.id.in_(_IDS)).order_by(patient.c.id).with_for_update()
_ENROLLED: Final = (
    select(enrolment.c.patient_id).where(enrolment.c.patient_id.in_(_IDS)).distinct().order_by(enrolment.c.patient_id)
)
_LIVE: Final = (
    select(
        enrolment.c.id,
        enrolment.c.booked_at,
        patient.c.deceased_at,
        patient.c.merged_into_id,
        exists().where(outcome.c.enrolment_id == enrolment.c.id, outcome.c.kind == "returned").label("has_returned"),
        exists().where(concerns_enrolment(*AHEAD), appointment.c.starts_at >= _NOW).label("has_booked"),
    )
    .join(patient, patient.c.id == enrolment.c.patient_id)
    .where(enrolment.c.patient_id.in_(_IDS), IS_LIVE)
    .order_by(enrolment.c.id)
)
_HOLD: Final = (
    update(enrolment)
    .where(enrolment.c.id.in_(_IDS), IS_LIVE, enrolment.c.booked_at.is_(None))
    .values(
        booked_at=_NOW,
        # an appointment whose outcome nobody ever tells must not hold the enrolment for ever
        review_at=case((enrolment.c.review_at < _LOOK_AGAIN, enrolment.c.review_at), else_=_LOOK_AGAIN),
    )
    .returning(enrolment.c.id)
)
_RESUME: Final = (
    update(enrolment)
    .where(enrolment.c.id.in_(_IDS), IS_LIVE, enrolment.c.booked_at.is_not(None))
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
            outcomes.record(conn, enrolled, now)
            _follow_live(conn, enrolled, now)


def _follow_live(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    rows = conn.execute(_LIVE, {"ids": ids, "now": now}).all()
    reasons = {row.id: _reason_to_end(row) for row in rows}
    for reason, state in _ENDINGS.items():
        enrolments.end(conn, [key for key, found in reasons.items() if found == reason], state, reason, now)
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
