"""Answering: which automatic answer a reply gets, and when there have been enough of them.

One answer a message, and none to what a machine wrote or the network answered already. Of two machines that text each
other each reply looks like a patient's: so answers to a number end after three in a row, unless we wrote to it
meanwhile or a person has looked, and after five in a day in any case.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, exists, func, select, union_all

from domain.ledger import touches
from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.columns import Id, Instant
from domain.ledger.inbound import reply
from domain.ledger.opt_out_scope import Reach
from domain.ledger.touches import touch
from domain.rules.guard import ASKING_FOR_SCOPE, CONFIRMATION, CONFIRMATIONS, EMERGENCY, LIMITED_CONFIRMATION
from domain.rules.replies.intent import Understood
from domain.rules.vocabulary import Effect, Intent, TouchKind, TouchState

#: Automatic answers to one contact point within `WINDOW`, and in a row. Emergency texts are counted apart: no other
#: answer may use theirs up.
ANSWERS_PER_DAY: Final = 5
ANSWERS_IN_A_ROW: Final = 3
WINDOW: Final = timedelta(days=1)

_CONFIRMS: Final = {Reach.EVERYTHING_AND_ASK: ASKING_FOR_SCOPE, Reach.CALLS_AND_TEXTS: LIMITED_CONFIRMATION}
_ANSWERS: Final = {
    Intent.HELP: "help",
    Intent.BOOK: "booking_link",
    Intent.RESCHEDULE: "booking_link",
    Intent.CANCEL: "booking_link",
}
#: Effects beside which a wish is still answered with the link; a cancellation in free words is a person's alone.
_HARMLESS: Final = {
    Intent.HELP: frozenset({Effect.NONE, Effect.HUMAN}),
    Intent.BOOK: frozenset({Effect.BOOK, Effect.HUMAN, Effect.NONE}),
    Intent.RESCHEDULE: frozenset({Effect.HUMAN, Effect.NONE}),
    Intent.CANCEL: frozenset({Effect.NONE}),
}
#: What providers answer by themselves, where they do.
_OF_NETWORKS: Final = frozenset({*CONFIRMATIONS, "opt_in_confirmation", "help"})

_POINT: Final = bindparam("point", type_=Id)
_SINCE: Final = bindparam("since", type_=Instant)
_ANSWERED: Final = (
    select(touch.c.due_at)
    .select_from(reply.join(touch, touch.c.reply_id == reply.c.id))
    .where(
        reply.c.contact_point_id == _POINT,
        # withheld, or too late to be sent
        touch.c.state.not_in((TouchState.SUPPRESSED.value, TouchState.EXPIRED.value)),
        touch.c.due_at > _SINCE,
        (touch.c.answer == EMERGENCY) == bindparam("is_emergency"),
    )
)
#: When the conversation last began anew: we wrote, or a person looked at what had come from there.
_BEGUN: Final = select(func.max(attempt.c.claimed_at).label("at")).where(
    attempt.c.contact_point_id == _POINT,
    attempt.c.kind != TouchKind.ANSWER.value,
    MAY_HAVE_REACHED,
    attempt.c.claimed_at > _SINCE,
)
_LOOKED_AT: Final = select(func.max(reply.c.handled_at).label("at")).where(
    reply.c.contact_point_id == _POINT, reply.c.state == "closed", reply.c.handled_at > _SINCE
)
_BEGINNINGS: Final = union_all(_BEGUN, _LOOKED_AT)
_TOLD: Final = select(
    exists().where(reply.c.contact_point_id == _POINT, reply.c.state == "human", reply.c.intent == bindparam("intent"))
)


def due(found: Understood, *, is_news: bool, reach: Reach = Reach.EVERYTHING) -> str | None:
    """The answer that what was understood deserves, if any.

    Args:
        is_news: the choice it makes was not in force before.
        reach: how far an opt-out reaches.
    """
    if Effect.URGENT in found.effects:
        return EMERGENCY
    if Effect.OPT_OUT in found.effects or Effect.OPT_IN in found.effects:
        # said before, or taken back since: to confirm it would tell the patient what is not so
        confirmations = {Intent.OPT_OUT: _CONFIRMS.get(reach, CONFIRMATION), Intent.OPT_IN: "opt_in_confirmation"}
        return confirmations.get(found.intent) if is_news else None
    is_answered = _HARMLESS.get(found.intent, frozenset()).issuperset(found.effects)
    return _ANSWERS[found.intent] if is_answered else None


def give(
    conn: Connection, answer: str, *, asked_at: datetime, now: datetime, answered_by_network: bool, **to: Any
) -> tuple[int | None, bool]:
    """Plan this answer to a reply of `asked_at`, or write down why it gets none; `to` is as in `plan_answer`.

    The contact point is locked. Returns the touch that answers, if one does, and whether a ceiling withheld it.
    """
    if answered_by_network and answer in _OF_NETWORKS:
        rule = "house.network"
        touches.withhold_answer(conn, reason="answered_by_network", rule=rule, now=now, answer=answer, **to)
        return None, False
    ceiling = _ceiling(conn, to["contact_point_id"], answer, now)
    if ceiling is not None:
        touches.withhold_answer(conn, reason=ceiling, rule="house.answers", now=now, answer=answer, **to)
        return None, True
    # the five minutes in which an opt-out may be confirmed run from the patient's message
    since = asked_at if answer in CONFIRMATIONS else now
    return touches.plan_answer(conn, now=now, asked_at=since, answer=answer, **to), False


def is_told(conn: Connection, contact_point_id: int, intent: Intent) -> bool:
    """Whether a person has the same from this contact point to look at: a machine must not fill the inbox."""
    return bool(conn.scalar(_TOLD, {"point": contact_point_id, "intent": intent.value}))


def _ceiling(conn: Connection, contact_point_id: int, answer: str, now: datetime) -> str | None:
    """The reason (an id) why this contact point has been answered enough, or None."""
    asked = {"point": contact_point_id, "since": now - WINDOW}
    given = conn.scalars(_ANSWERED, {**asked, "is_emergency": answer == EMERGENCY}).all()
    if len(given) >= ANSWERS_PER_DAY:
        return "answers_a_day"
    begun = max((at for at in conn.scalars(_BEGINNINGS, asked) if at is not None), default=now - WINDOW)
    in_a_row = sum(at > begun for at in given)
    return "answers_in_a_row" if in_a_row >= ANSWERS_IN_A_ROW else None
