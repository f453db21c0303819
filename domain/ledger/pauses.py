"""Paused channels: a provider said our account or content is in trouble; nothing goes until resumed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Connection, String, Table, delete, select

from domain.ledger import store
from domain.ledger.columns import Instant, metadata

channel_pause = Table(
    "channel_pause",
    metadata,
    Column("channel", String(16), primary_key=True),
    Column("since", Instant, nullable=False),
    #: The provider's code, or `operator`.
    Column("reason", String(48), nullable=False),
)


def pause(conn: Connection, channel: str, reason: str, now: datetime) -> None:
    """Stop a channel; pausing a paused one keeps the first reason."""
    conn.execute(
        store.insert(conn, channel_pause).values(channel=channel, since=now, reason=reason).on_conflict_do_nothing()
    )


def resume(conn: Connection, channel: str) -> bool:
    """Let a channel go again; whether it was paused."""
    return conn.execute(delete(channel_pause).where(channel_pause.c.channel == channel)).rowcount > 0


def paused(conn: Connection) -> dict[str, str]:
    """Paused channels and why."""
    return {row.channel: row.reason for row in conn.execute(select(channel_pause))}
