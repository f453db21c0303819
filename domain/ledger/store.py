"""The store: opens the ledger on PostgreSQL or SQLite and hides where the two differ."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

T = TypeVar("T")

#: Bound parameters of one SQLite statement are limited (32,766); stay well below when chunking value lists.
CHUNK = 500

#: How long a PostgreSQL connection waits: seconds to connect and between keepalives, milliseconds for all else. A
#: server that vanished without a word is noticed within half a minute, and a session that hangs lets its locks go.
#: What the URL itself says (`?options=…&connect_timeout=…`) wins.
_PATIENCE: Final[Mapping[str, str | int]] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": ("-c statement_timeout=60000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"),
}


def open_ledger(url: str, *, pool_size: int = 8, durable: bool = True) -> Engine:
    """An engine for `url` (`postgresql+psycopg://…` or `sqlite:///path`).

    SQLite runs in WAL mode with foreign keys on; write transactions take the lock at their start
    (BEGIN IMMEDIATE), so that a claim never fails half-way on an upgrade from reader to writer.

    Args:
        durable: whether a commit on SQLite outlives a power cut. A claim that does not is sent again after it, and an
            opt-out is forgotten: only a simulation, which is told anew, may go without the wait for the disk.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed, hide_parameters=True, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=pool_size
        )
        event.listen(engine, "connect", partial(_prepare_sqlite, synchronous="FULL" if durable else "OFF"))
        _one_writer(engine)
        return engine
    return create_engine(
        parsed,
        hide_parameters=True,
        connect_args={name: value for name, value in _PATIENCE.items() if name not in parsed.query},
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
    )


@contextmanager
def reading(engine: Engine, *, patient: bool = False) -> Iterator[Connection]:
    """A connection for reads only: on SQLite it takes no write lock.

    `patient`: its statements may take as long as they need. For the audit and the report, which read all history and
    lock nothing; everything else is cut off after a minute on PostgreSQL.
    """
    with engine.connect() as conn:
        reader = conn.execution_options(reading=True)
        with reader.begin():
            if patient and reader.dialect.name == "postgresql":
                reader.execute(text("SET LOCAL statement_timeout = 0"))
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


def _prepare_sqlite(connection: Any, _record: Any, *, synchronous: str) -> None:
    # autocommit at the driver: BEGIN is ours (see _one_writer)
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _one_writer(engine: Engine) -> None:
    """Queue this process's writers on a lock of our own: SQLite's busy handler sleeps, and sleeps ever longer."""
    writing, mine = threading.Lock(), threading.local()

    def begin(conn: Connection) -> None:
        if conn.get_execution_options().get("reading", False):
            _tell_driver(conn, "BEGIN")
            return
        writing.acquire()
        mine.is_writing = True
        try:
            _tell_driver(conn, "BEGIN IMMEDIATE")
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


def _tell_driver(conn: Connection, statement: str) -> None:
    """Run a statement of every transaction without the detour of a compiled one. Raises OperationalError."""
    try:
        _driver(conn).execute(statement)
    except sqlite3.OperationalError as error:
        raise OperationalError(statement, None, error, hide_parameters=True) from error


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection
