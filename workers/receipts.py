"""The receipts worker: applies stored receipts, in batches; running twice or being killed half-way changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dramatiq
import structlog
from dramatiq import Actor, Broker
from sqlalchemy import Connection, Engine

from domain.jobs import BATCH, RECEIPTS
from domain.ledger import receipts, settling
from domain.ledger.transactions import transact
from ops.runtime import metrics
from ops.runtime.clock import Clock

_log = structlog.get_logger(__name__)


def register(broker: Broker, engine: Engine, clock: Clock) -> Actor[Any, Any]:
    """Serve the receipts queue."""

    def apply_receipts(ids: list[int]) -> None:
        applied = transact(engine, lambda conn: settling.apply(conn, [*ids, *_company(conn, ids)], clock.now()))
        for (channel, status), count in applied.statuses.items():
            metrics.receipts_total.labels(channel, status).inc(count)
        if applied.unknown or applied.orphaned:
            # not ours, or ahead of its own send: the sweep tries the first kind again
            _log.info("receipts_unmatched", waiting=applied.unknown, orphaned=applied.orphaned)

    return dramatiq.actor(actor_name="apply_receipts", queue_name=RECEIPTS, broker=broker)(apply_receipts)


def _company(conn: Connection, ids: Sequence[int]) -> list[int]:
    """What was stored since these: while we are behind, jobs of a receipt or two would each cost what a batch costs."""
    return receipts.since(conn, max(ids), BATCH - len(ids)) if ids and len(ids) < BATCH else []
