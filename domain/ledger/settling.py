"""Settling: what a receipt does to its attempt and touch, in whatever order the receipts come.

A receipt proves that the provider took the message: it settles attempts whose outcome we never learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, String, bindparam, select, update

from domain.ledger import choices, outbox, pauses, store
from domain.ledger.among import among
from domain.ledger.attempts import attempt
from domain.ledger.columns import Instant
from domain.ledger.inbound import receipt
from domain.ledger.patients import patient
from domain.ledger.touches import tell, touch
from domain.rules.vocabulary import AttemptState, Delivery, TouchState

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]

#: A receipt whose attempt is still unknown after this is not ours (or its attempt is long gone): given up, but kept.
ORPHANED_AFTER: Final = timedelta(days=7)

#: The attempt's outcome was open, or thought to be a failure worth repeating: the receipt says it was accepted.
_SETTLED: Final = (AttemptState.SENDING, AttemptState.UNCERTAIN, AttemptState.THROTTLED, AttemptState.RETRY)
#: A touch waiting for a repeat must not go out again once a receipt proves that the first call arrived.
_TO_ACCEPT: Final = (TouchState.SENDING, TouchState.UNCERTAIN, TouchState.PLANNED)
_TERMINAL: Final = 2
_RANK: Final = {
    Delivery.UNKNOWN: 0,
    Delivery.SENT: 1,
    Delivery.DELIVERED: _TERMINAL,
    Delivery.UNDELIVERED: _TERMINAL,
}

_NOW = bindparam("now", type_=Instant)
_UNAPPLIED: Final = (
    select(receipt).where(among(receipt.c.id, "ids"), receipt.c.applied_at.is_(None)).order_by(receipt.c.id)
).with_for_update()
_DONE: Final = (
    update(receipt).where(among(receipt.c.id, "ids")).values(applied_at=_NOW, result=bindparam("what", type_=String))
)
_WANTED: Final = (attempt.c.id, attempt.c.touch_id, attempt.c.contact_point_id, attempt.c.channel)
_BY_TOKEN: Final = select(*_WANTED, attempt.c.token).where(among(attempt.c.token, "tokens"))
_BY_PROVIDER_REF: Final = (
    select(*_WANTED, attempt.c.provider_ref).where(among(attempt.c.provider_ref, "refs")).order_by(attempt.c.id)
)
_OPEN_ATTEMPTS: Final = (
    select(attempt.c.id, attempt.c.touch_id, attempt.c.called_at, attempt.c.claimed_at)
    .where(among(attempt.c.id, "ids"), attempt.c.state.in_([state.value for state in _SETTLED]))
    .order_by(attempt.c.id)
    .with_for_update()
)
_SETTLE: Final = (
    update(attempt)
    .where(attempt.c.id == bindparam("b_id"))
    .values(
        state=AttemptState.ACCEPTED.value,
        provider_ref=bindparam("b_provider_ref"),
        finished_at=_NOW,
        error_code=None,
        needs_person=False,
    )
)
_OPEN_TOUCHES: Final = (
    select(touch.c.id, touch.c.channel, touch.c.step, touch.c.kind, patient.c.ref)
    .outerjoin(patient, patient.c.id == touch.c.patient_id)
    .where(among(touch.c.id, "ids"), touch.c.state.in_([state.value for state in _TO_ACCEPT]))
    .order_by(touch.c.id)
    .with_for_update(of=touch)
)
_ACCEPT: Final = (
    update(touch)
    .where(touch.c.id == bindparam("b_id"))
    .values(
        state=TouchState.ACCEPTED.value,
        reason=bindparam("b_reason"),
        accepted_at=bindparam("b_accepted_at"),
        dispatched_until=None,
        ended_at=_NOW,
    )
)
_DELIVERIES: Final = (
    select(touch.c.id, touch.c.delivery)
    .where(among(touch.c.id, "ids"), touch.c.state == TouchState.ACCEPTED.value)
    .order_by(touch.c.id)
    .with_for_update()
)
_RAISE: Final = update(touch).where(among(touch.c.id, "ids")).values(delivery=bindparam("status", type_=String))


@dataclass(slots=True)
class Applied:
    """What one call of `apply` did."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Receipts applied, by channel and status."""
    settled: int = 0
    """Attempts that turned out to be accepted."""
    unknown: int = 0
    """Receipts whose attempt is not known (yet); they stay to be tried again."""
    orphaned: int = 0
    """Receipts given up after a week."""


class _Match(NamedTuple):
    receipt: AnyRow
    attempt: AnyRow


def apply(conn: Connection, receipt_ids: Collection[int], now: datetime, reason: str = "receipt") -> Applied:
    """Apply these receipts, in the order they were stored; those applied before change nothing.

    `reason` is how we came to know: touches that turn out to be accepted are told so.
    Locks in the order of the house: receipts (which nothing else locks), patients, contact points, attempts, touches.
    """
    done = Applied()
    for ids in store.chunks(sorted(set(receipt_ids))):
        _apply(conn, ids, now, done, reason)
    return done


def _apply(conn: Connection, ids: Sequence[int], now: datetime, done: Applied, reason: str) -> None:
    receipts = conn.execute(_UNAPPLIED, {"ids": ids}).all()
    matches = _match(conn, receipts)
    if matches:
        _take_effects(conn, matches, now)
        _settle(conn, matches, now, done, reason)
        _deliver(conn, matches, now)
    matched = [match.receipt.id for match in matches]
    known = set(matched)
    orphans = [row.id for row in receipts if row.id not in known and row.received_at <= now - ORPHANED_AFTER]
    for what, over in (("applied", matched), ("orphan", orphans)):
        if over:
            conn.execute(_DONE, {"ids": over, "what": what, "now": now})
    done.statuses.update((match.receipt.channel, match.receipt.status) for match in matches)
    done.orphaned += len(orphans)
    done.unknown += len(receipts) - len(matched) - len(orphans)


def _match(conn: Connection, receipts: Sequence[AnyRow]) -> list[_Match]:
    """Each receipt with its attempt: by the reference that travelled with the send, else by the provider's own id."""
    tokens = sorted({each.reference for each in receipts} - {""})
    by_token = {(row.channel, row.token): row for row in conn.execute(_BY_TOKEN, {"tokens": tokens})}
    found = {each.id: by_token.get((each.channel, each.reference)) for each in receipts}
    refs = sorted({each.provider_ref for each in receipts if found[each.id] is None})
    if refs:
        rows = conn.execute(_BY_PROVIDER_REF, {"refs": refs})
        by_provider_ref = {(row.channel, row.provider_ref): row for row in rows}
        found = {each.id: found[each.id] or by_provider_ref.get((each.channel, each.provider_ref)) for each in receipts}
    return [_Match(each, match) for each in receipts if (match := found[each.id]) is not None]


def _take_effects(conn: Connection, matches: Iterable[_Match], now: datetime) -> None:
    """What the provider knows beyond the message enters our own ledger: opt-outs, bad addresses, trouble."""
    for match in matches:
        if match.receipt.effect == "pause_channel":
            pauses.pause(conn, match.receipt.channel, match.receipt.error_code or "provider", now)
    personal = [match for match in matches if match.receipt.effect in {"opted_out", "bad_address"}]
    if personal:
        choices.lock(conn, sorted({match.attempt.contact_point_id for match in personal}))
    for match in personal:
        contact_point_id = match.attempt.contact_point_id
        if match.receipt.effect == "bad_address":
            choices.mark_bad(conn, contact_point_id, "provider", now)
        else:
            choices.opt_out(
                conn,
                organisation_id=choices.organisation_of(conn, contact_point_id),
                contact_point_id=contact_point_id,
                source="provider",
                at=match.receipt.received_at,
                now=now,
            )


def _settle(conn: Connection, matches: Iterable[_Match], now: datetime, done: Applied, reason: str) -> None:
    """Attempts of open outcome become accepted, and their touches with them."""
    provider_refs = {match.attempt.id: match.receipt.provider_ref for match in matches}
    # attempts before touches, as the finish does: the two meet whenever a receipt overtakes its send
    settled = conn.execute(_OPEN_ATTEMPTS, {"ids": sorted(provider_refs)}).all()
    if not settled:
        return
    conn.execute(_SETTLE, [{"b_id": row.id, "b_provider_ref": provider_refs[row.id], "now": now} for row in settled])
    _accept(conn, {row.touch_id: row.called_at or row.claimed_at for row in settled}, now, reason)
    done.settled += len(settled)


def _accept(conn: Connection, accepted_at: Mapping[int, datetime], now: datetime, reason: str) -> None:
    """Touches whose message the provider has after all are accepted as of their call, and told so outside."""
    moved = conn.execute(_OPEN_TOUCHES, {"ids": sorted(accepted_at)}).all()
    if not moved:
        return
    conn.execute(
        _ACCEPT,
        [{"b_id": row.id, "b_accepted_at": accepted_at[row.id], "b_reason": reason, "now": now} for row in moved],
    )
    tell(conn, [{"touch_id": row.id, "what": TouchState.ACCEPTED.value, "reason": reason} for row in moved], now)
    outbox.add_many(
        conn,
        "touch.sent",
        [
            {"touch": row.id, "patient": row.ref, "channel": row.channel, "kind": row.kind, "step": row.step}
            for row in moved
        ],
        now,
    )


def _deliver(conn: Connection, matches: Sequence[_Match], now: datetime) -> None:
    """Raise the delivery of accepted touches: unknown < sent < delivered | undelivered; the first terminal stays."""
    touch_ids = sorted({match.attempt.touch_id for match in matches})
    rows = conn.execute(_DELIVERIES, {"ids": touch_ids}).all()
    stored = {row.id: row.delivery for row in rows}
    reached = dict(stored)
    codes: dict[int, str | None] = {}
    for match in matches:
        touch_id = match.attempt.touch_id
        if touch_id in reached and _rank(match.receipt.status) > _rank(reached[touch_id]):
            reached[touch_id] = match.receipt.status
            codes[touch_id] = match.receipt.error_code
    for delivery in Delivery:
        raised = [
            touch_id for touch_id, status in reached.items() if status == delivery and stored[touch_id] != delivery
        ]
        if raised:
            conn.execute(_RAISE, {"ids": raised, "status": delivery.value})
        if _RANK[delivery] == _TERMINAL:
            tell(conn, [{"touch_id": id_, "what": delivery.value, "reason": codes[id_]} for id_ in raised], now)


def _rank(status: str | None) -> int:
    return _RANK[Delivery(status)] if status else -1
