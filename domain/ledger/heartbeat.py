"""What the clock process last did: who leads, and whether a whole round found nothing left to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, Integer, String, Table, select

from domain.ledger import store
from domain.ledger.columns import Id, Instant, metadata

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("round", Id, nullable=False),
    #: How many things the round did; 0 = idle.
    Column("did", Integer, nullable=False),
    #: When something scheduled will next want attention, as far as the clock knows.
    Column("next_at", Instant),
)


@dataclass(frozen=True, slots=True)
class Beat:
    """One finished round of the clock."""

    at: datetime
    round: int
    did: int
    next_at: datetime | None


def beat(conn: Connection, name: str, beat_: Beat) -> None:
    """Write the round over the one before."""
    values = {"at": beat_.at, "round": beat_.round, "did": beat_.did, "next_at": beat_.next_at}
    conn.execute(
        store.insert(conn, heartbeat)
        .values(name=name, **values)
        .on_conflict_do_update(index_elements=["name"], set_=values)
    )


def last(conn: Connection, name: str) -> Beat | None:
    """The last finished round of the clock, if there was one."""
    row = conn.execute(select(heartbeat).where(heartbeat.c.name == name)).one_or_none()
    return None if row is None else Beat(row.at, row.round, row.did, row.next_at)
