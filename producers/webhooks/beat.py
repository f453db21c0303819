"""The beat: tells the ledger every second whether choices wait on this process's disk; outreach waits for them.

docs/decisions/14-outreach-waits-for-kept-choices.md says why. Each process holds a lock file beside its spool for as
long as it lives: whoever shares the directory and gets the lock of another knows that it is dead, and speaks for it
once what it left is adopted.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from domain.ledger import listeners
from domain.ledger.transactions import transact
from producers.webhooks.spool import Spool
from producers.webhooks.spool_file import make_directory

_log = structlog.get_logger(__name__)

_SUFFIX: Final = ".listener"
#: Seconds between two looks for locks of processes that died.
_LOOK_ROUND: Final = 5.0


class Beat:
    """One thread that speaks for one process, and for those that died in the same directory."""

    def __init__(self, engine: Engine, spool: Spool, directory: Path) -> None:
        self._engine = engine
        self._spool = spool
        self._directory = directory
        self._id = uuid.uuid4().hex
        self._lock: int | None = None
        # dead process -> the lock we hold of it, and how often the spool had been adopted by then
        self._dead: dict[str, tuple[int, int]] = {}
        self._is_heard = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Say goodbye, unless something is left on the disk: then outreach waits for whoever takes it over.

        Call it after the spool's replay has ended, and before the spool is closed.
        """
        self._stop.set()
        self._spool.wake()
        self._thread.join(timeout)
        if not self._spool.is_behind and self._tell(is_last=True):
            self._let_go([self._id])
        for lock, _ in self._dead.values():
            os.close(lock)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self) -> None:
        looked = float("-inf")
        while not self._stop.is_set():
            if time.monotonic() - looked > _LOOK_ROUND:
                looked = time.monotonic()
                self._look()
            was_behind = self._spool.is_behind
            self._tell()
            if was_behind == self._spool.is_behind:
                # what is kept meanwhile wakes us
                self._spool.wait(listeners.BEAT_EVERY.total_seconds(), self._stop.is_set)

    def _look(self) -> None:
        """Hold our own lock, and take those of the dead."""
        try:
            make_directory(self._directory)
            if self._lock is None:
                self._lock = _locked(self._directory / f"{self._id}{_SUFFIX}")
            for path in self._directory.glob(f"*{_SUFFIX}"):
                if path.stem != self._id and path.stem not in self._dead:
                    lock = _locked(path)
                    if lock is not None:
                        self._dead[path.stem] = lock, self._spool.adoptions
        except OSError as error:
            _log.error("listener_not_locked", code=error.errno)

    def _tell(self, *, is_last: bool = False) -> bool:
        # two: one may have been under way when its lock was taken
        buried = [id_ for id_, (_, adoptions) in self._dead.items() if self._spool.adoptions >= adoptions + 2]
        is_behind = self._spool.is_behind

        def tell(conn: Connection) -> None:
            listeners.beat(conn, self._id, is_behind=is_behind)
            listeners.close(conn, [*buried, self._id] if is_last else buried)

        try:
            transact(self._engine, tell)
        except SQLAlchemyError as error:
            if self._is_heard:
                _log.warning("listener_not_heard", error=type(error).__name__)
            self._is_heard = False
            return False
        self._is_heard = True
        self._let_go(buried)
        return True

    def _let_go(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            (self._directory / f"{id_}{_SUFFIX}").unlink(missing_ok=True)
            lock, _ = self._dead.pop(id_, (None, 0))
            if lock is not None:
                os.close(lock)


def _locked(path: Path) -> int | None:
    """The descriptor of a file that nobody else holds, now locked; None if somebody does. Raises OSError."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
