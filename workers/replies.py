"""The replies worker: understands stored replies; what needs a person goes to one and is told outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq import Actor, Broker
from sqlalchemy import Engine

from domain.jobs import REPLIES, Job, send_answers
from domain.ledger import replies
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault
from domain.rules.replies.intent import prepare
from ops.runtime import metrics
from ops.runtime.clock import Clock


def register(
    broker: Broker, engine: Engine, vault: Vault, clock: Clock, jobs: Callable[[Job], None]
) -> Actor[Any, Any]:
    """Serve the replies queue. Raises GrammarError."""
    prepare()

    def read_replies(ids: list[int]) -> None:
        understood = transact(engine, lambda conn: replies.read(conn, vault, ids, clock.now()))
        for each in understood:
            metrics.replies_total.labels(each.channel, each.intent or "other").inc()
            if each.answer_id is not None:
                jobs(send_answers(each.channel, (each.answer_id,)))

    return dramatiq.actor(actor_name="read_replies", queue_name=REPLIES, broker=broker)(read_replies)
