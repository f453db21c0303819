"""Explaining touches: what was sent, what was not and why, and what is planned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from domain.ledger import halts
from domain.ledger.attempts import attempt
from domain.ledger.claim_texts import held_ahead
from domain.ledger.enrolments import enrolment
from domain.ledger.timeline import Entry
from domain.ledger.touches import touch, touch_event
from domain.rules.reasons import WAITS, sentence
from domain.rules.vocabulary import AttemptState, TouchKind, TouchState

AnyRow = Row[*tuple[Any, ...]]

#: What happened to a touch -> how to tell it; `{why}` is the sentence of its reason.
_EVENTS = {
    "planned": "planned again: {why}",
    "waited": "not sent yet: {why}",
    "rerouted": "moved to another channel: {why}",
    "suppressed": "not sent: {why}",
    "cancelled": "cancelled: {why}",
    "expired": "not sent: {why}",
    "taken": "a caller took it from the list of calls",
    "given_back": "its caller gave it back, uncalled",
    "spoken_with": "whoever answered the call spoke with us",
    "withheld": "its offer was withheld, the message went without: {why}",
    "rejected": "refused: {why}",
    "uncertain": "outcome unknown: {why}",
    "accepted": "known to be accepted: {why}",
    "asked": "asked what became of it: {why}",
    "delivered": "delivered",
    "undelivered": "not delivered (provider's code: {code})",
}
#: How each attempt ended, where the touch's own history does not tell.
_ATTEMPTS = {
    AttemptState.SENDING: "claimed; the call is on its way",
    AttemptState.ACCEPTED: "sent: the provider accepted it",
}


def touches(conn: Connection, patient_id: int) -> Iterator[Entry]:
    """What became of every touch of the patient."""
    # sends first: what is told at the same instant came of them
    attempts = conn.execute(
        select(attempt, touch.c.step)
        .join(touch, touch.c.id == attempt.c.touch_id)
        .where(touch.c.patient_id == patient_id, attempt.c.state.in_([state.value for state in _ATTEMPTS]))
        .order_by(attempt.c.id)
    )
    for row in attempts:
        yield Entry(row.called_at or row.claimed_at, _name(row.touch_id, row), _ATTEMPTS[AttemptState(row.state)])
    events = conn.execute(
        select(touch_event, touch.c.channel, touch.c.kind, touch.c.step)
        .join(touch, touch.c.id == touch_event.c.touch_id)
        # that a send was accepted is told by its attempt; the history adds only what it learned otherwise
        .where(
            touch.c.patient_id == patient_id, or_(touch_event.c.what != "accepted", touch_event.c.reason.is_not(None))
        )
        .order_by(touch_event.c.id)
    )
    for row in events:
        yield Entry(row.at, _name(row.touch_id, row), _event(row), row.until)


def ahead(conn: Connection, patient_id: int) -> Iterator[Entry]:
    """What is planned for the patient, and what it waits for."""
    rows = conn.execute(
        select(touch.c.id, touch.c.due_at, touch.c.kind, touch.c.step, touch.c.channel, touch.c.reason)
        .where(touch.c.patient_id == patient_id, touch.c.state == "planned")
        .order_by(touch.c.id)
    ).all()
    texts_held = held_ahead(conn, patient_id)
    campaign_held = halts.held(conn, [row.id for row in rows])
    for row in rows:
        why = halts.PAUSED if row.id in campaign_held else texts_held.get(row.id, row.reason)
        yield Entry(row.due_at, _name(row.id, row), f"waits: {sentence(why)}" if why else "due")
    reviews = conn.execute(
        select(enrolment.c.id, enrolment.c.review_at, enrolment.c.booked_at)
        .where(enrolment.c.patient_id == patient_id, enrolment.c.ended_at.is_(None))
        .order_by(enrolment.c.id)
    )
    for number, review_at, booked_at in reviews:
        if review_at is not None:
            held = "; held while an appointment is ahead" if booked_at is not None else ""
            yield Entry(review_at, f"enrolment {number}", f"reviewed: reminder or end{held}")


def _name(touch_id: int, row: AnyRow) -> str:
    step = f" {row.step}" if row.kind != TouchKind.ANSWER else ""
    return f"touch {touch_id} ({row.kind}{step}, {row.channel})"


def _event(row: AnyRow) -> str:
    why = sentence(row.reason) + (f" (rule {row.rule})" if row.rule else "")
    if row.what == TouchState.EXPIRED and row.reason in WAITS:
        return f"expired while it waited: {why}"
    return _EVENTS.get(row.what, f"{row.what}: {{why}}").format(why=why, code=row.reason or "none")
