"""The scope of an opt-out: how far what a patient wrote reaches, by the words and by the rules of the organisation.

Everything, unless the organisation's rules say otherwise and the whole message was an agreed word. Wherever this module
is in doubt (other words, no rules at hand, a question that was not asked) the answer is everything.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.choice_history import IN_FORCE, OPTED_OUT, suppression
from domain.ledger.columns import Id, Instant
from domain.ledger.inbound import reply
from domain.ledger.organisations import organisation
from domain.ledger.patients import contact_point, patient_contact
from domain.ledger.touches import touch
from domain.rules.guard import ASKING_FOR_SCOPE
from domain.rules.limits import Covers
from domain.rules.replies.intent import AGREED_STOPS, STOP_TEXTS, Understood
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import ContactSystem, Effect

#: How long the question whether less was meant can be answered.
ANSWERED_WITHIN: Final = timedelta(days=1)

_POINT: Final = bindparam("point", type_=Id)

_WHERE: Final = (
    select(organisation.c.key, contact_point.c.system)
    .join(contact_point, contact_point.c.organisation_id == organisation.c.id)
    .where(contact_point.c.id == _POINT)
)
#: When the message came to which a confirmation with the question was sent last.
_ASKED: Final = (
    select(func.max(reply.c.received_at, type_=Instant()))
    .select_from(reply)
    .join(touch, touch.c.reply_id == reply.c.id)
    .join(attempt, attempt.c.touch_id == touch.c.id)
    .where(
        reply.c.contact_point_id == _POINT,
        reply.c.received_at < bindparam("at", type_=Instant),
        touch.c.answer == ASKING_FOR_SCOPE,
        MAY_HAVE_REACHED,
    )
)
_STOPPED_SINCE: Final = (
    select(suppression.c.since)
    .join(patient_contact, patient_contact.c.patient_id == suppression.c.patient_id)
    .where(
        patient_contact.c.contact_point_id == _POINT,
        patient_contact.c.detached_at.is_(None),
        suppression.c.reason == OPTED_OUT,
        suppression.c.channel.is_(None),
        IN_FORCE,
    )
)


class Reach(StrEnum):
    """How far one opt-out reaches."""

    EVERYTHING = "everything"
    EVERYTHING_AND_ASK = "ask"
    """Everything, and the confirmation asks whether less was meant."""
    CALLS_AND_TEXTS = "calls_and_texts"
    CLARIFIED = "clarified"
    """The answer to that question: calls and texts, in place of everything."""


def reach_of(
    conn: Connection,
    rules: Rulebook | None,
    contact_point_id: int,
    found: Understood,
    at: datetime,
) -> Reach:
    """How far the opt-out understood of a reply of `at` reaches; without rules, everything."""
    if rules is None or not found.is_keyword or found.rule not in (*AGREED_STOPS, STOP_TEXTS):
        return Reach.EVERYTHING
    if found.effects != (Effect.OPT_OUT,):
        return Reach.EVERYTHING
    key, system = conn.execute(_WHERE, {"point": contact_point_id}).one()
    if system != ContactSystem.PHONE:
        return Reach.EVERYTHING
    covers = rules.opting_out(key)
    if covers is Covers.CALLS_AND_TEXTS:
        return Reach.CALLS_AND_TEXTS
    if covers is Covers.ASK and found.rule == STOP_TEXTS:
        return Reach.CLARIFIED if _was_asked(conn, contact_point_id, at) else Reach.EVERYTHING
    return Reach.EVERYTHING_AND_ASK if covers is Covers.ASK else Reach.EVERYTHING


def _was_asked(conn: Connection, contact_point_id: int, at: datetime) -> bool:
    """Whether the patients were asked lately, about the very opt-out that is in force, and nobody said more since."""
    asked = conn.scalar(_ASKED, {"point": contact_point_id, "at": at})
    if asked is None or at - asked > ANSWERED_WITHIN:
        return False
    return all(since == asked for since in conn.scalars(_STOPPED_SINCE, {"point": contact_point_id}))
