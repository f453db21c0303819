"""The session that migrates: one at a time, and none that lets the fleet wait longer than a lock's time-out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, Engine, text

from domain.ledger.store import open_ledger

#: Any number, the same in every release: two processes that migrate at once take turns.
MIGRATING = 0x7265_6163
#: Seconds between two looks whether it is our turn.
_LOOK_AGAIN = 0.5
#: Milliseconds that building an index waits for transactions older than itself; nobody waits for it meanwhile.
_OLDER_TRANSACTIONS = 600_000

Tell = Callable[[str], None]


class MigrationError(Exception):
    """The ledger was not brought up; the sentence says how far it came, why, and what to do."""


class MigrationBlockedError(Exception):
    """Somebody else holds what it needs: try again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a migration on PostgreSQL waits, and makes others wait."""

    lock_timeout: timedelta = timedelta(seconds=2)
    """For a lock: whatever wants the table queues behind it meanwhile."""
    statement: timedelta = timedelta(seconds=20)
    """For a statement under its locks, beyond waiting for them."""
    tries: int = 10
    first_pause: float = 1.0
    """Seconds until the second try; each further one doubles them."""
    longest_pause: float = 15.0
    turn: timedelta = timedelta(minutes=10)
    """For another process that migrates."""

    def pause(self, number: int) -> float:
        """Seconds after the try of this number."""
        return float(min(self.longest_pause, self.first_pause * 2 ** (number - 1)))


#: Beside a fleet at work.
PATIENCE = Patience()


@contextmanager
def session(ledger: Engine | str, patience: Patience, tell: Tell) -> Iterator[Connection]:
    """A connection of its own, in no transaction, that alone may migrate.

    Raises:
        MigrationBlockedError: another process still migrates.
    """
    if isinstance(ledger, Engine) and ledger.dialect.name == "sqlite":
        with ledger.connect() as conn:
            yield conn
        return
    url = ledger if isinstance(ledger, str) else ledger.url.render_as_string(hide_password=False)
    engine = open_ledger(url, pool_size=1)
    try:
        with engine.connect() as conn:
            if conn.dialect.name == "postgresql":
                _take_turn(conn, patience, tell)
                _limit(conn, patience)
            yield conn
    finally:
        # the session's settings and its lock end with it
        engine.dispose()


@contextmanager
def as_online(conn: Connection) -> Iterator[Connection]:
    """Statements that hold nothing which the fleet waits for may take as long as they need."""
    names = ("statement_timeout", "lock_timeout")
    before = [conn.scalar(text("SELECT current_setting(:name)"), {"name": name}) for name in names]
    _set(conn, "statement_timeout", "0")
    _set(conn, "lock_timeout", str(_OLDER_TRANSACTIONS))
    try:
        yield conn
    finally:
        for name, value in zip(names, before, strict=True):
            _set(conn, name, str(value))


def oldest_transaction(conn: Connection) -> str:
    """Who most likely holds the lock: the session of the oldest transaction beside ours. Ids and ages only."""
    row = conn.execute(
        text(
            "SELECT pid, state, extract(epoch FROM clock_timestamp() - xact_start)::int AS age FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            " ORDER BY xact_start LIMIT 1"
        )
    ).one_or_none()
    conn.rollback()
    if row is None:
        return "no other transaction is open by now"
    return f"the oldest open transaction is session {row.pid}'s, {row.age} s old ({row.state})"


def _take_turn(conn: Connection, patience: Patience, tell: Tell) -> None:
    # asked for again and again: a session that waits for it inside a statement would hold up an index being built
    deadline, told = time.monotonic() + patience.turn.total_seconds(), False
    while not conn.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": MIGRATING}):
        conn.rollback()
        if time.monotonic() > deadline:
            raise MigrationBlockedError(
                "another process is migrating this ledger: wait until it has ended, then run it again"
            )
        if not told:
            tell("another process is migrating this ledger: waiting for it")
            told = True
        time.sleep(_LOOK_AGAIN)
    conn.commit()


def _limit(conn: Connection, patience: Patience) -> None:
    """For the whole session: the ledger's own time-outs are for the fleet."""
    lock, statement = (each // timedelta(milliseconds=1) for each in (patience.lock_timeout, patience.statement))
    _set(conn, "lock_timeout", str(lock))
    # waiting for a lock counts as a part of its statement
    _set(conn, "statement_timeout", str(lock + statement))
    _set(conn, "idle_in_transaction_session_timeout", "0")
    conn.commit()


def _set(conn: Connection, name: str, value: str) -> None:
    conn.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})
