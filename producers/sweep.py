"""The sweep: what the broker forgot, what ran out of time, and what only a person can settle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Engine

from domain import jobs
from domain.jobs import Job
from domain.ledger import enrolling, finishes, receipts, replies, reviews, touches
from domain.ledger.store import reading
from ops.runtime import metrics
from ops.runtime.amqp import BrokerUnavailable

log = structlog.get_logger(__name__)

#: A row that no worker has handled after so long has lost its hint.
FORGOTTEN = timedelta(seconds=30)

#: Hints repeated per round and kind; the next round goes on where this one ended.
MOST_HINTS = 1000


@dataclass
class Sweep:
    """One leader's sweep; each run is a few indexed statements when there is nothing to do."""

    engine: Engine
    systems: Mapping[str, str]
    enqueue: Callable[[Job], None]

    def run(self, now: datetime) -> int:
        """One round; how many rows it moved (repeated hints move none)."""
        with metrics.sweep_seconds.time():
            self._hint_again(now)
            return self._mend(now)

    def review(self, now: datetime) -> int:
        """Graduate, remind and finish the enrolments whose review is due; how many."""
        done = 0
        while True:
            with self.engine.begin() as conn:
                reviewed = reviews.review(conn, dict(self.systems), now)
            done += reviewed
            if not reviewed:
                return done

    def _mend(self, now: datetime) -> int:
        with self.engine.begin() as conn:
            reaped = finishes.reap(conn, now)
            expired = touches.expire(conn, now)
            handed = finishes.hand_to_person(conn, now)
            forgotten = enrolling.undecided(conn, now - FORGOTTEN) if self.systems else ()
            if forgotten:
                enrolling.enrol_lapses(conn, forgotten, self.systems, now)
        return reaped + expired + handed + len(forgotten)

    def _hint_again(self, now: datetime) -> None:
        with reading(self.engine) as conn:
            receipt_ids = receipts.waiting(conn, now - FORGOTTEN, MOST_HINTS)
            reply_ids = replies.waiting(conn, now - FORGOTTEN, MOST_HINTS)
        try:
            for make, ids in ((jobs.apply_receipts, receipt_ids), (jobs.read_replies, reply_ids)):
                for start in range(0, len(ids), jobs.BATCH):
                    self.enqueue(make(tuple(ids[start : start + jobs.BATCH])))
        except BrokerUnavailable as error:
            log.warning("hints_lost", error=type(error).__name__)
