"""Alembic's way in: runs the migrations on the connection it is given, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import BigInteger, Connection, DateTime, LargeBinary, inspect

from domain.ledger import schema_steps
from domain.ledger.columns import Instant
from domain.ledger.tables import metadata
from ops.migrations.steps import step_of


def _render(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Write our column types by the names that script.py.mako gives them: a migration never changes with our code."""
    if kind != "type":
        return False
    if isinstance(value, Instant):
        return "Instant"
    if isinstance(value, BigInteger):
        return "Id"
    if isinstance(value, LargeBinary):
        return "sa.LargeBinary()"
    if isinstance(value, DateTime):
        raise TypeError("the ledger keeps instants as Instant, never as a bare DateTime")
    return False


def _record(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001 - alembic passes it by name
    run_args: Mapping[str, Any],  # noqa: ARG001 - as above
) -> None:
    """Keep the step's kind beside its revision, in the step's own transaction: older code goes by it."""
    conn = ctx.connection
    for script in step.up_revisions:
        if conn is None or not isinstance(script, Script):
            raise TypeError("a migration runs on a connection, and comes from a file")
        if step.is_upgrade:
            schema_steps.record(conn, step_of(script), datetime.now(UTC))
        elif inspect(conn).has_table("schema_step"):
            schema_steps.forget(conn, script.revision)


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_item=_render,
        compare_type=True,
        # PostgreSQL and SQLite both roll DDL back: a step that failed leaves nothing half done
        transactional_ddl=True,
        transaction_per_migration=True,
        on_version_apply=_record,
    )
    with context.begin_transaction():
        context.run_migrations()


_migrate(context.config.attributes["connection"])
