"""Brings a ledger to the newest schema, and says where it stands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from domain.ledger.store import open_ledger
from domain.ledger.tables import metadata

#: How long a migration waits for a lock on PostgreSQL: queries queue behind it meanwhile.
LOCK_TIMEOUT = timedelta(seconds=5)

_HERE = Path(__file__).parent


def upgrade(ledger: Engine | str, revision: str = "head", *, lock_timeout: timedelta = LOCK_TIMEOUT) -> bool:
    """Bring `ledger` (an engine or a URL) to `revision`, in one transaction; whether there was anything to do.

    Raises:
        sqlalchemy.exc.OperationalError: PostgreSQL did not give a lock within `lock_timeout`; nothing was changed.
    """
    with _Borrowed(ledger) as engine, engine.begin() as conn:
        before = current(conn)
        command.upgrade(config_for(conn, lock_timeout), revision)
        return current(conn) != before


def downgrade(ledger: Engine | str, revision: str, *, lock_timeout: timedelta = LOCK_TIMEOUT) -> None:
    """Take `ledger` back to `revision` (`base` = empty, every row gone). Raises as `upgrade` does."""
    with _Borrowed(ledger) as engine, engine.begin() as conn:
        command.downgrade(config_for(conn, lock_timeout), revision)


def current(conn: Connection) -> str | None:
    """The revision the ledger is at; None before the first migration."""
    return MigrationContext.configure(conn).get_current_revision()


def newest() -> str:
    """The revision this code expects.

    Raises:
        RuntimeError: there is no single newest migration.
    """
    head = ScriptDirectory.from_config(config_for(None)).get_current_head()
    if head is None:
        raise RuntimeError("there is no migration")
    return head


def differences(conn: Connection) -> list[Any]:
    """What the tables in code have that the migrated ledger has not, and the reverse; empty when they agree."""
    context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def config_for(conn: Connection | None, lock_timeout: timedelta = LOCK_TIMEOUT) -> Config:
    """Alembic's configuration for migrating on `conn`; None = only to look at the migrations."""
    config = Config()
    # percent signs would be read as interpolation
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = conn
    config.attributes["lock_timeout_ms"] = lock_timeout // timedelta(milliseconds=1)
    return config


class _Borrowed:
    """An engine for a URL, disposed at the end; an engine that was given stays open."""

    def __init__(self, ledger: Engine | str) -> None:
        self._own = isinstance(ledger, str)
        self._engine = open_ledger(ledger) if isinstance(ledger, str) else ledger

    def __enter__(self) -> Engine:
        return self._engine

    def __exit__(self, *_error: object) -> None:
        if self._own:
            self._engine.dispose()
