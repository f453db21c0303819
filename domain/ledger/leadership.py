"""Leadership: at most one clock process acts on a ledger at a time; the others stand by."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

#: One advisory lock per ledger; any constant nobody else uses.
_LOCK = 7_264_833_019


class Lead(Protocol):
    """A claim to lead."""

    def holds(self) -> bool:
        """Whether this process leads right now; tries to take the lead if it is free."""
        ...


@contextmanager
def candidate(engine: Engine) -> Iterator[Lead]:
    """Stand for leader of this ledger: an advisory lock on PostgreSQL, a lock file beside a SQLite ledger.

    Both are let go by the system when the process dies, however it dies.
    """
    lead: _FileLead | _AdvisoryLead
    lead = (
        _FileLead(Path(f"{engine.url.database}.leader")) if engine.dialect.name == "sqlite" else _AdvisoryLead(engine)
    )
    try:
        yield lead
    finally:
        lead.release()


class _AdvisoryLead:
    """Held by a connection of its own; a broken connection is a lost lead."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._conn: Connection | None = None

    def holds(self) -> bool:
        try:
            if self._conn is not None:
                self._conn.execute(text("SELECT 1"))
                return True
            return self._take()
        except DBAPIError:
            self.release()
            raise

    def _take(self) -> bool:
        conn = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if conn.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            self._conn = conn
            return True
        conn.close()
        return False

    def release(self) -> None:
        if self._conn is not None:
            # the lock belongs to the session: end it, do not hand it back to the pool
            self._conn.invalidate()
            self._conn.close()
            self._conn = None


class _FileLead:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def holds(self) -> bool:
        if self._file is not None:
            return True
        file = self._path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
