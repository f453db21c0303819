"""Quiet: whether anything is still under way at an instant, asked of the rows and never of the broker."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, select

from domain.ledger.lapses import lapse
from domain.ledger.outbox import outbox
from domain.ledger.replies import receipt, reply
from domain.ledger.touches import attempt, touch


def under_way(conn: Connection, now: datetime) -> str | None:
    """The first kind of work found that somebody still has in hand or on a queue; None when all is quiet.

    Planned touches that nobody was told of yet are not under way: the next round of the clock looks at them.
    """
    checks: tuple[tuple[str, Table, ColumnElement[bool]], ...] = (
        ("touches on a queue", touch, and_(touch.c.state == "planned", touch.c.dispatched_until > now)),
        ("sends", attempt, attempt.c.state == "sending"),
        ("events to publish", outbox, outbox.c.published_at.is_(None)),
        ("lapses to decide about", lapse, lapse.c.decided_at.is_(None)),
        ("replies to read", reply, reply.c.state == "new"),
        ("receipts to apply", receipt, receipt.c.applied_at.is_(None)),
    )
    for what, table, condition in checks:
        if conn.execute(select(1).select_from(table).where(condition).limit(1)).first() is not None:
            return what
    return None
