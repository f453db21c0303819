"""Calls: touches that a person makes by phone. Taking one keeps its place in the line; dialling it is the send.

A call that was taken is still planned, and nobody has its number: whatever ends or holds what is planned, an opt-out, a
booking, a death, withdraws it at once. To dial is a claim like any channel's, which asks the one gate at that instant,
counts in the caps, and alone gives the number out. Who dials and never tells how it ended leaves the call uncertain,
for a person to settle, as any lost send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select, update

from domain.ledger import choices, claims, finishes
from domain.ledger.attempts import attempt
from domain.ledger.call_list import GIVEN_BACK, IS_KEPT, KEPT, TAKEN, refusal
from domain.ledger.claimed import Claimed
from domain.ledger.columns import Id
from domain.ledger.finishes import Finish
from domain.ledger.touches import tell, touch
from domain.rules.reasons import sentence
from domain.rules.rulebook import Rulebook
from domain.rules.steps import PHONE, SPOKEN_WITH
from domain.rules.vocabulary import AttemptState, ContactSystem, Delivery, TouchState

#: How long the permission to dial holds; who has not dialled by then gives the call back and asks again.
DIAL_WITHIN: Final = timedelta(minutes=2)

#: So long one waits to be told how a call ended that was dialled.
LEASE: Final = timedelta(minutes=30)

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]


class CallEnd(StrEnum):
    """How a call ended."""

    REACHED = "reached"
    """Somebody was spoken with: an answer, as a reply is."""
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
_ANSWERED: Final = frozenset({CallEnd.REACHED, CallEnd.DO_NOT_CALL})
_OPEN: Final = frozenset({AttemptState.SENDING, AttemptState.UNCERTAIN})

_TOUCH: Final = bindparam("touch", type_=Id)
_CALL: Final = select(touch.c.state, touch.c.reason).where(touch.c.id == _TOUCH)
_KEPT: Final = select(touch.c.id).where(touch.c.id == _TOUCH, IS_KEPT)
_LAST: Final = (
    select(attempt.c.id, attempt.c.contact_point_id, touch.c.organisation_id)
    .join(touch, touch.c.id == attempt.c.touch_id)
    .where(attempt.c.touch_id == _TOUCH, attempt.c.channel == PHONE)
    .order_by(attempt.c.id.desc())
    .limit(1)
)
_LOCK: Final = (
    select(attempt.c.id, attempt.c.token, attempt.c.state, attempt.c.claimed_at)
    .where(attempt.c.id == bindparam("attempt", type_=Id))
    .with_for_update()
)
_GIVE_BACK: Final = update(touch).where(touch.c.id == _TOUCH, IS_KEPT).values(dispatched_until=None)


class CallError(Exception):
    """What is asked or told of a call does not fit; the message says why."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The call must not be made."""

    why: str | None
    """A reason id."""
    until: datetime | None = None
    """When it may be asked again; None: never, or nobody can say."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a call."""

    touch_id: int
    opted_out: bool = False


def take(conn: Connection, touch_id: int, systems: Mapping[str, str], rules: Rulebook, now: datetime) -> Claimed | None:
    """Keep this call for one caller for half an hour; None = it may not be made now, or somebody else has it.

    One call a transaction: claims lock patients in the order of their ids, and the list is in another.
    """
    until = now + KEPT
    found = _claim(conn, touch_id, systems, rules, now, kept_until=until)
    if not found.claimed:
        return None
    tell(conn, [{"touch_id": touch_id, "what": TAKEN, "until": until}], now)
    return found.claimed[0]


def dial(
    conn: Connection, touch_id: int, systems: Mapping[str, str], rules: Rulebook, now: datetime
) -> Claimed | Refused:
    """Whether a call that was taken may be made now, asked of the one gate under its locks; it counts from here on.

    Commit also where it is refused: the gate has written down why, and until when.

    Raises:
        CallError: it was not taken, or is dialled already.
    """
    if conn.execute(_KEPT, {"touch": touch_id, "now": now}).one_or_none() is None:
        return _not_kept(conn, touch_id)
    found = _claim(conn, touch_id, systems, rules, now, lease=LEASE)
    if found.claimed:
        return found.claimed[0]
    why, until = refusal(found)
    # it ended, or somebody dialled it, while the claim waited for its locks
    return _not_kept(conn, touch_id) if why is None else Refused(why, until)


def end(conn: Connection, touch_id: int, how: CallEnd, now: datetime) -> Ended:
    """Write down how a call ended that was dialled, or give it back; late is not too late while it is uncertain.

    An opt-out is taken whenever it is told.

    Raises:
        CallError: it was never dialled, or told of before; nothing is written then.
    """
    if how == CallEnd.NOT_CALLED and _give_back(conn, touch_id, now):
        return Ended(touch_id)
    made = conn.execute(_LAST, {"touch": touch_id}).one_or_none()
    if made is None:
        raise CallError(_never_dialled(conn, touch_id))
    # the patient's side before the touch's, as every claim locks them
    opted_out = how == CallEnd.DO_NOT_CALL and choices.opt_out(
        conn,
        organisation_id=made.organisation_id,
        contact_point_id=made.contact_point_id,
        source="staff",
        at=now,
        now=now,
    )
    # whoever reaps it meanwhile is before us or after us, and what was told is not lost between
    row = conn.execute(_LOCK, {"attempt": made.id}).one()
    if row.state in _OPEN:
        _write(conn, touch_id, row, how, now)
    elif how != CallEnd.DO_NOT_CALL:
        is_given_back = row.state == AttemptState.RELEASED
        raise CallError(
            _never_dialled(conn, touch_id) if is_given_back else f"{touch_id}: how it ended was told before"
        )
    return Ended(touch_id, opted_out)


def _write(conn: Connection, touch_id: int, row: AnyRow, how: CallEnd, now: datetime) -> None:
    if row.state == AttemptState.UNCERTAIN:
        is_written = finishes.settle_by_person(conn, row.id, was_accepted=how != CallEnd.NOT_CALLED, now=now)
    elif how == CallEnd.NOT_CALLED:
        back = Finish(touch_id, row.token, AttemptState.RELEASED, reason="released", retry_at=now)
        is_written = finishes.finish(conn, [back], now) == 1
    else:
        # told whenever, it was made when the gate let it be dialled
        made = Finish(touch_id, row.token, AttemptState.ACCEPTED, called_at=row.claimed_at)
        is_written = finishes.finish(conn, [made], now) == 1
    if not is_written:
        raise CallError(f"{touch_id}: how it ended was not written down: tell it again")
    if how in _DELIVERY:
        conn.execute(update(touch).where(touch.c.id == touch_id).values(delivery=_DELIVERY[how].value))
    if how in _ANSWERED:
        tell(conn, [{"touch_id": touch_id, "what": SPOKEN_WITH}], row.claimed_at)


def _claim(
    conn: Connection, touch_id: int, systems: Mapping[str, str], rules: Rulebook, now: datetime, **how: Any
) -> claims.Claim:
    phone = ContactSystem.PHONE.value
    return claims.claim(conn, [touch_id], channel=PHONE, system=phone, systems=systems, rules=rules, now=now, **how)


def _give_back(conn: Connection, touch_id: int, now: datetime) -> bool:
    """Put a call back on the list that was taken and not dialled; whether it was."""
    if not conn.execute(_GIVE_BACK, {"touch": touch_id, "now": now}).rowcount:
        return False
    tell(conn, [{"touch_id": touch_id, "what": GIVEN_BACK}], now)
    return True


def _not_kept(conn: Connection, touch_id: int) -> Refused:
    """A call that no caller has in hand: it was withdrawn, or this is told as an error."""
    row = conn.execute(_CALL, {"touch": touch_id}).one_or_none()
    made = conn.execute(_LAST, {"touch": touch_id}).one_or_none()
    if row is None:
        raise CallError(f"{touch_id}: there is no such call: see `reactivate calls list`")
    if row.state == TouchState.PLANNED:
        raise CallError(
            f"{touch_id}: nobody has taken it, or longer than half an hour ago: take one with `reactivate calls take`"
        )
    if row.state in {TouchState.SENDING, TouchState.UNCERTAIN} and made is not None:
        raise CallError(f"{touch_id}: it was dialled already: tell how it ended with `reactivate calls done`")
    if row.state == TouchState.ACCEPTED:
        raise CallError(f"{touch_id}: it was made already")
    return Refused(row.reason)


def _never_dialled(conn: Connection, touch_id: int) -> str:
    row = conn.execute(_CALL, {"touch": touch_id}).one_or_none()
    if row is not None and row.state in {TouchState.CANCELLED, TouchState.SUPPRESSED, TouchState.EXPIRED}:
        return f"{touch_id}: do not call: {sentence(row.reason)}; it is off the list, and there is nothing to tell"
    return (
        f"{touch_id}: no call of this number was dialled: see `reactivate calls list`. "
        "An opt-out is written down with `reactivate choice opt-out`"
    )
