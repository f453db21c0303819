"""Audit of the books: nothing lost, every ending with its reason, and current state in agreement with history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select

from domain.ledger.attempts import attempt
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.findings import Finding, finding, tally
from domain.ledger.inbound import receipt, reply
from domain.ledger.lapses import lapse
from domain.ledger.touches import touch, touch_event
from domain.rules.vocabulary import LIVE, AttemptState, EnrolmentState, TouchState

#: A receipt nobody can place is given up after a week; a day more for the sweep that does it.
_RECEIPT_PATIENCE = timedelta(days=8)

_REPLY_STATES = ("new", "handled", "human", "closed")
#: Kinds of the history that put a suppression in force, and that lift one, of the same reason.
_STOPS = ("suppressed", "held", "deceased")
_LIFTS = ("restored", "released")
_RESTING = (TouchState.REJECTED, TouchState.SUPPRESSED, TouchState.CANCELLED, TouchState.EXPIRED)


def unaccounted(conn: Connection, now: datetime) -> Finding:
    """Enrolments, touches, lapses, replies and receipts that have neither an end nor anything that will move them."""
    return finding(
        "unaccounted",
        "Everything taken in ends in exactly one state, or has something due that will move it.",
        [
            tally(conn, table, wrong, ids)
            for table, wrong, ids in (
                *_enrolments_adrift(),
                *_touches_adrift(),
                *_lapses_adrift(),
                *_inbound_adrift(now),
            )
        ],
    )


def conservation_gap(conn: Connection) -> int:
    """How many enrolments are in no known state, or live without a next step: the gauge of the promise."""
    return sum(tally(conn, table, wrong, ids).count for table, wrong, ids in _enrolments_adrift())


def without_reason(conn: Connection) -> Finding:
    """Non-sends that nobody could explain: resting touches, waits and ended enrolments without a reason."""
    touches = select(touch.c.id).where(touch.c.state.in_(_values(_RESTING)), _is_blank(touch.c.reason))
    waits = select(touch_event.c.id).where(touch_event.c.what == "waited", _is_blank(touch_event.c.reason))
    endings = select(enrolment.c.id).where(enrolment.c.ended_at.is_not(None), _is_blank(enrolment.c.reason))
    return finding(
        "without_reason",
        "Every non-send has a reason a person can read.",
        [
            tally(conn, "touch", "rests without a reason", touches),
            tally(conn, "touch_event", "a wait without a reason", waits),
            tally(conn, "enrolment", "ended without a reason", endings),
        ],
    )


def suppression_disagrees(conn: Connection) -> Finding:
    """Subjects whose newest choice is a stop that is not in force, and stops of which the history knows nothing."""
    kept = exists().where(
        choice_event.c.contact_point_id == reply.c.contact_point_id, choice_event.c.reply_id == reply.c.id
    )
    unkept = select(reply.c.id).where(reply.c.intent == "opt_out", reply.c.contact_point_id.is_not(None), ~kept)
    tallies = [tally(conn, "reply", "an opt-out that is in no history", unkept)]
    for subject in ("contact_point_id", "patient_id"):
        stop, later = choice_event.alias("stop"), choice_event.alias("later")
        reason = func.coalesce(stop.c.reason, "opt_out")
        last_word = ~exists().where(
            later.c[subject] == stop.c[subject],
            later.c.kind.in_(_LIFTS),
            later.c.at > stop.c.at,
            func.coalesce(later.c.reason, "opt_out") == reason,
            or_(later.c.channel.is_(None), later.c.channel == stop.c.channel),
        )
        in_force = exists().where(
            suppression.c[subject] == stop.c[subject],
            suppression.c.lifted_at.is_(None),
            suppression.c.reason == reason,
            or_(suppression.c.channel.is_(None), suppression.c.channel == stop.c.channel),
        )
        forgotten = select(stop.c.id).where(stop.c[subject].is_not(None), stop.c.kind.in_(_STOPS), last_word, ~in_force)
        told = exists().where(
            choice_event.c[subject] == suppression.c[subject],
            choice_event.c.kind.in_(_STOPS),
            func.coalesce(choice_event.c.reason, "opt_out") == suppression.c.reason,
        )
        untold = select(suppression.c.id).where(suppression.c[subject].is_not(None), ~told)
        tallies.append(tally(conn, "choice_event", "a stop in the history that is not in force", forgotten))
        tallies.append(tally(conn, "suppression", "is in no history", untold))
    return finding("suppression_disagrees", "What is in force is what the history of choices says.", tallies)


Check = tuple[str, str, Select[Any]]


def _enrolments_adrift() -> Iterable[Check]:
    live = enrolment.c.state.in_(_values(LIVE))
    on_its_way = exists().where(
        touch.c.enrolment_id == enrolment.c.id,
        touch.c.state.in_(_values((TouchState.PLANNED, TouchState.SENDING, TouchState.UNCERTAIN))),
    )
    idle = and_(live, enrolment.c.booked_at.is_(None), enrolment.c.review_at.is_(None), ~on_its_way)
    yield "enrolment", "is in no known state", _where(enrolment.c.id, ~enrolment.c.state.in_(_values(EnrolmentState)))
    yield "enrolment", "is live and ended", _where(enrolment.c.id, and_(live, enrolment.c.ended_at.is_not(None)))
    yield "enrolment", "is over without an end", _where(enrolment.c.id, and_(~live, enrolment.c.ended_at.is_(None)))
    yield "enrolment", "is live without a next step", _where(enrolment.c.id, idle)


def _touches_adrift() -> Iterable[Check]:
    for state, match in (
        (TouchState.SENDING, AttemptState.SENDING),
        (TouchState.UNCERTAIN, AttemptState.UNCERTAIN),
        (TouchState.ACCEPTED, AttemptState.ACCEPTED),
    ):
        told = exists().where(attempt.c.touch_id == touch.c.id, attempt.c.state == match.value)
        alone = and_(touch.c.state == state.value, ~told)
        yield "touch", f"is {state.value} and no attempt says so", _where(touch.c.id, alone)
    owner = exists().where(touch.c.id == attempt.c.touch_id, touch.c.state == TouchState.ACCEPTED.value)
    lost = and_(attempt.c.state == AttemptState.ACCEPTED.value, ~owner)
    yield "attempt", "was accepted and its touch does not know", _where(attempt.c.id, lost)
    yield "touch", "is in no known state", _where(touch.c.id, ~touch.c.state.in_(_values(TouchState)))
    resting = and_(touch.c.state.in_(_values(_RESTING)), touch.c.ended_at.is_(None))
    yield "touch", "rests without an end", _where(touch.c.id, resting)


def _lapses_adrift() -> Iterable[Check]:
    # no index leads from a lapse to its enrolment, and none is needed elsewhere: both stores hash this set
    enrolled = lapse.c.id.in_(select(enrolment.c.lapse_id))
    undecided = and_(lapse.c.decided_at.is_not(None), lapse.c.declined.is_(None), ~enrolled)
    yield "lapse", "was decided, and neither enrolled nor declined", _where(lapse.c.id, undecided)


def _inbound_adrift(now: datetime) -> Iterable[Check]:
    yield "reply", "is in no known state", _where(reply.c.id, ~reply.c.state.in_(_REPLY_STATES))
    handled = and_(reply.c.state.in_(("handled", "closed")), reply.c.handled_at.is_(None))
    yield "reply", "was handled at no time", _where(reply.c.id, handled)
    stale = and_(receipt.c.applied_at.is_(None), receipt.c.received_at < now - _RECEIPT_PATIENCE)
    yield "receipt", "was never applied", _where(receipt.c.id, stale)


def _where(column: ColumnElement[int], condition: ColumnElement[bool]) -> Select[Any]:
    return select(column).where(condition)


def _values(states: Iterable[StrEnum]) -> list[str]:
    return [state.value for state in states]


def _is_blank(column: ColumnElement[str | None]) -> ColumnElement[bool]:
    return or_(column.is_(None), column == "")
