"""Which events were taken in: the first transaction to claim `source` + `id` is the only one that applies it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, tuple_, update

from domain.ledger import store
from domain.ledger.intake_log import event_seen
from domain.ledger.store import CHUNK


class EventKey(NamedTuple):
    """What identifies an event (CloudEvents 1.0: source + id)."""

    source: str
    id: str


def claim(conn: Connection, events: Sequence[tuple[EventKey, str]], result: str, now: datetime) -> set[EventKey]:
    """Note these events (with their types), and say which of them nobody had noted before.

    A concurrent transaction that claims the same event waits for this one to end.
    """
    if not events:
        return set()
    # in key order: two batches with the same events must not wait for each other in a circle
    rows = [
        {"source": key.source, "event_id": key.id, "type": kind[:64], "result": result, "received_at": now}
        for key, kind in sorted(dict(events).items())
    ]
    noted = conn.execute(_noting(conn.dialect.name), rows)
    return {EventKey(source, number) for source, number in noted}


def mark(conn: Connection, keys: Collection[EventKey], result: str) -> None:
    """What became of these events: applied, stale, ignored or quarantined."""
    for part in _parts(keys):
        conn.execute(
            update(event_seen).where(tuple_(event_seen.c.source, event_seen.c.event_id).in_(part)).values(result=result)
        )


def result_of(conn: Connection, key: EventKey) -> str | None:
    """What became of an event; None if it was never taken."""
    return conn.scalar(
        select(event_seen.c.result).where(event_seen.c.source == key.source, event_seen.c.event_id == key.id)
    )


def forget_quarantined(conn: Connection, key: EventKey) -> None:
    """Let a quarantined event be taken again; one that was applied stays noted."""
    conn.execute(
        delete(event_seen).where(
            event_seen.c.source == key.source, event_seen.c.event_id == key.id, event_seen.c.result == "quarantined"
        )
    )


@cache
def _noting(dialect: str) -> Any:
    return (
        store.insert_on(dialect, event_seen)
        .on_conflict_do_nothing()
        .returning(event_seen.c.source, event_seen.c.event_id)
    )


def _parts(keys: Collection[EventKey]) -> list[list[tuple[str, str]]]:
    ordered = sorted((key.source, key.id) for key in keys)
    return [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]
