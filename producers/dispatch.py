"""The dispatcher: tops each channel's queue up to a few seconds' worth of what its limits allow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Engine

from channels.kit.contract import Channel
from domain import jobs
from domain.jobs import Job
from domain.ledger import dispatching, pauses
from domain.rules.fairness import DeficitRoundRobin
from ops.runtime import metrics
from ops.runtime.amqp import BrokerUnavailable

log = structlog.get_logger(__name__)

#: Seconds of sending that may lie in a queue: shallow enough that opt-outs and priorities act at once.
HORIZON = 2


@dataclass
class Dispatcher:
    """One leader's dispatcher; it remembers between rounds only what each site is still owed."""

    engine: Engine
    channels: Mapping[str, tuple[Channel, Any]]
    enqueue: Callable[[Job], None]
    _fairness: dict[str, DeficitRoundRobin] = field(default_factory=dict)

    def run(self, due: Collection[str], now: datetime) -> int:
        """One round over the channels on which something is due; how many touches were handed out.

        A hint that the broker does not take is repeated after its time; the rows are what counts.
        """
        with metrics.dispatch_seconds.time():
            return sum(self._dispatch(name, now) for name in due)

    def _dispatch(self, name: str, now: datetime) -> int:
        channel, config = self.channels[name]
        with self.engine.begin() as conn:
            answers = dispatching.take_answers(conn, name, now)
            budget = 0 if name in pauses.paused(conn) else self._budget(channel, config)
            budget -= dispatching.in_flight(conn, name, now) if budget else 0
            touches = []
            if budget > 0:
                fairness = self._fairness.setdefault(name, DeficitRoundRobin())
                touches = dispatching.take_due(conn, name, budget, fairness, dispatching.site_weights(conn), now)
        hints = [jobs.send_answers(name, ids) for ids in _batches(answers)]
        hints += [jobs.send_touches(name, ids) for ids in _batches(touches)]
        try:
            for hint in hints:
                self.enqueue(hint)
        except BrokerUnavailable as error:
            log.warning("hints_lost", channel=name, error=type(error).__name__)
        metrics.dispatched_total.labels(name).inc(len(answers) + len(touches))
        return len(answers) + len(touches)

    @staticmethod
    def _budget(channel: Channel, config: Any) -> int:
        # the sustained rate, not the burst: more would be claimed each round only to be withheld by pacing
        worth = min((rate.per_second * HORIZON for rate in channel.rates(config, "")), default=jobs.BATCH)
        return max(1, int(worth))


def _batches(ids: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(ids[start : start + jobs.BATCH]) for start in range(0, len(ids), jobs.BATCH)]
