"""Quiet: whether anything is still under way at an instant, asked of the rows and never of the broker."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, literal, literal_column, select, union_all

from domain.ledger.columns import Instant
from domain.ledger.inbound import receipt, reply
from domain.ledger.lapses import lapse
from domain.ledger.outbox import outbox
from domain.ledger.touches import IS_PLANNED, IS_SENDING, attempt, touch

_NOW = bindparam("now", type_=Instant)

_DISPATCHED = and_(touch.c.dispatched_until.is_not(None), touch.c.dispatched_until > _NOW)

#: Kinds of work, each with the rows that mean somebody has it in hand or on a queue.
_CHECKS: tuple[tuple[str, Table, ColumnElement[bool]], ...] = (
    (
        "touches on a queue",
        touch,
        and_(IS_PLANNED, touch.c.dispatched_until.is_not(None), touch.c.dispatched_until > _NOW),
    ),
    ("sends", attempt, IS_SENDING),
    ("events to publish", outbox, outbox.c.published_at.is_(None)),
    ("lapses to decide about", lapse, lapse.c.decided_at.is_(None)),
    ("replies to read", reply, reply.c.state == literal_column("'new'")),
    ("receipts to apply", receipt, receipt.c.applied_at.is_(None)),
)

# built once: it is asked at every step of a simulation
_UNDER_WAY = union_all(
    *(
        select(select(literal(what).label("what")).select_from(table).where(condition).limit(1).subquery().c.what)
        for what, table, condition in _CHECKS
    )
)


def under_way(conn: Connection, now: datetime) -> str | None:
    """The first kind of work found that somebody still has in hand or on a queue; None when all is quiet.

    Planned touches that nobody was told of yet are not under way: the next round of the clock looks at them.
    """
    row = conn.execute(_UNDER_WAY, {"now": now}).first()
    return None if row is None else str(row.what)
