"""Connecting at start: servers that are still coming up are waited for, with a word about which and why."""

from __future__ import annotations

import threading

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
)
from tenacity import wait_exponential as wait

from ops.runtime.amqp import BrokerUnavailable, connect, read_url

log = structlog.get_logger(__name__)

#: Seconds a process waits for its servers before it gives up; its supervisor starts it again.
PATIENCE = 60


def wait_for_servers(engine: Engine, amqp_url: str, stop: threading.Event) -> None:
    """Return when the database answers and, if there is a URL, RabbitMQ does; at once when `stop` is set.

    Raises:
        OperationalError, BrokerUnavailable: still away after a minute.
    """
    tries = Retrying(
        retry=retry_if_exception_type((OperationalError, BrokerUnavailable)),
        stop=stop_after_delay(PATIENCE) | stop_when_event_set(stop),
        wait=wait(multiplier=0.2, max=5),
        sleep=sleep_using_event(stop),
        before_sleep=_tell,
        reraise=True,
    )
    tries(_reach, engine, amqp_url)


def _reach(engine: Engine, amqp_url: str) -> None:
    with engine.connect() as conn:
        conn.execute(text("SELECT 1"))
    if amqp_url:
        connect(read_url(amqp_url)).close()


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    what = "rabbitmq" if isinstance(error, BrokerUnavailable) else "database"
    log.warning("waiting_for_server", server=what, attempt=state.attempt_number)
