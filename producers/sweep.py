"""The sweep: what the broker forgot, what ran out of time, and what only a person can settle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection, Engine

from domain import jobs
from domain.jobs import Job
from domain.ledger import (
    agenda,
    asking,
    campaigns,
    enrolling,
    finishes,
    listeners,
    receipts,
    reconciling,
    replies,
    reviews,
    rooms,
    touches,
)
from domain.ledger.store import reading
from domain.ledger.transactions import transact
from domain.rules.rulebook import Rulebook
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
    rules: Rulebook
    enqueue: Callable[[Job], None]
    means_opted_out: Callable[[str, str], bool]
    """Whether a channel's error code says that the recipient opted out at the provider."""
    asks: Collection[str] = ()
    """Providers that can be asked what became of a send."""
    _receipts_passed: int = field(default=0, init=False)
    _replies_passed: int = field(default=0, init=False)

    def run(self, now: datetime) -> int:
        """One round; how many rows it moved (repeated hints move none)."""
        with metrics.sweep_seconds.time():
            transact(self.engine, listeners.note_silence)
            self._hint_again(now)
            return self._mend(now)

    def review(self, now: datetime) -> int:
        """Graduate, remind and finish a batch of the enrolments whose review is due; how many, 0 when none is left."""
        return transact(self.engine, lambda conn: reviews.review(conn, dict(self.systems), self.rules, now))

    def reconsider(self, after: int) -> int | None:
        """A batch of the lapses whose patients could not be reached: those who now can are owed another decision.

        Begins beyond the lapse `after`; returns where to go on, None when all were looked at.
        """
        return transact(self.engine, lambda conn: enrolling.reconsider(conn, self.systems, after))

    def reconcile(self, now: datetime) -> int:
        """Compare our opt-outs with the providers' refusals and mend what differs; how many were missing."""
        found = reconciling.with_refusals(self.engine, self.means_opted_out, now)
        if found.missing:
            log.error("opt_outs_missed", count=found.missing)
        return found.missing

    def let_in(self, now: datetime) -> int:
        """Owe lapses that waited for room at their site another decision, as far as there is room today; how many."""
        return transact(self.engine, lambda conn: rooms.let_in(conn, campaigns.running(conn), now))

    def _mend(self, now: datetime) -> int:
        with reading(self.engine) as conn:
            astray = agenda.astray(conn, now, now - FORGOTTEN)
        mends = (
            (astray.lost, finishes.reap),
            (astray.expired, touches.expire),
            (astray.unsettled, finishes.hand_to_person),
            (astray.forgotten and bool(self.systems), self._enrol),
        )
        # a transaction each: together they would lock patients after touches, against the order of the house
        mended = sum(transact(self.engine, partial(mend, now=now)) for is_needed, mend in mends if is_needed)
        return mended + (self._ask(now) if astray.unasked and self.asks else 0)

    def _ask(self, now: datetime) -> int:
        """Have a few providers asked about what nobody knows; the bound keeps questions a small share of all calls."""
        ids = transact(self.engine, lambda conn: asking.take_due(conn, self.asks, now))
        try:
            if ids:
                self.enqueue(jobs.ask_providers(tuple(ids)))
        except BrokerUnavailable as error:
            log.warning("questions_lost", error=type(error).__name__)
        return len(ids)

    def _enrol(self, conn: Connection, now: datetime) -> int:
        forgotten = enrolling.undecided(conn, now - FORGOTTEN)
        if forgotten:
            enrolling.enrol_lapses(conn, forgotten, self.systems, self.rules, now)
        return len(forgotten)

    def _hint_again(self, now: datetime) -> None:
        before = now - FORGOTTEN
        with reading(self.engine) as conn:
            receipt_ids = receipts.waiting(conn, before, MOST_HINTS, self._receipts_passed)
            reply_ids = replies.waiting(conn, before, MOST_HINTS, self._replies_passed)
        # rows that no worker can settle yet (receipts of unknown attempts) must not hide those behind them
        self._receipts_passed = _passed(self._receipts_passed, receipt_ids)
        self._replies_passed = _passed(self._replies_passed, reply_ids)
        try:
            for make, ids in ((jobs.apply_receipts, receipt_ids), (jobs.read_replies, reply_ids)):
                for start in range(0, len(ids), jobs.BATCH):
                    self.enqueue(make(tuple(ids[start : start + jobs.BATCH])))
        except BrokerUnavailable as error:
            log.warning("hints_lost", error=type(error).__name__)


def _passed(before: int, ids: Sequence[int]) -> int:
    """How many of the oldest rows the next round passes over: it goes on where this one ended, then starts again."""
    return before + len(ids) if len(ids) == MOST_HINTS else 0
