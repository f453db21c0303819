"""The store: opens the ledger on PostgreSQL or SQLite and hides where the two differ."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url

T = TypeVar("T")

#: Bound parameters of one SQLite statement are limited (32,766); stay well below when chunking value lists.
CHUNK = 500


def open_ledger(url: str, *, pool_size: int = 8) -> Engine:
    """An engine for `url` (`postgresql+psycopg://…` or `sqlite:///path`).

    SQLite runs in WAL mode with foreign keys on; write transactions take the lock at their start
    (BEGIN IMMEDIATE), so that a claim never fails half-way on an upgrade from reader to writer.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed, hide_parameters=True, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=pool_size
        )
        event.listen(engine, "connect", _prepare_sqlite)
        _one_writer(engine)
        return engine
    return create_engine(parsed, hide_parameters=True, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for reads only: on SQLite it takes no write lock."""
    with engine.connect() as conn:
        reader = conn.execution_options(reading=True)
        with reader.begin():
            yield reader


def insert(conn: Connection, table: Any) -> Any:
    """The dialect's INSERT, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return insert_on(conn.dialect.name, table)


def insert_on(dialect: str, table: Any) -> Any:
    """The same by the dialect's name: for statements that are built once per dialect and kept."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """`items` in slices small enough for one statement's parameters."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # autocommit at the driver: BEGIN is ours (see _one_writer)
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _one_writer(engine: Engine) -> None:
    """Queue this process's writers on a lock of our own: SQLite's busy handler sleeps, and sleeps ever longer."""
    writing, mine = threading.Lock(), threading.local()

    def begin(conn: Connection) -> None:
        if conn.get_execution_options().get("reading", False):
            conn.exec_driver_sql("BEGIN")
            return
        writing.acquire()
        mine.is_writing = True
        try:
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        except BaseException:
            end()
            raise

    # `commit` and `rollback` fire before the driver is told: the lock is let go once the transaction really ended
    def commit(conn: Connection) -> None:
        _driver(conn).commit()
        end()

    def rollback(conn: Connection) -> None:
        if not conn.invalidated:
            _driver(conn).rollback()
        end()

    def end() -> None:
        if getattr(mine, "is_writing", False):
            mine.is_writing = False
            writing.release()

    for name, listener in (("begin", begin), ("commit", commit), ("rollback", rollback)):
        event.listen(engine, name, listener)


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection
