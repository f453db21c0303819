"""Which events and which import files were taken in: repeats change nothing, an interrupted import resumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, Integer, String, Table, UniqueConstraint, select, update

from domain.ledger import store
from domain.ledger.columns import Id, Instant, id_column, metadata, ref

#: One row per CloudEvent taken: `source` + `id` identify it. `result`: applied | stale | ignored | quarantined.
event_seen = Table(
    "event_seen",
    metadata,
    Column("source", String(200), primary_key=True),
    Column("event_id", String(200), primary_key=True),
    Column("type", String(64), nullable=False),
    Column("result", String(16), nullable=False),
    Column("received_at", Instant, nullable=False),
)

#: One row per file of an import; identified by content, so the same file is never taken twice.
import_file = Table(
    "import_file",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    Column("name", String(300), nullable=False),
    Column("checksum", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    #: Lines already committed; a resumed import skips them.
    Column("lines_done", Id, nullable=False, default=0),
    Column("taken", Integer, nullable=False, default=0),
    Column("stale", Integer, nullable=False, default=0),
    Column("ignored", Integer, nullable=False, default=0),
    Column("rejected", Integer, nullable=False, default=0),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    UniqueConstraint("organisation_id", "checksum", "kind"),
)

import_reject = Table(
    "import_reject",
    metadata,
    id_column(),
    ref("import_file_id", "import_file", index=True),
    Column("line", Id, nullable=False),
    Column("field", String(100), nullable=False),
    #: Without the offending value.
    Column("reason", String(300), nullable=False),
    UniqueConstraint("import_file_id", "line", "field"),
)


@dataclass(frozen=True, slots=True)
class FileState:
    """How far an import file has been taken; lines = taken + stale + ignored + rejected, always."""

    id: int
    lines_done: int
    taken: int
    stale: int
    ignored: int
    rejected: int
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Reject:
    """A field (or a whole line) of an import file that was not taken, without its value."""

    line: int
    field: str
    reason: str


def open_file(conn: Connection, organisation_id: int, name: str, checksum: str, kind: str, now: datetime) -> FileState:
    """The state of this file's import; begun now where it never was."""
    conn.execute(
        store.insert(conn, import_file).on_conflict_do_nothing(),
        {
            "organisation_id": organisation_id,
            "name": name[-300:],
            "checksum": checksum,
            "kind": kind,
            "started_at": now,
        },
    )
    row = conn.execute(
        select(import_file).where(
            import_file.c.organisation_id == organisation_id,
            import_file.c.checksum == checksum,
            import_file.c.kind == kind,
        )
    ).one()
    return FileState(row.id, row.lines_done, row.taken, row.stale, row.ignored, row.rejected, row.finished_at)


def advance(conn: Connection, before: FileState, after: FileState, rejects: Sequence[Reject]) -> bool:
    """Record that a batch was taken, in its own transaction. False: another import of this file did it first."""
    moved = conn.execute(
        update(import_file)
        .where(import_file.c.id == before.id, import_file.c.lines_done == before.lines_done)
        .values(
            lines_done=after.lines_done,
            taken=after.taken,
            stale=after.stale,
            ignored=after.ignored,
            rejected=after.rejected,
            finished_at=after.finished_at,
        )
    )
    if rejects:
        conn.execute(
            store.insert(conn, import_reject).on_conflict_do_nothing(),
            [
                {"import_file_id": before.id, "line": each.line, "field": each.field[:100], "reason": each.reason[:300]}
                for each in rejects
            ],
        )
    return moved.rowcount == 1


def rejects_of(conn: Connection, file_id: int, limit: int) -> list[Reject]:
    """The first `limit` rejects of an import file, by line."""
    columns = import_reject.c
    rows = conn.execute(
        select(columns.line, columns.field, columns.reason)
        .where(columns.import_file_id == file_id)
        .order_by(columns.line, columns.field)
        .limit(limit)
    )
    return [Reject(*row) for row in rows]
