"""The transactional outbox: events committed with the facts they tell, published afterwards with confirms."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, Column, Connection, Index, Row, String, Table, bindparam, func, insert, select, update

from domain.events.contract import plain
from domain.ledger.among import among
from domain.ledger.columns import Instant, id_column, metadata
from domain.ledger.store import CHUNK

outbox = Table(
    "outbox",
    metadata,
    id_column(),
    Column("event_id", String(64), nullable=False, unique=True),
    #: Without the prefix: also the routing key.
    Column("type", String(64), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("published_at", Instant),
)
#: Events that nobody confirmed yet.
IS_UNPUBLISHED: Final = outbox.c.published_at.is_(None)
Index("ix_outbox_unpublished", outbox.c.id, sqlite_where=IS_UNPUBLISHED, postgresql_where=IS_UNPUBLISHED)

_INSERT: Final = insert(outbox)
_OLDEST: Final = (
    select(outbox.c.id, outbox.c.event_id, outbox.c.type, outbox.c.data, outbox.c.created_at)
    .where(IS_UNPUBLISHED)
    .order_by(outbox.c.id)
    .limit(bindparam("most"))
)
_PUBLISHED: Final = update(outbox).where(among(outbox.c.id, "ids")).values(published_at=bindparam("now", type_=Instant))


def add(conn: Connection, type: str, data: Mapping[str, Any], now: datetime) -> None:  # noqa: A002 - CloudEvents' word
    """Commit one event with the facts it tells. `type` is without prefix; `data` may hold datetimes and enums.

    Raises:
        ValueError: the event contract knows no such event, or the data is not what it promises.
    """
    add_many(conn, type, [data], now)


def add_many(conn: Connection, type: str, datas: Sequence[Mapping[str, Any]], now: datetime) -> None:  # noqa: A002
    """Commit several events of one type, in order; see `add`."""
    rows = [
        {"event_id": uuid.uuid4().hex, "type": type, "data": plain(type, data), "created_at": now} for data in datas
    ]
    for start in range(0, len(rows), CHUNK):
        conn.execute(_INSERT, rows[start : start + CHUNK])


def unpublished(conn: Connection, limit: int) -> Sequence[Row[*tuple[Any, ...]]]:
    """The oldest events that nobody confirmed yet, in order."""
    return conn.execute(_OLDEST, {"most": limit}).all()


def mark_published(conn: Connection, ids: Sequence[int], now: datetime) -> None:
    """These events were confirmed by the bus."""
    for start in range(0, len(ids), CHUNK):
        conn.execute(_PUBLISHED, {"ids": ids[start : start + CHUNK], "now": now})


def waiting(conn: Connection) -> tuple[int, datetime | None]:
    """How many events wait to be published, and when the oldest was committed."""
    oldest = select(outbox.c.created_at).where(IS_UNPUBLISHED).order_by(outbox.c.id).limit(1)
    count = select(func.count()).select_from(outbox).where(IS_UNPUBLISHED)
    return conn.execute(count).scalar_one(), conn.scalar(oldest)
