"""Intake: events from the bus or over HTTP become facts of the ledger, each once; what cannot is kept in quarantine.

A batch is split by subject, each part one transaction that notes the events and applies them. If a part fails, its
halves are tried, down to the event that is to blame. If it fails twice by itself it goes to quarantine: one bad event
never stops the others.
Only a ledger that cannot be reached stops everything, and then nothing is acknowledged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ResourceClosedError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.events.contract import TYPES
from domain.events.envelope import STRUCTURED, EventProblem, is_batch, split_batch
from domain.ledger import events_seen, outbox, quarantine
from domain.ledger.events_seen import EventKey
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault
from ops.runtime import metrics
from ops.runtime.amqp import BrokerUnavailable
from ops.runtime.bus import BusMessage
from ops.runtime.clock import Clock
from workers.intake_items import HTTP, REPLAY, Item, heard, is_from_us, parts, read
from workers.intake_subjects import Organisations, When, apply

log = structlog.get_logger(__name__)

#: Told the ids of stored rows once they are committed; a lost hint is repeated by the sweep.
Hint = Callable[[tuple[int, ...]], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one held message: `problem` is None if it was taken in."""

    quarantine_id: int
    problem: str | None


@dataclass
class _Done:
    """What one transaction did."""

    results: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    problems: dict[EventKey, str] = field(default_factory=dict)
    replies: list[int] = field(default_factory=list)
    receipts: list[int] = field(default_factory=list)


class Intake:
    """Takes events in, at least once each, with the effect of exactly once. Safe to share between threads."""

    def __init__(
        self,
        engine: Engine,
        vault: Vault,
        clock: Clock,
        *,
        organisation: str = "",
        on_replies: Hint | None = None,
        on_receipts: Hint | None = None,
    ) -> None:
        """`organisation`: key of the one that events without that attribute are for; empty = the only one there is."""
        self._engine = engine
        self._vault = vault
        self._clock = clock
        self._organisations = Organisations(organisation)
        self._on_replies = on_replies
        self._on_receipts = on_receipts

    def take(self, messages: Sequence[BusMessage]) -> None:
        """Take a batch from the bus; what is refused is quarantined and answered with a `rejected.event`.

        Raises:
            DBAPIError: the ledger cannot be reached; nothing may be acknowledged.
        """
        items = [heard(message) for message in messages if not is_from_us(message)]
        for part in parts(items):
            self._take_part(part)

    def take_posted(self, source: str, headers: Mapping[str, str], body: bytes) -> None:
        """Take one event, or a batch, over HTTP; `source` says where it was posted (`http:/events`).

        Header names are lower case. Of a batch, what is sound is taken even where other events are refused.

        Raises:
            EventProblem: something was refused (and is held in quarantine); the reasons are for its publisher.
            DBAPIError: the ledger cannot be reached.
        """
        content_type = headers.get("content-type", "")
        if not is_batch(content_type):
            item = read(HTTP, source, headers, content_type, body)
            problem = self._take_part([item]).get(item.key)
            if problem is not None:
                raise EventProblem(problem)
            return
        items = [read(HTTP, source, {}, STRUCTURED, event) for event in split_batch(body)]
        problems: dict[EventKey, str] = {}
        for part in parts(items):
            problems |= self._take_part(part)
        if problems:
            refused = [f"event {n}: {problems[item.key]}" for n, item in enumerate(items) if item.key in problems]
            raise EventProblem("; ".join(refused)[:2000])

    def replay(self, ids: Iterable[int]) -> list[Replayed]:
        """Try held messages again, each in its own transaction; what fails stays held, with its new reason."""
        return [Replayed(number, self._replay_one(number)) for number in ids]

    def _take_part(self, items: Sequence[Item], *, is_suspect: bool = False) -> dict[EventKey, str]:
        """Take a part; halve it where it fails, and take a single one again. Returns why events were refused."""
        try:
            done = transact(self._engine, lambda conn: self._apply(conn, items))
        except Exception as error:
            if _is_outage(error):
                raise
            if len(items) > 1:
                middle = len(items) // 2
                return self._take_part(items[:middle]) | self._take_part(items[middle:])
            # a ledger that is just going away fails in ways of its own: who is to blame fails twice
            if not is_suspect:
                return self._take_part(items, is_suspect=True)
            # the error's text may hold values of the event
            log.error("intake.failed", error=type(error).__name__, event_type=items[0].type)  # noqa: TRY400
            blamed = replace(items[0], event=None, problem=_unexpected(error))
            done = transact(self._engine, lambda conn: self._apply(conn, [blamed]))
        self._tell(done)
        return done.problems

    def _apply(self, conn: Connection, items: Sequence[Item], received_at: datetime | None = None) -> _Done:
        now = self._clock.now()
        when = When(now, now if received_at is None else received_at)
        done = _Done()
        fresh = events_seen.claim(conn, [(item.key, item.type) for item in items], "applied", now)
        new: list[Item] = []
        for item in items:
            if item.key in fresh:
                fresh.remove(item.key)
                new.append(item)
            else:
                self._note_repeat(conn, item, done)
        self._apply_new(conn, new, when, done)
        return done

    def _apply_new(self, conn: Connection, items: Sequence[Item], when: When, done: _Done) -> None:
        sound = [item for item in items if item.event is not None]
        applied = apply(
            conn, self._vault, self._organisations, [item.event for item in sound if item.event is not None], when
        )
        refused = {item.key: item.problem for item in items if item.problem is not None}
        refused |= {sound[index].key: problem for index, problem in applied.problems.items()}
        for item in items:
            problem = refused.get(item.key)
            if problem is not None:
                self._refuse(conn, item, problem)
                done.problems[item.key] = problem
            done.results[item.transport, item.type, "quarantined" if problem else "applied"] += 1
        _move(done.results, items, "stale", applied.stale)
        _move(done.results, items, "ignored", applied.ignored)
        events_seen.mark(conn, refused.keys(), "quarantined")
        if len(items) == 1 and not refused and (applied.stale or applied.ignored):
            events_seen.mark(conn, [items[0].key], "stale" if applied.stale else "ignored")
        done.replies += applied.replies
        done.receipts += applied.receipts

    def _note_repeat(self, conn: Connection, item: Item, done: _Done) -> None:
        done.results[item.transport, item.type, "duplicate"] += 1
        # whoever waits for an answer must not take a repeat of a refused event for accepted
        if item.transport == HTTP and events_seen.result_of(conn, item.key) == "quarantined":
            done.problems[item.key] = item.problem or "held in quarantine since it first came"

    def _refuse(self, conn: Connection, item: Item, problem: str) -> None:
        if item.transport == REPLAY:
            return
        now = self._clock.now()
        number = quarantine.hold(
            conn, self._vault, item.origin, item.headers, item.body, problem, now, content_type=item.content_type
        )
        is_known = item.key.source != item.origin
        outbox.add(
            conn,
            "rejected.event",
            {
                "source": item.key.source,
                "event_id": item.key.id if is_known else None,
                "type": item.type if item.type in TYPES else None,
                "reason": problem,
                "quarantine_id": number,
            },
            now,
        )

    def _replay_one(self, number: int) -> str | None:
        def work(conn: Connection) -> _Done:
            held = quarantine.open_held(conn, self._vault, number)
            if held is None:
                raise EventProblem("not held: no such message, or it was settled")
            item = read(REPLAY, held.source, held.headers, held.content_type, held.body)
            if item.problem is not None:
                raise EventProblem(item.problem)
            events_seen.forget_quarantined(conn, item.key)
            done = self._apply(conn, [item], held.received_at)
            if done.problems:
                raise EventProblem(next(iter(done.problems.values())))
            quarantine.settle(conn, [number], "replayed", self._clock.now())
            return done

        try:
            done = transact(self._engine, work)
        except EventProblem as problem:
            # raised to roll back: the event stays noted as quarantined
            reason = problem.reason
        except Exception as error:
            if _is_outage(error):
                raise
            reason = _unexpected(error)
        else:
            self._tell(done)
            return None
        transact(self._engine, lambda conn: quarantine.give_reason(conn, number, reason))
        return reason

    def _tell(self, done: _Done) -> None:
        """After the commit: count, and hint at the rows that wait for a worker."""
        for (transport, kind, result), count in done.results.items():
            known = metrics.bounded(kind, TYPES)
            metrics.events_total.labels(transport=transport, type=known, result=result).inc(count)
            if result == "quarantined":
                metrics.quarantined_total.labels(transport=transport).inc(count)
        for hint, ids in ((self._on_replies, done.replies), (self._on_receipts, done.receipts)):
            if hint is not None and ids:
                try:
                    hint(tuple(ids))
                except BrokerUnavailable:
                    log.warning("intake.hint_lost", rows=len(ids))


def _move(results: Counter[tuple[str, str, str]], items: Sequence[Item], result: str, count: int) -> None:
    """Of a part only the sum of stale and ignored news is known; it is counted under the part's first type."""
    if not items or not count:
        return
    results[items[0].transport, items[0].type, "applied"] -= count
    results[items[0].transport, items[0].type, result] += count


def _unexpected(error: Exception) -> str:
    return f"could not be applied ({type(error).__name__})"


def _is_outage(error: Exception) -> bool:
    # the two last: the connection went away amidst a transaction that was to go on
    if isinstance(
        error, OperationalError | InterfaceError | PoolTimeoutError | PendingRollbackError | ResourceClosedError
    ):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated
