"""The list of calls: touches that a person makes by phone, taken one at a time under a lease, through the one gate.

Taking one is a claim like any channel's: opt-outs, hours, caps, blackouts and pauses hold, and the call counts in the
caps. Who takes a call and never tells of it leaves it uncertain, for a person to settle, as any lost send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select, update

from domain.ledger import choices, claims, finishes
from domain.ledger.attempts import attempt
from domain.ledger.claims import Claimed
from domain.ledger.columns import Id, Instant
from domain.ledger.enrolments import enrolment
from domain.ledger.finishes import Finish
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import patient
from domain.ledger.touches import IS_PLANNED, touch
from domain.rules.rulebook import Rulebook
from domain.rules.steps import PHONE
from domain.rules.vocabulary import AttemptState, ContactSystem, Delivery

#: So long a call that was taken is nobody else's.
LEASE = timedelta(minutes=30)

#: A column's row.
AnyRow = Row[*tuple[Any, ...]]


class CallEnd(StrEnum):
    """How a call ended."""

    REACHED = "reached"
    """Somebody was spoken with."""
    VOICEMAIL = "voicemail"
    """Name and number were left."""
    NO_ANSWER = "no-answer"
    DO_NOT_CALL = "do-not-call"
    """They want no more outreach: an opt-out of everything."""
    NOT_CALLED = "not-called"
    """It was given back, and is on the list again."""


_DELIVERY: Final = {
    CallEnd.REACHED: Delivery.DELIVERED,
    CallEnd.VOICEMAIL: Delivery.DELIVERED,
    CallEnd.NO_ANSWER: Delivery.UNDELIVERED,
    CallEnd.DO_NOT_CALL: Delivery.DELIVERED,
}

_NOW = bindparam("now", type_=Instant)
_DUE: Final = (
    select(
        touch.c.id,
        touch.c.due_at,
        touch.c.expires_at,
        touch.c.step,
        enrolment.c.campaign_key,
        patient.c.ref,
        patient.c.high_risk,
        site.c.key.label("site"),
    )
    .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .join(patient, patient.c.id == touch.c.patient_id)
    .join(site, site.c.id == touch.c.site_id)
    .join(organisation, organisation.c.id == touch.c.organisation_id)
    .where(IS_PLANNED, touch.c.channel == PHONE, touch.c.due_at <= _NOW, touch.c.expires_at > _NOW)
    .order_by(patient.c.high_risk.desc(), touch.c.priority, touch.c.due_at, touch.c.id)
    .limit(bindparam("at_most", type_=Id))
)
_TAKEN: Final = (
    select(
        attempt.c.id,
        attempt.c.token,
        attempt.c.state,
        attempt.c.contact_point_id,
        attempt.c.lease_until,
        touch.c.organisation_id,
    )
    .join(touch, touch.c.id == attempt.c.touch_id)
    .where(attempt.c.touch_id == bindparam("touch", type_=Id), attempt.c.channel == PHONE)
    .order_by(attempt.c.id.desc())
    .limit(1)
)


class CallError(Exception):
    """What is told of a call does not fit; the message says why."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a call."""

    touch_id: int
    opted_out: bool = False


def due(conn: Connection, now: datetime, at_most: int) -> Sequence[AnyRow]:
    """Calls that are due, patients at high risk first, then by urgency; by reference."""
    return conn.execute(_DUE, {"now": now, "at_most": at_most}).all()


def take(conn: Connection, touch_id: int, systems: Mapping[str, str], rules: Rulebook, now: datetime) -> Claimed | None:
    """Take this call for half an hour, or until its hours end; None = it may not be made now, or somebody else has it.

    One call a transaction: claims lock patients in the order of their ids, and the list is in another.
    """
    found = claims.claim(
        conn,
        [touch_id],
        channel=PHONE,
        system=ContactSystem.PHONE.value,
        systems=systems,
        rules=rules,
        now=now,
        lease=LEASE,
    )
    return found.claimed[0] if found.claimed else None


def end(conn: Connection, touch_id: int, how: CallEnd, now: datetime) -> Ended:
    """Write down how a call ended that was taken; one that nobody told of in time can still be told of.

    Raises:
        CallError: it was never taken, or told of before.
    """
    row = conn.execute(_TAKEN, {"touch": touch_id}).one_or_none()
    if row is None:
        raise CallError(f"{touch_id}: no call of this number was taken: see `reactivate calls list`")
    if row.state not in {AttemptState.SENDING, AttemptState.UNCERTAIN}:
        raise CallError(f"{touch_id}: how it ended was told before")
    # the patient's side before the touch's, as every claim locks them
    opted_out = how == CallEnd.DO_NOT_CALL and choices.opt_out(
        conn,
        organisation_id=row.organisation_id,
        contact_point_id=row.contact_point_id,
        source="staff",
        at=now,
        now=now,
    )
    if row.state == AttemptState.UNCERTAIN:
        finishes.settle_by_person(conn, row.id, was_accepted=how != CallEnd.NOT_CALLED, now=now)
    elif how == CallEnd.NOT_CALLED:
        back = Finish(touch_id, row.token, AttemptState.RELEASED, reason="released", retry_at=now)
        finishes.finish(conn, [back], now)
    else:
        # told late, it was made in its time all the same
        called_at = min(now, row.lease_until - timedelta(seconds=1))
        finishes.finish(conn, [Finish(touch_id, row.token, AttemptState.ACCEPTED, called_at=called_at)], now)
    if how in _DELIVERY:
        conn.execute(update(touch).where(touch.c.id == touch_id).values(delivery=_DELIVERY[how].value))
    return Ended(touch_id, opted_out)
