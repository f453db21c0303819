"""Asking: which uncertain attempts their providers are to be asked about, and what the answer does to each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, String, and_, bindparam, or_, select, update

from domain.ledger import finishes, receipts, settling
from domain.ledger.attempts import IS_UNCERTAIN, attempt
from domain.ledger.columns import Id, Instant
from domain.ledger.patients import contact_point
from domain.ledger.receipts import ReceiptNews
from domain.ledger.touches import tell
from domain.rules.asking import AFTER, Asked, Listed, Said, Span
from domain.rules.vocabulary import AttemptState

AnyRow = Row[*tuple[Any, ...]]

#: Handed out at most so many at once: with a sweep every ten seconds, one question a second.
MOST: Final = 10

#: A question that came to nothing (lost, unanswered) is put again no sooner.
AGAIN: Final = timedelta(minutes=10)

#: A provider that has not answered by then will not: a person has it.
GIVEN_UP_AFTER: Final = timedelta(days=7)

#: How a touch came to be known as accepted.
TAKEN: Final = "provider_knows"

_NOW: Final = bindparam("now", type_=Instant)
#: An attempt's turn, by how often its provider has answered already.
_ITS_TURN: Final = or_(
    *(
        and_(attempt.c.asked == nth, attempt.c.claimed_at <= bindparam(f"after_{nth}", type_=Instant))
        for nth in range(len(AFTER))
    )
)
IS_TO_ASK: Final[ColumnElement[bool]] = and_(
    IS_UNCERTAIN,
    _ITS_TURN,
    attempt.c.claimed_at > bindparam("given_up", type_=Instant),
    or_(attempt.c.asked_at.is_(None), attempt.c.asked_at <= bindparam("again", type_=Instant)),
)
_DUE: Final = (
    select(attempt.c.id)
    .where(IS_TO_ASK, attempt.c.provider.in_(bindparam("providers", type_=String, expanding=True)))
    .order_by(attempt.c.claimed_at)
    .limit(MOST)
    .with_for_update(skip_locked=True)
)
_IDS: Final = bindparam("ids", type_=Id, expanding=True)
_HAND_OUT: Final = update(attempt).where(attempt.c.id.in_(_IDS), IS_UNCERTAIN).values(asked_at=_NOW, is_asking=True)
_QUESTIONS: Final = (
    select(attempt, contact_point.c.value.label("sealed"))
    .join(contact_point, contact_point.c.id == attempt.c.contact_point_id)
    .where(attempt.c.id.in_(_IDS), IS_UNCERTAIN)
    .order_by(attempt.c.id)
)
#: One that only gave its turn back has made no call.
_OTHERS: Final = select(attempt.c.id, attempt.c.touch_id, attempt.c.claimed_at, attempt.c.lease_until).where(
    attempt.c.touch_id.in_(_IDS), attempt.c.state != AttemptState.RELEASED.value
)
#: Not locked: what an answer proves is written by those who lock in the order of the house, and is fenced there.
_OPEN: Final = select(attempt.c.id).where(attempt.c.id == bindparam("id"), IS_UNCERTAIN)


@dataclass(frozen=True, slots=True)
class Question:
    """One uncertain attempt, and what it takes to ask about it."""

    attempt_id: int
    token: str
    channel: str
    provider: str
    asked: int
    """How often it has been answered before."""
    about: Asked
    sealed_address: bytes = field(repr=False)


def turns(now: datetime) -> dict[str, datetime]:
    """The values that `IS_TO_ASK` wants."""
    return {
        "again": now - AGAIN,
        "given_up": now - GIVEN_UP_AFTER,
        **{f"after_{nth}": now - after for nth, after in enumerate(AFTER)},
    }


def take_due(conn: Connection, providers: Collection[str], now: datetime) -> list[int]:
    """Attempts that `providers` are to be asked about now, marked as handed out."""
    ids = list(conn.scalars(_DUE, {**turns(now), "providers": sorted(providers)}))
    if ids:
        conn.execute(_HAND_OUT, {"ids": ids, "now": now})
    return ids


def questions(conn: Connection, attempt_ids: Collection[int]) -> list[Question]:
    """Those of the attempts that are still uncertain."""
    rows = conn.execute(_QUESTIONS, {"ids": sorted(attempt_ids)}).all()
    others = conn.execute(_OTHERS, {"ids": sorted({row.touch_id for row in rows})}).all() if rows else []
    return [_question(row, others) for row in rows]


def settle(conn: Connection, asked: Question, said: Said, found: Listed | None, now: datetime) -> bool:
    """Write what the provider's answer proves; False where another had settled the attempt meanwhile.

    Whoever comes second (another worker with the same question, a receipt, a person) finds it settled.
    """
    if conn.scalar(_OPEN, {"id": asked.attempt_id}) is None:
        return False
    if found is not None:
        _accept(conn, asked, found, now)
    elif said is Said.NEVER_TAKEN:
        finishes.settle_as_unknown(conn, asked.attempt_id, now)
    else:
        tell(conn, [{"touch_id": asked.about.touch_id, "what": "asked", "reason": "not_listed"}], now)
    _end(conn, asked, answered=True)
    return True


def leave(conn: Connection, asked: Question, now: datetime) -> None:
    """The provider did not answer: the same question comes again, after a while."""
    if conn.scalar(_OPEN, {"id": asked.attempt_id}) is not None:
        tell(conn, [{"touch_id": asked.about.touch_id, "what": "asked", "reason": "provider_away"}], now)
        _end(conn, asked, answered=False)


def _accept(conn: Connection, asked: Question, found: Listed, now: datetime) -> None:
    """As its receipt would: the list tells what a receipt tells, and the same row of the ledger holds both."""
    told = ReceiptNews(
        channel=asked.channel,
        provider_ref=found.provider_ref,
        status=found.status,
        reference=asked.token,
        error_code=found.code,
        effect=found.effect,
    )
    settling.apply(conn, receipts.take(conn, [told], now), now, reason=TAKEN)


def _end(conn: Connection, asked: Question, *, answered: bool) -> None:
    conn.execute(
        update(attempt)
        # of two that asked at once, one counts
        .where(attempt.c.id == asked.attempt_id, attempt.c.asked == asked.asked)
        .values(asked=asked.asked + answered, is_asking=False)
    )


def _question(row: AnyRow, others: Sequence[AnyRow]) -> Question:
    spans = [
        Span(each.claimed_at, each.lease_until)
        for each in others
        if each.touch_id == row.touch_id and each.id != row.id
    ]
    about = Asked(row.touch_id, row.kind, Span(row.claimed_at, row.lease_until), spans)
    return Question(row.id, row.token, row.channel, row.provider, row.asked, about, row.sealed)
