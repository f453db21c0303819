"""The receipts worker: applies stored receipts, in batches; running twice or being killed half-way changes nothing."""

from __future__ import annotations

from typing import Any

import dramatiq
import structlog
from dramatiq import Actor, Broker
from sqlalchemy import Engine

from domain.jobs import RECEIPTS
from domain.ledger import settling
from domain.ledger.transactions import transact
from ops.runtime import metrics
from ops.runtime.clock import Clock

_log = structlog.get_logger(__name__)


def register(broker: Broker, engine: Engine, clock: Clock) -> Actor[Any, Any]:
    """Serve the receipts queue."""

    def apply_receipts(ids: list[int]) -> None:
        applied = transact(engine, lambda conn: settling.apply(conn, ids, clock.now()))
        for (channel, status), count in applied.statuses.items():
            metrics.receipts_total.labels(channel, status).inc(count)
        if applied.unknown or applied.orphaned:
            # not ours, or ahead of its own send: the sweep tries the first kind again
            _log.info("receipts_unmatched", waiting=applied.unknown, orphaned=applied.orphaned)

    return dramatiq.actor(actor_name="apply_receipts", queue_name=RECEIPTS, broker=broker)(apply_receipts)
