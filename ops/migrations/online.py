"""What a migration does to big tables while the fleet works: build an index, drop one, fill a column in batches.

None of these holds a lock that a send waits for. Each can be cut off anywhere and is repeated with its migration, which
therefore does nothing else. On SQLite, which has one writer, they are plain statements of the migration's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from alembic import op
from sqlalchemy import Connection, text

from ops.migrations.session import as_online

#: Rows of one batch: some tens of milliseconds of row locks.
BATCH: Final = 1_000

_IS_VALID = text(
    "SELECT index.indisvalid FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indexrelid"
    " WHERE class.relname = :name AND pg_table_is_visible(class.oid)"
)


def create_index(name: str, table: str, columns: Sequence[Any], *, unique: bool = False, where: str = "") -> None:
    """Build an index, on PostgreSQL beside the fleet's writes; what an interrupted build left is dropped first."""
    options: dict[str, Any] = {}
    if where:
        options = {"sqlite_where": text(where), "postgresql_where": text(where)}
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(name, table, list(columns), unique=unique, if_not_exists=True, **options)
        return
    with op.get_context().autocommit_block(), as_online(op.get_bind()) as conn:
        is_valid = conn.scalar(_IS_VALID, {"name": name})
        if is_valid:
            return
        if is_valid is not None:
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(name, table, list(columns), unique=unique, postgresql_concurrently=True, **options)


def drop_index(name: str, table: str) -> None:
    """Drop an index, on PostgreSQL without a lock that anybody waits for."""
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index(name, table, if_exists=True)
        return
    with op.get_context().autocommit_block(), as_online(op.get_bind()):
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


def backfill(table: str, assignment: str, where: str, *, key: str = "id", batch: int = BATCH) -> None:
    """`UPDATE table SET assignment WHERE where`, so many keys at a time, each batch committed by itself.

    `where` must be false of a row that was filled: a run that was cut off goes on where it stopped. All of it is the
    migration's own SQL, never anybody's input.
    """
    update = text(f"UPDATE {table} SET {assignment} WHERE {key} BETWEEN :first AND :last AND ({where})")  # noqa: S608 - the migration's own words
    bounds = text(f"SELECT min({key}), max({key}) FROM {table} WHERE {where}")  # noqa: S608 - as above
    if op.get_bind().dialect.name == "sqlite":
        _in_batches(op.get_bind(), update, bounds, batch)
        return
    with op.get_context().autocommit_block(), as_online(op.get_bind()) as conn:
        _in_batches(conn, update, bounds, batch)


def _in_batches(conn: Connection, update: Any, bounds: Any, batch: int) -> None:
    first, last = conn.execute(bounds).one()
    while first is not None and first <= last:
        conn.execute(update, {"first": first, "last": first + batch - 1})
        first += batch
