"""Heeding: what a recognised reply does: the choice it records, the one answer it gets, or the person it waits for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from domain.ledger import answering, choices, effects, opt_out_scope, outbox
from domain.ledger.columns import Id
from domain.ledger.inbound import reply
from domain.ledger.opt_out_scope import Reach
from domain.ledger.patients import patient, patient_contact
from domain.rules.replies.intent import Understood
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Effect, Intent

#: What goes to a person, beside what the effects themselves leave open.
_FOR_A_PERSON: Final = frozenset({Effect.HUMAN, Effect.URGENT})
_NOBODYS_WISH: Final = frozenset({Intent.REACTION, Intent.AUTO_REPLY})

_REPLY: Final = bindparam("reply", type_=Id)

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
    *,
    rules: Rulebook | None = None,
    answered_by_network: bool = False,
) -> int | None:
    """Let what was understood of a reply of `at` take effect; returns the touch that answers it, if one does.

    The contact point is locked. What a person has to read, or to decide, goes to one. `rules` say how far an opt-out in
    an agreed word reaches; without them, to everything.
    """
    if found.intent in _NOBODYS_WISH:
        _settle(conn, reply_id, "handled", found.intent, found, now)
        return None
    if contact_point_id is None:
        # nobody to suppress or to answer: a person finds out who wrote
        hand_over(conn, reply_id, found.intent, found, now)
        return None
    reach = opt_out_scope.reach_of(conn, rules, contact_point_id, found, at)
    is_news = _choose(conn, reply_id, organisation_id, contact_point_id, found, reach, at, now)
    # before a wrong number is detached: the answer speaks to whom we had written to
    reached = effects.Reached(conn, contact_point_id, at)
    is_open = effects.apply(conn, reply_id, organisation_id, contact_point_id, reached, found, at, now)
    answer = answering.due(found, is_news=is_news, reach=reach)
    answer_id, is_withheld = None, False
    if answer is not None:
        answer_id, is_withheld = answering.give(
            conn,
            answer,
            asked_at=at,
            now=now,
            answered_by_network=answered_by_network,
            reply_id=reply_id,
            organisation_id=organisation_id,
            contact_point_id=contact_point_id,
            channel=channel,
            patient_id=reached.first,
        )
    is_new_silence = is_withheld and not answering.is_told(conn, contact_point_id, found.intent)
    if is_open or is_new_silence or _FOR_A_PERSON.intersection(found.effects):
        hand_over(conn, reply_id, found.intent, found, now)
    else:
        _settle(conn, reply_id, "handled", found.intent, found, now)
    return answer_id


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


def _choose(
    conn: Connection,
    reply_id: int,
    organisation_id: int,
    contact_point_id: int,
    found: Understood,
    reach: Reach,
    at: datetime,
    now: datetime,
) -> bool:
    """Record what the patient chose at `at`, if anything; whether it was not in force before."""
    if not {Effect.OPT_OUT, Effect.OPT_IN} & set(found.effects):
        return False
    said: dict[str, Any] = {
        "organisation_id": organisation_id,
        "contact_point_id": contact_point_id,
        "source": "reply",
        "at": at,
        "now": now,
        "reply_id": reply_id,
    }
    if Effect.OPT_OUT not in found.effects:
        return choices.opt_in(conn, **said)
    if reach is Reach.CLARIFIED:
        # what was said before is taken back, and of both at one instant the stop stands; it was confirmed already
        choices.opt_in(conn, **said)
    is_limited = reach in (Reach.CALLS_AND_TEXTS, Reach.CLARIFIED)
    return choices.opt_out(conn, **said, is_limited=is_limited) and reach is not Reach.CLARIFIED


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
