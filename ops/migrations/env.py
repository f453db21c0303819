"""Alembic's way in: runs the migrations on the connection it is given, in one transaction."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import BigInteger, Connection, DateTime, LargeBinary, text

from domain.ledger.columns import Instant
from domain.ledger.tables import metadata

#: Any number, the same in every release: two processes that migrate at once take turns.
_MIGRATING = 0x7265_6163


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


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # the ledger's own time-outs are for the fleet: a turn may be long in coming, and an index long in building
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text("SELECT set_config(:name, '0', true)"), {"name": name})
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATING})
        # queries queue behind a waiting migration: it gives up before the fleet stands still
        timeout = {"milliseconds": str(context.config.attributes["lock_timeout_ms"])}
        connection.execute(text("SELECT set_config('lock_timeout', :milliseconds, true)"), timeout)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_item=_render,
        compare_type=True,
        # PostgreSQL and SQLite both roll DDL back: a failed migration leaves nothing half done
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


_migrate(context.config.attributes["connection"])
