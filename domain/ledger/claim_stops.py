"""What stops a send: asked in the claim, and again before a late call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, String, and_, bindparam, case, exists, or_, select

from domain.ledger import holds
from domain.ledger.among import among
from domain.ledger.appointments import care
from domain.ledger.choice_history import suppression
from domain.ledger.columns import Instant
from domain.ledger.consents import consent
from domain.ledger.enrolments import enrolment
from domain.ledger.patients import MAY_BE_USED, contact_point, patient, patient_contact
from domain.ledger.touches import touch
from domain.rules.vocabulary import LIVE, Arm, TouchKind

_CHANNEL = bindparam("channel", type_=String)

_SUPPRESSED = select(suppression.c.contact_point_id, suppression.c.patient_id).where(
    suppression.c.lifted_at.is_(None),
    # these wait for a person instead
    suppression.c.reason.not_in(holds.REASONS),
    or_(
        suppression.c.channel.is_(None),
        suppression.c.channel == _CHANNEL,
        # of a contact system: calls and texts, or mail
        suppression.c.channel.in_(select(contact_point.c.system).where(among(contact_point.c.id, "points"))),
    ),
    or_(among(suppression.c.contact_point_id, "points"), among(suppression.c.patient_id, "patients")),
)
_REVOKED = select(consent.c.contact_point_id).where(
    among(consent.c.contact_point_id, "points"), consent.c.channel == _CHANNEL, consent.c.status == "revoked"
)
_DEPARTED = select(patient.c.id).where(
    among(patient.c.id, "patients"), or_(patient.c.merged_into_id.is_not(None), patient.c.deceased_at.is_not(None))
)
_USABLE = select(patient_contact.c.patient_id, patient_contact.c.contact_point_id).where(
    among(patient_contact.c.patient_id, "patients"), among(patient_contact.c.contact_point_id, "points"), MAY_BE_USED
)
_ended = and_(
    touch.c.enrolment_id.is_not(None),
    or_(enrolment.c.state.not_in(sorted(LIVE)), enrolment.c.arm != Arm.TREATMENT.value),
)
_is_booked = exists().where(
    care.c.patient_id == touch.c.patient_id, care.c.next_appointment_at >= bindparam("now", type_=Instant)
)
_OVERTAKEN = (
    select(touch.c.id, case((_ended, "enrolment_ended"), else_="booked"))
    .outerjoin(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .where(
        among(touch.c.id, "ids"),
        touch.c.kind != TouchKind.ANSWER.value,
        or_(_ended, _is_booked),
    )
)


def suppressed(
    conn: Connection, points: Sequence[int], patients: Sequence[int], channel: str
) -> tuple[set[int], set[int]]:
    """Which of these contact points, and which of these patients, a suppression in force covers on this channel."""
    rows = conn.execute(_SUPPRESSED, {"points": points, "patients": patients, "channel": channel}).all()
    return (
        {row.contact_point_id for row in rows if row.contact_point_id is not None},
        {row.patient_id for row in rows if row.patient_id is not None},
    )


def revoked(conn: Connection, points: Sequence[int], channel: str) -> set[int]:
    """Which of these contact points withdrew their consent to this channel."""
    return set(conn.scalars(_REVOKED, {"points": points, "channel": channel}))


def departed(conn: Connection, patients: Sequence[int]) -> set[int]:
    """Which of these records were merged into another, and which of these patients died."""
    return set(conn.scalars(_DEPARTED, {"patients": patients}))


def usable(conn: Connection, patients: Sequence[int], points: Sequence[int]) -> set[tuple[int, int]]:
    """Pairs of patient and contact point that outreach may use: attached, and no other one was asked for instead."""
    return {(row[0], row[1]) for row in conn.execute(_USABLE, {"patients": patients, "points": points})}


def overtaken(conn: Connection, touch_ids: Collection[int], now: datetime) -> dict[int, str]:
    """Which of these touches the patient needs no more, and why (a reason id): they are out of it, or have a visit."""
    return {row[0]: row[1] for row in conn.execute(_OVERTAKEN, {"ids": sorted(touch_ids), "now": now})}
