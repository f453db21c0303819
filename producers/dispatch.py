"""The dispatcher: tops each channel's queue up to a few seconds' worth of what its limits allow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from channels.kit.contract import Channel
from domain import jobs
from domain.jobs import Job
from domain.ledger import dispatching, listeners, pauses
from domain.rules import ramp
from domain.rules.fairness import DeficitRoundRobin
from ops.runtime import metrics
from ops.runtime.amqp import BrokerUnavailable

log = structlog.get_logger(__name__)

#: Seconds of sending that may lie in a queue: shallow enough that opt-outs and priorities act at once.
HORIZON = 2


@dataclass
class _Ramp:
    """A channel that catches up. `credit` is what it may hand out by now, in messages."""

    since: datetime
    before: datetime
    credit: float


@dataclass
class Dispatcher:
    """One leader's dispatcher; it remembers between rounds what each site is still owed, and who catches up."""

    engine: Engine
    channels: Mapping[str, tuple[Channel, Any]]
    enqueue: Callable[[Job], None]
    providers: Mapping[str, Sequence[tuple[Channel, Any]]] = field(default_factory=dict)
    """Channel -> all its providers, where there are several."""
    _fairness: dict[str, DeficitRoundRobin] = field(default_factory=dict)
    _paused: dict[str, datetime] = field(default_factory=dict)
    """Channel -> since when we find it paused with touches due."""
    _ramps: dict[str, _Ramp] = field(default_factory=dict)

    def run(self, due: Collection[str], now: datetime) -> int:
        """One round over the channels on which something is due; how many touches were handed out.

        A hint that the broker does not take is repeated after its time; the rows are what counts.
        """
        with metrics.dispatch_seconds.time():
            return sum(self._dispatch(name, now) for name in due)

    def catch_up(self, now: datetime, channels: Collection[str] | None = None) -> None:
        """From now on hand outreach out slowly, on these channels or all, rising to the whole rate.

        Without it a backlog would go out as fast as the provider takes it. Answers are not concerned.
        """
        for name in self.channels if channels is None else channels:
            log.info("catching_up", channel=name)
            # one message at once, lest the round that begins it find nothing that may go
            self._ramps[name] = _Ramp(now, now, 1.0)

    def _dispatch(self, name: str, now: datetime) -> int:
        per_second = self._rate(name)
        with self.engine.begin() as conn:
            answers = dispatching.take_answers(conn, name, now)
            is_silent = self._is_paused(conn, name, now) or listeners.may_keep_choices(conn)
            budget = 0 if is_silent else max(1, int(per_second * HORIZON))
            budget -= dispatching.in_flight(conn, name, now) if budget else 0
            budget = self._ramped(name, budget, per_second, now)
            touches = []
            if budget > 0:
                fairness = self._fairness.setdefault(name, DeficitRoundRobin())
                touches = dispatching.take_due(conn, name, budget, fairness, dispatching.site_weights(conn), now)
        if name in self._ramps:
            self._ramps[name].credit -= len(touches)
        hints = [jobs.send_answers(name, ids) for ids in _batches(answers)]
        hints += [jobs.send_touches(name, ids) for ids in _batches(touches)]
        try:
            for hint in hints:
                self.enqueue(hint)
        except BrokerUnavailable as error:
            log.warning("hints_lost", channel=name, error=type(error).__name__)
        metrics.dispatched_total.labels(name).inc(len(answers) + len(touches))
        return len(answers) + len(touches)

    def _is_paused(self, conn: Connection, name: str, now: datetime) -> bool:
        """Whether the channel is paused; one that was for long, and is not any more, has a backlog to catch up with."""
        if name in pauses.paused(conn):
            self._paused.setdefault(name, now)
            return True
        since = self._paused.pop(name, None)
        if since is not None and ramp.is_outage(since, now):
            self.catch_up(now, [name])
        return False

    def _ramped(self, name: str, budget: int, per_second: float, now: datetime) -> int:
        """What of the budget a channel that catches up may hand out by now; all of it where none does."""
        ramping = self._ramps.get(name)
        if ramping is None:
            return budget
        if ramp.is_over(ramping.since, now):
            del self._ramps[name]
            return budget
        more = ramp.allowance(ramping.since, ramping.before, now) * per_second
        # what could not be handed out meanwhile is not saved up for later
        ramping.credit, ramping.before = min(ramping.credit + more, max(1.0, per_second * HORIZON)), now
        return min(budget, int(ramping.credit))

    def _rate(self, name: str) -> float:
        """What the channel can send a second: by each provider as much as its share of the numbers lets it."""
        found = [
            (_per_second(channel, config), channel.weight(config)) for channel, config in self.providers.get(name, [])
        ]
        total = sum(weight for _, weight in found)
        # one number has one provider: the first that is at its limit holds the rest of the flow back
        shared = [rate * total / weight for rate, weight in found if weight]
        return min(shared) if shared else _per_second(*self.channels[name])


def _per_second(channel: Channel, config: Any) -> float:
    # the sustained rate, not the burst: more would be claimed each round only to be withheld by pacing
    return min((rate.per_second for rate in channel.rates(config, "")), default=jobs.BATCH / HORIZON)


def _batches(ids: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(ids[start : start + jobs.BATCH]) for start in range(0, len(ids), jobs.BATCH)]
