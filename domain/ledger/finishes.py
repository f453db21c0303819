"""After the claim: what became of each attempt, fenced by its token; and attempts whose process never told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import product
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Update, and_, bindparam, exists, or_, select, update

from domain.ledger import outbox
from domain.ledger.among import among
from domain.ledger.attempts import IS_SENDING, IS_UNCERTAIN, attempt
from domain.ledger.columns import Instant
from domain.ledger.patients import patient
from domain.ledger.touches import tell, touch
from domain.rules.asking import AFTER
from domain.rules.vocabulary import AttemptState, TouchState

#: Tries of one touch that surely did not reach the provider, before it is given up.
MOST_ATTEMPTS = 5

#: A receipt settles an uncertain attempt within minutes as a rule; after a day a person must look.
PATIENCE = timedelta(hours=24)

#: A provider that has answered before is asked for the last time before a person is; but not waited for any longer.
_PATIENCE_WITH_PROVIDER = timedelta(hours=48)

#: Why a touch is rejected whose provider has no such message.
UNKNOWN_TO_PROVIDER = "unknown_to_provider"

_TOUCH_AFTER: Mapping[AttemptState, TouchState] = {
    AttemptState.ACCEPTED: TouchState.ACCEPTED,
    AttemptState.REJECTED: TouchState.REJECTED,
    AttemptState.UNCERTAIN: TouchState.UNCERTAIN,
    AttemptState.THROTTLED: TouchState.PLANNED,
    AttemptState.RETRY: TouchState.PLANNED,
    AttemptState.RELEASED: TouchState.PLANNED,
}


_ALIVE = (
    select(attempt.c.token).where(among(attempt.c.token, "tokens"), IS_SENDING).order_by(attempt.c.id).with_for_update()
)
#: What others are told of a touch, too.
_TOUCHES = (
    select(touch.c.id, touch.c.channel, touch.c.step, touch.c.kind, patient.c.ref)
    .outerjoin(patient, patient.c.id == touch.c.patient_id)
    .where(among(touch.c.id, "ids"))
    .order_by(touch.c.id)
)
_LOCK_TOUCHES = _TOUCHES.with_for_update(of=touch)
#: Attempts whose lease ran out at `now`.
IS_LOST: ColumnElement[bool] = and_(IS_SENDING, attempt.c.lease_until <= bindparam("now", type_=Instant))
#: Uncertain ones claimed before `patience` that no person was asked about yet, and their provider will not be again.
IS_UNSETTLED: ColumnElement[bool] = and_(
    IS_UNCERTAIN,
    attempt.c.claimed_at <= bindparam("patience", type_=Instant),
    ~attempt.c.needs_person,
    or_(
        attempt.c.asked == 0,
        attempt.c.asked >= len(AFTER),
        attempt.c.claimed_at <= bindparam("with_provider", type_=Instant),
    ),
)

_LATE = select(attempt.c.touch_id, attempt.c.token).where(IS_LOST).order_by(attempt.c.lease_until).limit(500)
_FOR_A_PERSON = select(attempt.c.id).where(IS_UNSETTLED).order_by(attempt.c.claimed_at).limit(500)


_END_ATTEMPT = (
    update(attempt)
    .where(attempt.c.token == bindparam("b_token"))
    .values(
        state=bindparam("b_state"),
        finished_at=bindparam("b_now"),
        called_at=bindparam("b_called_at"),
        provider_ref=bindparam("b_provider_ref"),
        error_code=bindparam("b_error_code"),
    )
)


@cache
def _move(state: AttemptState, retry_counts: bool) -> Update:
    """What the end of an attempt makes of its touch."""
    target = _TOUCH_AFTER[state]
    values: dict[str, Any] = {
        "state": target.value,
        "reason": bindparam("b_reason"),
        "segments": bindparam("b_segments"),
        "ended_at": bindparam("b_now"),
    }
    if target == TouchState.PLANNED:
        values |= {
            "ended_at": None,
            "due_at": bindparam("b_retry_at"),
            "dispatched_until": bindparam("b_dispatched_until"),
        }
    if state == AttemptState.ACCEPTED:
        values["accepted_at"] = bindparam("b_called_at")
    if state == AttemptState.RELEASED or not retry_counts:
        # an attempt that only gave its turn back, or was told to wait, is no try of the touch
        values["attempts"] = touch.c.attempts - 1
    return (
        update(touch).where(touch.c.id == bindparam("b_id"), touch.c.state == TouchState.SENDING.value).values(**values)
    )


#: What others are told of an end that is sure.
_EVENTS: Final = {AttemptState.ACCEPTED: "touch.sent", AttemptState.REJECTED: "touch.failed"}


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of one attempt. `retry_at` for the three states that send the touch back to `planned`."""

    touch_id: int
    token: str
    state: AttemptState
    reason: str | None = None
    provider_ref: str | None = None
    error_code: str | None = None
    called_at: datetime | None = None
    retry_at: datetime | None = None
    segments: int | None = None
    retry_counts: bool = True
    """False gives the try back: the provider did not judge the message, it only had no time for it."""
    keeps_place: bool = False
    """It waits in line for its turn at `retry_at`: until then it counts as handed out, and nobody takes its place."""


def finish(conn: Connection, finishes: Sequence[Finish], now: datetime) -> int:
    """Write the ends of attempts that are still `sending`; how many were.

    One whose lease ran out, or that a receipt settled first, is left as it stands: its token no longer fences.
    """
    alive = set(conn.scalars(_ALIVE, {"tokens": [each.token for each in finishes]}))
    ours = sorted((each for each in finishes if each.token in alive), key=lambda each: each.touch_id)
    if not ours:
        return 0
    # attempts first, then touches, each in id order and all at once: no two finishes wait for each other
    touches = conn.execute(_LOCK_TOUCHES, {"ids": [each.touch_id for each in ours]}).all()
    for state, counts in product(AttemptState, (True, False)):
        group = [each for each in ours if (each.state, each.retry_counts) == (state, counts)]
        if group:
            _finish_group(conn, state, group, now)
            _announce(conn, state, group, touches, now)
    return len(ours)


def _finish_group(conn: Connection, state: AttemptState, group: Sequence[Finish], now: datetime) -> None:
    conn.execute(
        _END_ATTEMPT,
        [
            {
                "b_token": each.token,
                "b_state": state.value,
                "b_now": now,
                "b_called_at": each.called_at,
                "b_provider_ref": each.provider_ref,
                "b_error_code": each.error_code,
            }
            for each in group
        ],
    )
    _move_touches(conn, state, group, now)


def _move_touches(conn: Connection, state: AttemptState, group: Sequence[Finish], now: datetime) -> None:
    target = _TOUCH_AFTER[state]
    is_back = target == TouchState.PLANNED
    conn.execute(
        _move(state, group[0].retry_counts),
        [
            {
                "b_id": each.touch_id,
                "b_now": now,
                "b_reason": each.reason,
                "b_segments": each.segments,
                "b_retry_at": each.retry_at,
                "b_called_at": each.called_at,
                "b_dispatched_until": each.retry_at if each.keeps_place else None,
            }
            for each in group
        ],
    )
    what = "waited" if is_back else target.value
    tell(
        conn,
        [
            {
                "touch_id": each.touch_id,
                "what": what,
                "reason": each.reason,
                "until": each.retry_at if is_back else None,
            }
            for each in group
            if each.reason is not None or not is_back
        ],
        now,
    )


def _announce(
    conn: Connection,
    state: AttemptState,
    group: Sequence[Finish],
    touches: Sequence[Row[*tuple[Any, ...]]],
    now: datetime,
) -> None:
    """Tell others of the ends that are sure; `touches` are those of `_TOUCHES`, perhaps more than the group's."""
    if state not in _EVENTS:
        return
    reasons = {each.touch_id: each.reason for each in group}
    outbox.add_many(
        conn,
        _EVENTS[state],
        [
            {"touch": row.id, "patient": row.ref, "channel": row.channel, "kind": row.kind, "step": row.step}
            | ({"reason": reasons[row.id]} if reasons[row.id] else {})
            for row in touches
            if row.id in reasons
        ],
        now,
    )


def reap(conn: Connection, now: datetime) -> int:
    """Attempts whose lease ran out become uncertain: their process died or hangs, and may have called."""
    lost = [
        Finish(row.touch_id, row.token, AttemptState.UNCERTAIN, reason="lease_expired")
        for row in conn.execute(_LATE, {"now": now})
    ]
    return finish(conn, lost, now) if lost else 0


def patience(now: datetime) -> dict[str, datetime]:
    """The values that `IS_UNSETTLED` wants."""
    return {"patience": now - PATIENCE, "with_provider": now - _PATIENCE_WITH_PROVIDER}


def hand_to_person(conn: Connection, now: datetime) -> int:
    """Uncertain attempts that neither a receipt nor their provider settled in time go to the inbox; how many."""
    ids = conn.scalars(_FOR_A_PERSON, patience(now)).all()
    if ids:
        conn.execute(update(attempt).where(attempt.c.id.in_(ids)).values(needs_person=True))
    return len(ids)


def settle_by_person(conn: Connection, attempt_id: int, *, was_accepted: bool, now: datetime) -> bool:
    """A person found out what became of an uncertain attempt; whether there was one to settle."""
    state = AttemptState.ACCEPTED if was_accepted else AttemptState.REJECTED
    return _settle(conn, attempt_id, state, "settled_by_person", now)


def settle_as_unknown(conn: Connection, attempt_id: int, now: datetime) -> bool:
    """Its provider has no message of an uncertain attempt, and can have none any more: it was never accepted."""
    return _settle(conn, attempt_id, AttemptState.REJECTED, UNKNOWN_TO_PROVIDER, now)


def _settle(conn: Connection, attempt_id: int, end: AttemptState, reason: str, now: datetime) -> bool:
    """End an uncertain attempt and its touch; whether it still was uncertain."""
    row = conn.execute(
        update(attempt)
        .where(attempt.c.id == attempt_id, IS_UNCERTAIN)
        .values(
            state=end.value,
            needs_person=False,
            finished_at=now,
        )
        .returning(attempt.c.touch_id, attempt.c.token, attempt.c.claimed_at)
    ).one_or_none()
    if row is None:
        return False
    others = exists().where(
        attempt.c.touch_id == row.touch_id, attempt.c.state == AttemptState.ACCEPTED.value, attempt.c.id != attempt_id
    )
    values: dict[str, Any] = {"state": _TOUCH_AFTER[end].value, "reason": reason, "ended_at": now}
    if end == AttemptState.ACCEPTED:
        values["accepted_at"] = row.claimed_at
    moved = conn.execute(
        update(touch)
        .where(touch.c.id == row.touch_id, touch.c.state == TouchState.UNCERTAIN.value, ~others)
        .values(**values)
    )
    if moved.rowcount:
        why = None if end == AttemptState.ACCEPTED else reason
        touches = conn.execute(_TOUCHES, {"ids": [row.touch_id]}).all()
        _announce(conn, end, [Finish(row.touch_id, row.token, end, reason=why)], touches, now)
    tell(conn, [{"touch_id": row.touch_id, "what": _TOUCH_AFTER[end].value, "reason": reason}], now)
    return True
