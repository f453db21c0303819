"""The relay: publishes what the outbox committed, marks it after the confirms; a repeat is harmless by its event id."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine

from domain.events.codec import SOURCE, encode
from domain.ledger import outbox
from domain.ledger.store import reading
from ops.runtime.bus import Bus, BusMessage


def relay(engine: Engine, bus: Bus, now: datetime, limit: int = 500) -> int:
    """Publish up to `limit` waiting events, oldest first; how many were confirmed and marked.

    No transaction is open while the bus is called. If we die in between, the same events go out again with the same
    ids, and their readers notice.

    Raises:
        BusError: not everything was confirmed; nothing is marked.
    """
    with reading(engine) as conn:
        rows = outbox.unpublished(conn, limit)
    if not rows:
        return 0
    bus.publish([BusMessage(*encode(row.type, SOURCE, row.event_id, row.created_at, row.data)) for row in rows])
    with engine.begin() as conn:
        outbox.mark_published(conn, [row.id for row in rows], now)
    return len(rows)
