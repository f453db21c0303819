"""The lanes: what patients choose and what providers report wait on disk apart, and each is replayed by itself."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from domain.ledger.vault import Vault
from ops.runtime.clock import Clock
from producers.webhooks.arrival_store import ArrivalStore
from producers.webhooks.beat import Beat
from producers.webhooks.replay import Replay
from producers.webhooks.spool import Spool


class Lanes:
    """A spool for choices and one for receipts below it, and the threads that empty them into the store."""

    def __init__(
        self, directory: Path, vault: Vault, store: ArrivalStore, clock: Clock, heard_by: Engine | None = None
    ) -> None:
        """`heard_by`: the ledger that is told whether choices wait; None = nobody, so that outreach does not wait."""
        self.choices = Spool(directory, vault)
        self.receipts = Spool(directory / "receipts", vault, lane="receipts")
        self._replays = [Replay(spool, store, clock) for spool in (self.choices, self.receipts)]
        self._beat = None if heard_by is None else Beat(heard_by, self.choices, directory)

    def start(self) -> None:
        """Begin to keep, and to empty."""
        for spool in (self.choices, self.receipts):
            spool.start()
        for replay in self._replays:
            replay.start()
        if self._beat is not None:
            self._beat.start()

    def close(self) -> None:
        """End both, first what empties; what is left waits on disk for the next process. May take some seconds."""
        for replay in self._replays:
            replay.stop()
        for replay in self._replays:
            replay.close()
        if self._beat is not None:
            self._beat.close()
        for spool in (self.choices, self.receipts):
            spool.close()
