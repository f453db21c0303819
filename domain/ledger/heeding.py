"""Heeding: what a recognised reply does: the choice it records, the one answer it gets, or the person it waits for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, func, select, update

from domain.ledger import choices, outbox, touches
from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.columns import Id, Instant
from domain.ledger.inbound import reply
from domain.ledger.patients import patient, patient_contact
from domain.ledger.touches import touch
from domain.rules.replies.intent import Understood
from domain.rules.vocabulary import Effect, Intent

#: Automatic answers to one contact point within a day; two machines texting each other stop there.
ANSWERS_PER_DAY: Final = 5
_CONFIRMATION: Final = "opt_out_confirmation"
_ANSWERS: Final = {
    Intent.HELP: "help",
    Intent.BOOK: "booking_link",
    Intent.RESCHEDULE: "booking_link",
    Intent.CANCEL: "booking_link",
}

#: What is done here; every other effect is a person's to see to, by the intent the inbox shows.
_APPLIED: Final = frozenset({Effect.OPT_OUT, Effect.OPT_IN, Effect.BOOK, Effect.NONE})
_NOBODYS_WISH: Final = frozenset({Intent.REACTION, Intent.AUTO_REPLY})

_REPLY: Final = bindparam("reply", type_=Id)
_POINT: Final = bindparam("point", type_=Id)

_LAST_WRITTEN: Final = (
    select(attempt.c.patient_id, func.max(attempt.c.claimed_at).label("at"))
    .where(attempt.c.contact_point_id == _POINT, MAY_HAVE_REACHED)
    .group_by(attempt.c.patient_id)
    .subquery()
)
_WRITTEN_TO: Final = (
    select(patient_contact.c.patient_id)
    .outerjoin(_LAST_WRITTEN, _LAST_WRITTEN.c.patient_id == patient_contact.c.patient_id)
    .where(patient_contact.c.contact_point_id == _POINT, patient_contact.c.detached_at.is_(None))
    .order_by(_LAST_WRITTEN.c.at.desc().nulls_last(), patient_contact.c.rank, patient_contact.c.patient_id)
    .limit(1)
)
_ANSWERED: Final = (
    select(func.count())
    .select_from(reply.join(touch, touch.c.reply_id == reply.c.id))
    .where(reply.c.contact_point_id == _POINT, reply.c.handled_at > bindparam("since", type_=Instant))
)
_SETTLE: Final = (
    update(reply)
    .where(reply.c.id == _REPLY)
    .values(
        state=bindparam("new_state"),
        intent=bindparam("new_intent"),
        language=bindparam("new_language"),
        rule=bindparam("new_rule"),
        handled_at=bindparam("now"),
    )
)
_ONE: Final = select(reply).where(reply.c.id == _REPLY)
_PATIENTS_OF: Final = (
    select(patient_contact.c.contact_point_id, patient.c.ref)
    .join(patient, patient.c.id == patient_contact.c.patient_id)
    .where(
        patient_contact.c.contact_point_id.in_(bindparam("points", type_=Id, expanding=True)),
        patient_contact.c.detached_at.is_(None),
    )
    .order_by(patient.c.id)
)


def heed(
    conn: Connection,
    reply_id: int,
    organisation_id: int,
    contact_point_id: int | None,
    channel: str,
    found: Understood,
    at: datetime,
    now: datetime,
) -> int | None:
    """Let what was understood of a reply of `at` take effect; returns the touch that answers it, if one does.

    The contact point is locked. What has more effects than a choice or a booking goes to a person, too.
    """
    if found.intent in _NOBODYS_WISH:
        _settle(conn, reply_id, "handled", found.intent, found, now)
        return None
    if contact_point_id is None:
        # nobody to suppress or to answer: a person finds out who wrote
        hand_over(conn, reply_id, found.intent, found, now)
        return None
    answer = _choose(conn, reply_id, organisation_id, contact_point_id, found, at, now)
    is_silenced = (
        answer is not None and _answers_since(conn, contact_point_id, now - timedelta(days=1)) >= ANSWERS_PER_DAY
    )
    if not _APPLIED.issuperset(found.effects):
        hand_over(conn, reply_id, found.intent, found, now)
    else:
        state = "human" if is_silenced and found.intent in _ANSWERS else "handled"
        _settle(conn, reply_id, state, found.intent, found, now)
    if answer is None or is_silenced:
        return None
    return touches.plan_answer(
        conn,
        reply_id=reply_id,
        organisation_id=organisation_id,
        contact_point_id=contact_point_id,
        channel=channel,
        answer=answer,
        # the five minutes in which an opt-out may be confirmed run from the patient's message
        now=at if answer == _CONFIRMATION else now,
        patient_id=_written_to(conn, contact_point_id),
    )


def hand_over(conn: Connection, reply_id: int, intent: Intent, found: Understood | None, now: datetime) -> None:
    """Leave a reply to a person, at the inbox, and tell the organisation's other systems that it waits there."""
    _settle(conn, reply_id, "human", intent, found, now)
    _escalate(conn, reply_id, now)


def patients_of(conn: Connection, contact_point_ids: Collection[int | None]) -> dict[int, tuple[str, ...]]:
    """The public references of the patients attached to each contact point."""
    wanted = sorted({point for point in contact_point_ids if point is not None})
    found: dict[int, tuple[str, ...]] = {}
    for point, reference in conn.execute(_PATIENTS_OF, {"points": wanted}):
        found[point] = (*found.get(point, ()), reference)
    return found


def _written_to(conn: Connection, contact_point_id: int) -> int | None:
    """The patient the answer speaks to: whom we wrote to last at this contact point, else whoever comes first there."""
    return conn.scalar(_WRITTEN_TO, {"point": contact_point_id})


def _choose(
    conn: Connection,
    reply_id: int,
    organisation_id: int,
    contact_point_id: int,
    found: Understood,
    at: datetime,
    now: datetime,
) -> str | None:
    """Record what the patient chose at `at`; returns which answer is due."""
    if not {Effect.OPT_OUT, Effect.OPT_IN} & set(found.effects):
        return _ANSWERS.get(found.intent) if _APPLIED.issuperset(found.effects) else None
    choose = choices.opt_out if Effect.OPT_OUT in found.effects else choices.opt_in
    is_news = choose(
        conn,
        organisation_id=organisation_id,
        contact_point_id=contact_point_id,
        source="reply",
        at=at,
        now=now,
        reply_id=reply_id,
    )
    if not is_news:
        # said before, or taken back since: to confirm it would tell the patient what is not so
        return None
    # an emergency is not answered with a word about messages: whom it concerns is at the inbox
    return {Intent.OPT_OUT: _CONFIRMATION, Intent.OPT_IN: "opt_in_confirmation"}.get(found.intent)


def _answers_since(conn: Connection, contact_point_id: int, since: datetime) -> int:
    return int(conn.execute(_ANSWERED, {"point": contact_point_id, "since": since}).scalar_one())


def _settle(
    conn: Connection, reply_id: int, state: str, intent: Intent, found: Understood | None, now: datetime
) -> None:
    told = {
        "new_state": state,
        "new_intent": intent.value,
        "new_language": found.language if found else None,
        "new_rule": found.rule if found else None,
    }
    conn.execute(_SETTLE, {"reply": reply_id, "now": now, **told})


def _escalate(conn: Connection, reply_id: int, now: datetime) -> None:
    """Tell the organisation's other systems that a person has to read this reply; ids and facts only."""
    row = conn.execute(_ONE, {"reply": reply_id}).one()
    data = {
        "reply_id": row.id,
        "channel": row.channel,
        "intent": row.intent,
        "received_at": row.received_at.isoformat(),
        "patients": list(patients_of(conn, [row.contact_point_id]).get(row.contact_point_id, ())),
    }
    outbox.add(conn, "reply.escalated", data, now)
