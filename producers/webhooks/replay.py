"""The replay: brings what the spool kept into the ledger, in order, as soon as the ledger takes it again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Final

import structlog

from domain.ledger.vault import VaultError
from ops.runtime import metrics
from ops.runtime.clock import Clock
from producers.webhooks.arrival_store import ArrivalStore
from producers.webhooks.arrivals import Arrival, ArrivalError, ReceiptsArrival, unpack
from producers.webhooks.outage import is_away
from producers.webhooks.spool import Spool
from producers.webhooks.spool_file import Record

_log = structlog.get_logger(__name__)

#: Seconds between two tries while the ledger is away: the first, and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
#: Seconds between two looks while nothing comes.
_IDLE_PAUSE = 1.0
#: How often an arrival must be refused for its own sake before it is set aside: what a request left behind may just be
#: committing the same.
TRIES: Final = 3
#: Seconds between two looks for files of processes that died.
_LOOK_ROUND: Final = 10.0
#: Receipts of this many calls are committed together: a busy provider must not send faster than we catch up.
_TOGETHER: Final = 100


class Replay:
    """One thread that empties the spool."""

    def __init__(
        self, spool: Spool, store: ArrivalStore, clock: Clock, *, longest_pause: float = _LONGEST_PAUSE
    ) -> None:
        self._spool = spool
        self._store = store
        self._clock = clock
        self._longest_pause = longest_pause
        self._pause = _FIRST_PAUSE
        self._tries = 0
        self._is_away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)

    def start(self) -> None:
        """Begin to empty it."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end, without waiting for that."""
        self._stop.set()
        self._spool.wake()

    def close(self, timeout: float = 5.0) -> None:
        """End after the arrival being stored; the rest waits on disk for the next process."""
        self.stop()
        self._thread.join(timeout)

    def _run(self) -> None:
        self._take_back()
        looked, shown = -math.inf, time.monotonic()
        while not self._stop.is_set():
            try:
                if time.monotonic() - looked > _LOOK_ROUND:
                    looked = time.monotonic()
                    self._spool.adopt()
                is_idle = not self._round()
                if is_idle or time.monotonic() - shown > 1.0:
                    shown = time.monotonic()
                    self._spool.show(self._clock.now())
            except Exception as error:  # noqa: BLE001 - the disk, or a bug: what is kept must be tried for ever
                _log.error("replay_failed", error=type(error).__name__)
                self._back_off()
            else:
                if is_idle:
                    self._spool.wait(_IDLE_PAUSE, self._stop.is_set)

    def _take_back(self) -> None:
        """Once per process: it may be of another release, or have another key."""
        try:
            count = self._spool.take_back()
        except OSError as error:
            _log.error("replay_failed", error=type(error).__name__)
        else:
            if count:
                _log.info("spool_taken_back", count=count)

    def _round(self) -> bool:
        """Take what stands in front; whether there was anything."""
        records = self._spool.peek(_TOGETHER)
        if not records:
            return False
        first = self._opened(records[0])
        if first is None:
            self._set_aside(records[0], "unreadable", "unreadable")
            return True
        batch = self._receipts_in_front(records) if isinstance(first, ReceiptsArrival) and not self._tries else [first]
        try:
            self._take(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the arrival is kept
            self._fail(records[0], batch, error)
        else:
            self._spool.advance(records[: len(batch)])
            metrics.spool_replayed_total.labels(first.kind, "stored").inc(len(batch))
            self._pause, self._tries = _FIRST_PAUSE, 0
            self._tell(None)
        return True

    def _opened(self, record: Record) -> Arrival | None:
        try:
            return unpack(self._spool.open(record))
        except (VaultError, ArrivalError):
            return None

    def _receipts_in_front(self, records: Sequence[Record]) -> list[Arrival]:
        found: list[Arrival] = []
        for record in records:
            arrival = self._opened(record)
            if not isinstance(arrival, ReceiptsArrival):
                break
            found.append(arrival)
        return found

    def _take(self, batch: Sequence[Arrival]) -> None:
        together = [each for each in batch if isinstance(each, ReceiptsArrival)]
        if together:
            self._store.take_receipts(together)
        else:
            self._store.take(batch[0])

    def _fail(self, record: Record, batch: Sequence[Arrival], error: Exception) -> None:
        """Wait for the ledger, for ever and in order; or, if this one is to blame, try it alone, then set it aside."""
        if is_away(error):
            self._tell(error)
            self._back_off()
            return
        self._tries += 1
        if len(batch) > 1:
            return
        if self._tries > TRIES:
            self._set_aside(record, batch[0].kind, type(error).__name__)
            return
        self._back_off()

    def _set_aside(self, record: Record, kind: str, error: str) -> None:
        self._spool.set_aside(record)
        metrics.spool_replayed_total.labels(kind, "failed").inc()
        _log.error("arrival_set_aside", kind=kind, error=error)
        self._pause, self._tries = _FIRST_PAUSE, 0

    def _tell(self, error: Exception | None) -> None:
        if (error is not None) != self._is_away:
            self._is_away = error is not None
            name = None if error is None else type(error).__name__
            _log.warning("ledger_away" if error else "ledger_back", count=self._spool.waiting, error=name)

    def _back_off(self) -> None:
        self._stop.wait(min(self._pause, self._longest_pause))
        self._pause = min(self._pause * 2, self._longest_pause)
