"""The bus on RabbitMQ: quorum queues bound to the topic exchange, publisher confirms, acks in batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from ops.runtime.amqp import BrokerUnavailable, Silence, close_quietly, connect, read_url
from ops.runtime.bus_contract import BATCH, EXCHANGE, LINGER, BusError, BusMessage, Handler, pause

log = structlog.get_logger(__name__)

#: An event has no row yet that stands for it: give it back as often as needed (RabbitMQ 4 drops after 20 by default).
_DELIVERY_LIMIT = 1_000_000_000
_NOT_FOUND = 404


class AmqpBus:
    """One connection publishes for all threads, under a lock; each `consume` has its own.

    `topology` names queues and their bindings. They are declared before the first publish, so that what is told
    before its consumer ever ran waits for it.
    """

    def __init__(self, amqp_url: str, topology: Mapping[str, Sequence[str]] | None = None) -> None:
        """Opens no connection yet. Raises AmqpUrlError."""
        self._server = read_url(amqp_url)
        self._topology = dict(topology or {})
        self._lock = threading.Lock()
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def publish(self, messages: Sequence[BusMessage]) -> None:
        """Publish in order with confirms; an event that nobody listens to is confirmed and gone, as topics go.

        Raises:
            BusError: not every message was confirmed; publish all of them again.
        """
        with self._lock:
            done = 0
            for last in (False, True):
                try:
                    channel = self._publishing_channel()
                    for message in messages[done:]:
                        channel.basic_publish(EXCHANGE, message.routing_key, message.body, _properties(message))
                        done += 1
                except BrokerUnavailable as error:
                    raise BusError(str(error)) from None
                except (AMQPError, OSError, AssertionError) as error:
                    # an idle connection may have been dropped: try once on a new one, from the first unconfirmed on
                    self._drop()
                    if last:
                        raise BusError(f"RabbitMQ did not confirm ({type(error).__name__})") from None
                else:
                    return

    def consume(
        self, queue: str, bindings: Sequence[str], handler: Handler, stop: threading.Event, batch: int = BATCH
    ) -> None:
        """See Bus.consume. Declares the queue, again if it vanishes."""
        failures = 0
        while not stop.is_set():
            started = time.monotonic()
            try:
                with _Consumption(self._server, queue, bindings, batch) as consumption:
                    consumption.run(handler, stop)
            except (BrokerUnavailable, AMQPError, OSError, AssertionError) as error:
                failures = failures + 1 if time.monotonic() - started < 10 else 1
                log.warning("bus.reconnecting", queue=queue, error=type(error).__name__, failures=failures)
                stop.wait(pause(failures))

    def depth(self, queue: str) -> int:
        """How many messages are ready in the queue; 0 if there is no such queue. Raises BusError."""
        try:
            connection = connect(self._server)
        except BrokerUnavailable as error:
            raise BusError(str(error)) from None
        try:
            return connection.channel().queue_declare(queue, passive=True).method.message_count
        except ChannelClosedByBroker as error:
            if error.reply_code == _NOT_FOUND:
                return 0
            raise BusError("RabbitMQ would not count the queue") from None
        finally:
            close_quietly(connection)

    def close(self) -> None:
        """Close the publishing connection; consumers end by their stop event."""
        with self._lock:
            self._drop()

    def _publishing_channel(self) -> BlockingChannel:
        if self._channel is None:
            self._connection = connect(self._server)
            channel = self._connection.channel()
            channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
            for queue, bindings in self._topology.items():
                declare(channel, queue, bindings)
            channel.confirm_delivery()
            self._channel = channel
        return self._channel

    def _drop(self) -> None:
        if self._connection is not None:
            close_quietly(self._connection)
        self._connection = self._channel = None


class _Consumption:
    """One connection's worth of consuming a queue."""

    def __init__(self, server: pika.URLParameters, queue: str, bindings: Sequence[str], batch: int) -> None:
        self._queue = queue
        self._bindings = bindings
        self._batch = batch
        self._failures = 0
        self._silence = Silence()
        self._connection = connect(server)
        try:
            self._subscribe()
        except BaseException:
            close_quietly(self._connection)
            raise

    def __enter__(self) -> _Consumption:
        return self

    def __exit__(self, *_: object) -> None:
        close_quietly(self._connection)

    def run(self, handler: Handler, stop: threading.Event) -> None:
        while not stop.is_set():
            messages, tag = self._collect()
            if not messages:
                self._mind_silence()
                continue
            self._silence.broken()
            try:
                handler(messages)
            except Exception as error:  # noqa: BLE001 - whatever the handler could not do, the messages must come again
                self._failures += 1
                log.warning(
                    "bus.handler_failed", queue=self._queue, error=type(error).__name__, failures=self._failures
                )
                self._wait(pause(self._failures), stop)
                self._channel.basic_nack(tag, multiple=True, requeue=True)
            else:
                self._failures = 0
                self._channel.basic_ack(tag, multiple=True)

    def _collect(self) -> tuple[list[BusMessage], int]:
        messages: list[BusMessage] = []
        tag = 0
        deadline = float("inf")
        for method, properties, body in self._deliveries:
            if method is None or properties is None or method.delivery_tag is None:
                return messages, tag
            messages.append(_message(method.routing_key or "", properties, body or b""))
            tag = method.delivery_tag
            deadline = min(deadline, time.monotonic() + LINGER)
            if len(messages) >= self._batch or time.monotonic() >= deadline:
                return messages, tag
        # the generator ended: the server cancelled us because the queue was deleted
        raise BrokerUnavailable("the queue was deleted")

    def _subscribe(self) -> None:
        self._channel = self._connection.channel()
        declare(self._channel, self._queue, self._bindings)
        self._channel.basic_qos(prefetch_count=self._batch)
        self._deliveries = self._channel.consume(self._queue, inactivity_timeout=LINGER)

    def _mind_silence(self) -> None:
        if self._silence.is_long():
            # nothing is unsettled: what the old channel may hold goes back to the queue
            self._channel.close()
            self._subscribe()
            self._silence.broken()

    def _wait(self, seconds: float, stop: threading.Event) -> None:
        # not a plain wait: the connection's heartbeats go on
        deadline = time.monotonic() + seconds
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            self._connection.process_data_events(time_limit=min(left, 0.2))


def declare(channel: BlockingChannel, queue: str, bindings: Sequence[str]) -> None:
    """Declare the exchange, the queue and its bindings; repeating it changes nothing."""
    channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    channel.queue_declare(
        queue, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": _DELIVERY_LIMIT}
    )
    for binding in bindings:
        channel.queue_bind(queue, EXCHANGE, binding)


def _properties(message: BusMessage) -> pika.BasicProperties:
    return pika.BasicProperties(
        content_type=message.content_type or None, headers=dict(message.headers) or None, delivery_mode=2
    )


def _message(routing_key: str, properties: pika.BasicProperties, body: bytes) -> BusMessage:
    headers: dict[str, Any] = {_text(name): value for name, value in (properties.headers or {}).items()}
    return BusMessage(_text(routing_key), body, _text(properties.content_type or ""), headers)


def _text(told: str | bytes) -> str:
    """What AMQP calls a text; pika hands on as bytes what is not UTF-8."""
    return told.decode(errors="replace") if isinstance(told, bytes) else told
