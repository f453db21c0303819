"""Quiet: what is still under way at an instant, asked of the rows and never of the broker."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    literal,
    literal_column,
    select,
    union_all,
)

from domain.ledger import lapses
from domain.ledger.attempts import IS_SENDING, IS_UNCERTAIN, attempt
from domain.ledger.columns import Instant
from domain.ledger.inbound import receipt, reply
from domain.ledger.lapses import lapse
from domain.ledger.outbox import IS_UNPUBLISHED, outbox
from domain.ledger.touches import IS_PLANNED, touch

_NOW = bindparam("now", type_=Instant)

#: Events that wait for the next round of the clock.
TO_PUBLISH: Final = "events to publish"

#: A lapse is in somebody's hands once its event was published.
_TO_TELL = select(outbox.c.data["lapse_id"].as_integer()).where(IS_UNPUBLISHED, outbox.c.type == lapses.DETECTED)
_IS_HANDED = lapse.c.decided_at.is_(None) & lapse.c.id.not_in(_TO_TELL)

#: Kinds of work, each with the rows that mean somebody has it in hand or on a queue.
_CHECKS: tuple[tuple[str, Table, ColumnElement[bool]], ...] = (
    (
        "touches on a queue",
        touch,
        # one that pacing told to wait counts as handed out until its turn comes, but nobody has it in hand
        and_(
            IS_PLANNED,
            touch.c.dispatched_until.is_not(None),
            touch.c.dispatched_until > _NOW,
            touch.c.due_at <= _NOW,
        ),
    ),
    ("sends", attempt, IS_SENDING),
    ("questions to providers", attempt, IS_UNCERTAIN & attempt.c.is_asking),
    (TO_PUBLISH, outbox, IS_UNPUBLISHED),
    ("lapses to decide about", lapse, _IS_HANDED),
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


def under_way(conn: Connection, now: datetime) -> frozenset[str]:
    """The kinds of work that somebody still has in hand or on a queue, and `TO_PUBLISH`; empty when all is at rest.

    Planned touches that nobody was told of yet are not under way: the next round of the clock looks at them.
    """
    return frozenset(str(row.what) for row in conn.execute(_UNDER_WAY, {"now": now}))
