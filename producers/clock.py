"""The clock: the rounds in which one leading process scans, dispatches, sweeps and publishes what is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError, OperationalError

from domain.ledger import agenda, heartbeat, leadership, touches
from domain.ledger.appointments import care
from domain.ledger.enrolments import enrolment
from domain.ledger.heartbeat import Beat
from domain.ledger.store import reading
from domain.rules import ramp
from ops.runtime import metrics
from ops.runtime.bus_contract import BusError
from ops.runtime.clock import Clock
from producers import gauges
from producers.dispatch import Dispatcher
from producers.sweep import Sweep

log = structlog.get_logger(__name__)

#: Name of the clock's heartbeat row.
CLOCK = "clock"

#: Between two sweeps.
SWEEP_EVERY = timedelta(seconds=10)

#: Seconds of real time between two looks at the gauges, and between two audits.
OBSERVE_EVERY, AUDIT_EVERY = 15.0, 3600.0

#: Between two looks at the lapses whose patients could not be reached; each reads all of those.
RECONSIDER_EVERY = timedelta(days=1)

#: Between two comparisons of our opt-outs with what providers refuse; each reads all refusals.
RECONCILE_EVERY = timedelta(days=1)

#: Batches of lapses, and of reviews, that one round looks at.
MOST_BATCHES = 5

#: After a round in which more was due than the limits allow.
_SOON = timedelta(seconds=1)

_NEXT_SCAN = select(func.min(care.c.scan_at)).where(care.c.scan_at.is_not(None))
_NEXT_REVIEW = select(func.min(enrolment.c.review_at)).where(enrolment.c.review_at.is_not(None))

_NEVER = datetime.max.replace(tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Rounds:
    """Everything one leader does, round by round."""

    engine: Engine
    dispatcher: Dispatcher
    sweep: Sweep
    scan: Callable[[datetime], int]
    """Notices a batch of lapses; 0 when none are left."""
    relay: Callable[[datetime], int]
    """Publishes a batch of the outbox."""
    scan_every: timedelta
    """Scans and reviews run at multiples of this since 1970 (UTC)."""
    _swept_at: datetime | None = field(default=None, init=False)
    _scanned: int | None = field(default=None, init=False)
    _expected: datetime | None = field(default=None, init=False)
    """When the next round is wanted at the latest; None = as the last leader left it."""
    _reconciled_at: datetime | None = field(default=None, init=False)
    _reconsidered_at: datetime | None = field(default=None, init=False)
    _reconsidering: int | None = field(default=None, init=False)

    def run(self, now: datetime) -> int:
        """One round at `now`; how many things it did, 0 when there is nothing left to do at this instant.

        What there is much of (lapses, reviews, events) is taken in bounded portions: due touches and answers are
        handed out in every round, however long the rest takes.
        """
        self._notice_an_outage(now)
        did = 0
        for part in (self._look_around, self._reconsider, self._reconcile, self._mend):
            try:
                did += part(now)
            except OperationalError as error:
                # a row that somebody holds for long, a statement that was cut off: what is due goes out all the same
                log.warning("round_cut_short", part=part.__name__.strip("_"), error=type(error.orig).__name__)
        did += self._hand_out(now)
        self._expected = now
        return did

    def next_at(self, now: datetime) -> datetime | None:
        """The next instant, after `now`, at which a round will find something to do; None if nothing is scheduled."""
        with reading(self.engine) as conn:
            due = touches.next_due(conn)
            scan = conn.scalar(_NEXT_SCAN)
            review = conn.scalar(_NEXT_REVIEW)
        instants = [] if due is None else [max(due, now + _SOON)]
        instants += [self._slot_from(max(each, now)) for each in (scan, review) if each is not None]
        found = min(instants, default=None)
        self._expected = _NEVER if found is None else found
        return found

    def _notice_an_outage(self, now: datetime) -> None:
        """Nobody led for long, or the ledger was away: what became due meanwhile is caught up with slowly."""
        if self._expected is None:
            with reading(self.engine) as conn:
                before = heartbeat.last(conn, CLOCK)
            self._expected = now if before is None else _expected_after(before)
        if ramp.is_outage(self._expected, now):
            self.dispatcher.catch_up(now)

    def _slot_from(self, instant: datetime) -> datetime:
        """The next scan instant at or after `instant`; after this round's, if that has already run."""
        slot = -((_EPOCH - instant) // self.scan_every)
        if self._scanned is not None and slot <= self._scanned:
            slot = self._scanned + 1
        return _EPOCH + slot * self.scan_every

    def _look_around(self, now: datetime) -> int:
        """Scan and review, a portion of each per round, until this slot's are done."""
        slot = (now - _EPOCH) // self.scan_every
        if slot == self._scanned:
            return 0
        done, is_over = 0, True
        for work in (self.scan, self.sweep.review):
            for _ in range(MOST_BATCHES):
                batch = work(now)
                done += batch
                if not batch:
                    break
            else:
                is_over = False
        if is_over:
            # after the scan: what it found has been told, and takes its turn with those who wait
            done += self.sweep.let_in(now)
            self._scanned = slot
        return done

    def _reconsider(self, now: datetime) -> int:
        """Once a day: a patient who could not be reached may have left a number since, or a channel was set up."""
        if self._reconsidering is None:
            if self._reconsidered_at is not None and now - self._reconsidered_at < RECONSIDER_EVERY:
                return 0
            self._reconsidered_at, self._reconsidering = now, 0
        self._reconsidering = self.sweep.reconsider(self._reconsidering)
        return 0 if self._reconsidering is None else 1

    def _reconcile(self, now: datetime) -> int:
        if self._reconciled_at is not None and now - self._reconciled_at < RECONCILE_EVERY:
            return 0
        # one that is cut off is not begun again in every round
        self._reconciled_at = now
        return self.sweep.reconcile(now)

    def _mend(self, now: datetime) -> int:
        if self._swept_at is not None and now - self._swept_at < SWEEP_EVERY:
            return 0
        did = self.sweep.run(now)
        self._swept_at = now
        return did

    def _hand_out(self, now: datetime) -> int:
        with reading(self.engine) as conn:
            due = agenda.due(conn, self.dispatcher.channels, now)
        did = self.dispatcher.run(due.channels, now)
        return did + (self._publish(now) if due.to_publish else 0)

    def _publish(self, now: datetime) -> int:
        try:
            return self.relay(now)
        except BusError as error:
            # events stay in the outbox; everything else goes on
            log.warning("bus_away", error=type(error).__name__)
            return 0


def _expected_after(before: Beat) -> datetime:
    """When a round was wanted after that one; one that did nothing tells when there will be something to do."""
    return before.at if before.did else before.next_at or _NEVER


def run_clock(rounds: Rounds, clock: Clock, stop: threading.Event, *, pause: float) -> None:
    """Lead, or stand by until the leader is gone, round after round until `stop` is set.

    `pause` is in seconds of real time. A database or broker that is away is waited for; every row is still there
    afterwards.
    """
    round_number = 0
    led: bool | None = None
    watch = _Watch(rounds, clock)
    with leadership.candidate(rounds.engine) as lead:
        while not stop.is_set():
            try:
                is_leader = lead.holds()
                if is_leader and clock.allows(round_number + 1):
                    round_number += 1
                    _round(rounds, clock, round_number)
                    watch.look()
            except DBAPIError as error:
                log.warning("clock_waits_for_database", error=type(error).__name__)
                is_leader, led = False, None
            else:
                if is_leader and not led:
                    log.info("clock_leads")
                elif led is not False and not is_leader:
                    log.info("clock_stands_by", why="another clock process leads this ledger")
                led = is_leader
            metrics.clock_leader.set(1 if is_leader else 0)
            stop.wait(pause if is_leader else max(pause, 1.0))


def _round(rounds: Rounds, clock: Clock, number: int) -> None:
    now = clock.now()
    did = rounds.run(now)
    next_at = rounds.next_at(now) if did == 0 else None
    with rounds.engine.begin() as conn:
        heartbeat.beat(conn, CLOCK, Beat(now, number, did, next_at))


class _Watch:
    """Shows the leader's gauges every few seconds of real time, and the audit's counts every hour."""

    def __init__(self, rounds: Rounds, clock: Clock) -> None:
        self._rounds = rounds
        self._clock = clock
        self._observed = time.monotonic() - OBSERVE_EVERY
        self._audited = time.monotonic()
        self._auditing = threading.Thread()

    def look(self) -> None:
        """Observe or audit, if it is time."""
        elapsed = time.monotonic()
        if elapsed - self._observed >= OBSERVE_EVERY:
            self._observed = elapsed
            gauges.observe(self._rounds.engine, list(self._rounds.dispatcher.channels), self._clock.now())
        if elapsed - self._audited >= AUDIT_EVERY and not self._auditing.is_alive():
            self._audited = elapsed
            self._auditing = threading.Thread(target=self._audit, name="audit", daemon=True)
            self._auditing.start()

    def _audit(self) -> None:
        try:
            gauges.check_promises(self._rounds.engine, self._clock.now(), self._rounds.sweep.rules.declared)
        except DBAPIError as error:
            log.warning("audit_waits_for_database", error=type(error).__name__)
