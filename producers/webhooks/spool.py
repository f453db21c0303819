"""The spool: keeps arrivals on disk, sealed and in order, while the ledger cannot take them.

A directory of files, one per living process and those that dead processes left. What is appended is on the disk before
the future is done; what is taken is taken from the front. docs/decisions/11-one-spool-on-disk.md says why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from domain.ledger.vault import Vault, VaultError
from ops.runtime import metrics
from producers.webhooks.arrivals import Arrival, pack
from producers.webhooks.spool_directory import SpoolDirectory
from producers.webhooks.spool_file import NoSpoolFileError, Record, SpoolFile

_log = structlog.get_logger(__name__)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONTEXT: Final = "spool.record"
#: Bytes after which a new file is begun, so that a long outage gives its disk back piece by piece.
_FULL: Final = 64 * 1024 * 1024


class SpoolError(Exception):
    """The disk did not take it: nothing was kept."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    records: tuple[Record, ...]
    kept: Future[None]


class Spool:
    """First in, first out, on disk. `append` from any thread; the front (`peek`, `advance`, …) from one thread only."""

    def __init__(self, directory: Path, vault: Vault, *, lane: str = "choices") -> None:
        self._directory = SpoolDirectory(directory)
        self._lane = lane
        self._vault = vault
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []
        self._files: list[SpoolFile] = []
        self._own: SpoolFile | None = None
        self._pending = 0
        self._adoptions = 0
        self._is_adopted = self._is_closing = False
        # held while the own file is written to: it must not be closed meanwhile
        self._writing = threading.Lock()
        self._writer = threading.Thread(target=self._run, name="spool", daemon=True)

    @property
    def waiting(self) -> int:
        """Records that were given to us and are not taken yet, those on their way to the disk included."""
        with self._changed:
            return self._pending + sum(file.count for file in self._files)

    @property
    def is_behind(self) -> bool:
        """Whether what comes now must go behind others: some wait, or may wait in what dead processes left."""
        return not self._is_adopted or bool(self.waiting)

    @property
    def adoptions(self) -> int:
        """How often it was looked for what dead processes left."""
        return self._adoptions

    @property
    def aside(self) -> int:
        """Files set aside, of this process and of others in the same directory, and those that will be."""
        with self._changed:
            kept = sum(file.is_kept for file in self._files)
        return kept + len(self._directory.set_aside)

    def start(self) -> None:
        """Begin to take. What dead processes left is not read here, but by `adopt`, however much it is."""
        # without a file there is nothing to be adopted before the first arrival
        self._is_adopted = not self._directory.files and not self._directory.set_aside
        self._writer.start()

    def close(self, timeout: float = 5.0) -> None:
        """Write what is still to be written, and let every file go for the next process."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._writer.join(timeout)
        with self._changed:
            for file in self._files:
                if file is self._own and self._writer.is_alive():
                    # the disk hangs: the end of the process closes it
                    continue
                if file.is_drained and not file.is_kept:
                    file.remove()
                else:
                    file.close()
            self._files, self._own = [], None

    def append(self, arrivals: Sequence[Arrival]) -> Future[None]:
        """Keep these behind everything kept so far. The future is done once they are on the disk.

        It fails with SpoolError if the disk takes none of them.
        """
        records = tuple(Record(_micros(each.at), self._vault.seal(pack(each), _CONTEXT)) for each in arrivals)
        kept: Future[None] = Future()
        with self._changed:
            if self._is_closing:
                kept.set_exception(SpoolError("the process ends"))
                return kept
            self._pending += len(records)
            self._queue.append(_Waiting(records, kept))
            self._changed.notify_all()
        return kept

    def wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Return when something was appended, after `seconds`, or at a `wake` once `is_over()`."""
        with self._changed:
            if not is_over():
                self._changed.wait(seconds)

    def wake(self) -> None:
        """Let who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def peek(self, most: int) -> list[Record]:
        """The first records, at most `most`, all of one file. Raises OSError."""
        while True:
            with self._changed:
                self._drop_drained()
                file = self._files[0] if self._files else None
            if file is None:
                return []
            found = list(islice(file.records(), most))
            if found or file.is_drained:
                return found
            # what can no longer be read cannot be taken; what came after it must not wait for ever
            _log.error("spool_file_damaged", count=file.count)
            self._give_up(file)

    def open(self, record: Record) -> bytes:
        """What was sealed. Raises VaultError."""
        try:
            return self._vault.open_bytes(record.sealed, _CONTEXT)
        except ValueError:
            # shorter than any seal
            raise VaultError("a record is too short to be a sealed one") from None

    def advance(self, records: Sequence[Record]) -> None:
        """These, the first ones, are taken. Raises OSError."""
        with self._changed:
            self._files[0].advance(records)
            self._drop_drained()

    def set_aside(self, record: Record) -> None:
        """Keep this, the first one, in `failed/`, out of the way of those behind it.

        Without room for it there its whole file is moved there, once all others in it were taken. Raises OSError.
        """
        file = self._files[0]
        if not self._directory.keep_aside(record):
            file.is_kept = True
        self.advance([record])

    def take_back(self) -> int:
        """Move what was set aside back, to be tried again; how many files."""
        return self._directory.take_back()

    def adopt(self) -> int:
        """Take over the files that dead processes left here, oldest first; how many records they hold."""
        found = 0
        mine = {file.path for file in self._files}
        for path in self._directory.files:
            if path not in mine:
                found += self._adopt(path)
        self._is_adopted = True
        self._adoptions += 1
        return found

    def trouble(self) -> str | None:
        """Why nothing could be kept now, or None. It tries to write."""
        return self._directory.trouble()

    def show(self, now: datetime) -> None:
        """Set the gauges."""
        metrics.spool.labels(self._lane).set(self.waiting)
        first = self.peek(1)
        age = now - received(first[0]) if first else timedelta()
        metrics.spool_age_seconds.labels(self._lane).set(max(0.0, age.total_seconds()))
        metrics.spool_failed.labels(self._lane).set(self.aside)

    def _adopt(self, path: Path) -> int:
        try:
            file = SpoolFile.adopt(path, self._opens)
            if file is None:
                return 0
        except NoSpoolFileError:
            _log.error("spool_file_unreadable")
            self._directory.put_aside(path)
            return 0
        except OSError as error:
            # it must not keep us from serving; it stays, and is tried again
            _log.error("spool_file_unreadable", code=error.errno)
            return 0
        if file.is_kept:
            _log.error("spool_file_damaged", count=file.count)
        elif file.torn:
            _log.warning("spool_torn_record_dropped", count=1)
        if file.is_drained:
            # at once: it may be one that a neighbour is just making, and waits to lock
            self._let_go(file)
            return 0
        count = file.count
        _log.info("spool_adopted", count=count)
        with self._changed:
            # before our own: it was written before we came
            place = len(self._files) - (1 if self._own in self._files else 0)
            self._files.insert(place, file)
        return count

    def _opens(self, record: Record) -> bool:
        try:
            self.open(record)
        except VaultError:
            return False
        return True

    def _give_up(self, file: SpoolFile) -> None:
        # the writer may be in the middle of it; what it says is kept moves with the file
        with self._writing, self._changed:
            self._files.remove(file)
            if file is self._own:
                self._own = None
            file.is_kept = True
            self._let_go(file)

    def _let_go(self, file: SpoolFile) -> None:
        if file.is_kept:
            self._directory.put_aside(file.path)
            file.close()
        else:
            file.remove()

    def _drop_drained(self) -> None:
        while self._files and self._files[0].is_drained:
            file = self._files[0]
            if file is self._own:
                if self._pending:
                    # more is on its way into it
                    return
                self._own = None
            del self._files[0]
            self._let_go(file)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_closing:
                    self._changed.wait()
                group, self._queue = self._queue, []
            if not group:
                return
            # from here on a request that gives up cannot take its record back
            wanted = [each.kept.set_running_or_notify_cancel() for each in group]
            error = self._write([record for each in group for record in each.records])
            for each, is_wanted in zip(group, wanted, strict=True):
                if is_wanted and error is None:
                    each.kept.set_result(None)
                elif is_wanted:
                    each.kept.set_exception(SpoolError(str(SpoolError.__doc__)))

    def _write(self, records: Sequence[Record]) -> Exception | None:
        try:
            with self._writing:
                self._own_file().append(records)
        except Exception as error:  # noqa: BLE001 - whatever it is: who waits is told, and the next try may work
            _log.error("spool_not_written", count=len(records), error=type(error).__name__)
            return error
        finally:
            with self._changed:
                self._pending -= len(records)
                self._changed.notify_all()
        return None

    def _own_file(self) -> SpoolFile:
        if self._own is None or self._own.end > _FULL:
            file = SpoolFile.create(self._directory.path)
            with self._changed:
                self._own = file
                self._files.append(file)
        return self._own


def received(record: Record) -> datetime:
    """When the record was received (UTC)."""
    return _EPOCH + timedelta(microseconds=record.micros)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
