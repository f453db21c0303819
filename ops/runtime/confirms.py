"""Confirms by the batch: many messages go out before the first confirm is waited for; none counts without its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError
from pika.spec import Basic

#: Seconds to wait for all confirms of a batch: a quorum queue answers in milliseconds.
_PATIENCE = 30.0
#: Seconds of the first look at what came, and of the longest.
_LOOK, _LONGEST_LOOK = 0.001, 0.05


class ConfirmedChannel:
    """A channel in confirm mode that does not wait after each message, as pika's own blocking one does.

    Not for several threads at once.
    """

    def __init__(self, connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
        """Switch a fresh channel to confirms. Raises AMQPError."""
        self._connection = connection
        self._channel = channel
        self._waiting: set[int] = set()
        self._refused: set[int] = set()
        self._sent = 0
        selected: list[Any] = []
        # the blocking channel's own mode waits after every message; this one below it hands each confirm to us
        below: Any = channel._impl  # type: ignore[attr-defined] # noqa: SLF001 - see above
        below.confirm_delivery(ack_nack_callback=self._take, callback=selected.append)
        self._wait_until(lambda: bool(selected))

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Send one message; whether it was taken, `confirmed` says. Raises AMQPError."""
        self._sent += 1
        self._waiting.add(self._sent)
        self._channel.basic_publish(exchange, routing_key, body, properties)

    def confirm(self) -> None:
        """Wait until every message sent so far is confirmed.

        Raises:
            AMQPConnectionError: one was refused, or no confirm came in time.
            AMQPError, OSError: the channel or its connection was lost.
        """
        self._wait_until(lambda: not self._waiting)
        if self._refused:
            raise AMQPConnectionError(f"{len(self._refused)} messages were refused")

    @property
    def confirmed(self) -> int:
        """How many messages, from the first sent on and without a gap, were taken."""
        return min([*self._waiting, *self._refused], default=self._sent + 1) - 1

    def _take(self, frame: Any) -> None:
        """One answer of the broker; with `multiple` for every message up to its tag."""
        tag = frame.method.delivery_tag
        told = {each for each in self._waiting if each <= tag} if frame.method.multiple else {tag}
        self._waiting -= told
        if isinstance(frame.method, Basic.Nack):
            self._refused |= told

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline, look = time.monotonic() + _PATIENCE, _LOOK
        while not is_so():
            if time.monotonic() > deadline:
                raise AMQPConnectionError("no confirm came in time")
            if not self._channel.is_open:
                raise AMQPConnectionError("the channel was closed")
            # pika comes back when the time is over, not when something came: look soon, then less and less often
            self._connection.process_data_events(time_limit=look)
            look = min(2 * look, _LONGEST_LOOK)
