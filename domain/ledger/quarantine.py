"""What could not be taken in: the bytes, the reason, and whether it was replayed. Nothing is dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Index, LargeBinary, Row, String, Table, insert, select, update

from domain.ledger.columns import Instant, id_column, metadata
from domain.ledger.vault import Vault

quarantine = Table(
    "quarantine",
    metadata,
    id_column(),
    #: Where it came from: `amqp:<routing key>`, `http:/events`, …
    Column("source", String(200), nullable=False),
    #: Encrypted raw bytes: they may hold anything.
    Column("body", LargeBinary, nullable=False),
    #: Encrypted JSON of the transport's headers and content type.
    Column("headers", LargeBinary, nullable=False),
    #: A reason without the offending value.
    Column("reason", String(500), nullable=False),
    Column("received_at", Instant, nullable=False),
    #: `held` -> `replayed` | `dismissed`.
    Column("state", String(16), nullable=False, default="held"),
    Column("settled_at", Instant),
)
_held = quarantine.c.state == "held"
Index("ix_quarantine_held", quarantine.c.id, sqlite_where=_held, postgresql_where=_held)

#: Levels of a header's tables that are kept.
_DEEPEST = 32
#: Characters that not every store takes in a text.
_NOT_STORED = re.compile(r"[\x00\ud800-\udfff]")

_BODY, _HEADERS = "quarantine.body", "quarantine.headers"


@dataclass(frozen=True, slots=True)
class Held:
    """A message as it came, opened for a replay or, deliberately, for a person."""

    id: int
    source: str
    content_type: str
    reason: str
    received_at: datetime
    headers: Mapping[str, Any] = field(repr=False)
    body: bytes = field(repr=False)


def hold(
    conn: Connection,
    vault: Vault,
    source: str,
    headers: Mapping[str, Any],
    body: bytes,
    reason: str,
    now: datetime,
    *,
    content_type: str = "",
) -> int:
    """Keep a message that could not be taken in, encrypted, with the reason (without the offending value)."""
    transport = json.dumps({"content_type": content_type, "headers": _plain(headers)}).encode("ascii")
    return int(
        conn.execute(
            insert(quarantine)
            .values(
                source=_NOT_STORED.sub("\ufffd", source)[:200],
                body=vault.seal(body, _BODY),
                headers=vault.seal(transport, _HEADERS),
                reason=reason[:500],
                received_at=now,
                state="held",
            )
            .returning(quarantine.c.id)
        ).scalar_one()
    )


def list_held(conn: Connection, limit: int = 100, after: int = 0) -> Sequence[Row[*tuple[Any, ...]]]:
    """What is held, oldest first, without its content: id, source, reason, received_at."""
    return conn.execute(
        select(quarantine.c.id, quarantine.c.source, quarantine.c.reason, quarantine.c.received_at)
        .where(quarantine.c.state == "held", quarantine.c.id > after)
        .order_by(quarantine.c.id)
        .limit(limit)
    ).all()


def open_held(conn: Connection, vault: Vault, number: int) -> Held | None:
    """One held message with its content; None if there is no such message or it was settled. Raises VaultError."""
    row = conn.execute(
        select(quarantine).where(quarantine.c.id == number, quarantine.c.state == "held").with_for_update()
    ).one_or_none()
    if row is None:
        return None
    transport = json.loads(vault.open_bytes(row.headers, _HEADERS))
    return Held(
        id=row.id,
        source=row.source,
        content_type=transport["content_type"],
        reason=row.reason,
        received_at=row.received_at,
        headers=transport["headers"],
        body=vault.open_bytes(row.body, _BODY),
    )


def settle(conn: Connection, ids: Sequence[int], state: str, now: datetime) -> int:
    """Mark held messages `replayed` or `dismissed`; how many were still held. The bytes stay, as evidence."""
    done = conn.execute(
        update(quarantine)
        .where(quarantine.c.id.in_(ids), quarantine.c.state == "held")
        .values(state=state, settled_at=now)
    )
    return done.rowcount


def give_reason(conn: Connection, number: int, reason: str) -> None:
    """A replay failed for a new reason."""
    conn.execute(update(quarantine).where(quarantine.c.id == number).values(reason=reason[:500]))


def _plain(value: object, depth: int = 0) -> Any:
    """A header as JSON has it, whatever a transport made of it: a message must be kept the more is wrong with it."""
    match value:
        case None | bool() | str() | float():
            return value
        case int() if abs(value) < 2**63:
            return value
        case bytes():
            return value.decode(errors="replace")
        case Mapping() if depth < _DEEPEST:
            return {str(_plain(name, _DEEPEST)): _plain(each, depth + 1) for name, each in value.items()}
        case list() | tuple() if depth < _DEEPEST:
            return [_plain(each, depth + 1) for each in value]
        case Mapping() | list() | tuple():
            return "nested deeper than is kept"
        case int():
            return hex(value)
        case _:
            return str(value)
