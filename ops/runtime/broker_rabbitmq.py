"""The broker of the fleet: Dramatiq's RabbitMQ broker on quorum queues, with confirms."""

from __future__ import annotations

import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import pika
import structlog
from dramatiq import Message
from dramatiq.broker import Consumer
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Middleware
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPChannelError, AMQPConnectionError, AMQPError

from ops.runtime.amqp import BrokerUnavailable, close_quietly, connect
from ops.runtime.consumer_rabbitmq import QuorumConsumer, closed

log = structlog.get_logger(__name__)

#: A job that failed or killed its worker this often is set aside; its rows are handed out again by the sweep.
_DELIVERY_LIMIT = 20
#: Dead letters are a curiosity: keep the latest few.
_KEPT_DEAD_LETTERS = 1000
#: Seconds during which nobody tries again to publish after a failure, so that callers fail fast.
_REST = 1.0
#: Most seconds a consumer waits between two attempts to connect (Dramatiq adds three of its own).
_LONGEST_WAIT = 10.0


class QuorumBroker(RabbitmqBroker):
    """RabbitMQ as a hint that work exists.

    One connection publishes for all threads, under a lock (Dramatiq's one per thread leaks with every pool thread);
    each consumer has its own. Publishing is confirmed and mandatory; a queue that vanished is declared again.
    """

    def __init__(self, parameters: pika.URLParameters, middleware: list[Middleware]) -> None:
        super().__init__(confirm_delivery=True, middleware=middleware)
        self.server = parameters
        self.state = SimpleNamespace()  # type: ignore[assignment] # shared, not thread-local; see the class's text
        self.closing = threading.Event()
        self._lock = threading.RLock()
        self._resting_until = 0.0
        self._consume_failures: dict[str, int] = {}

    @property
    def connection(self) -> pika.BlockingConnection:
        """The publishing connection; only touched under the lock."""
        connection: pika.BlockingConnection | None = getattr(self.state, "connection", None)
        if connection is None:
            connection = self.state.connection = connect(self.server)
        return connection

    @connection.deleter
    def connection(self) -> None:
        connection = getattr(self.state, "connection", None)
        self.state = SimpleNamespace()  # type: ignore[assignment] # as above
        if connection is not None:
            close_quietly(connection)

    @property
    def channel(self) -> BlockingChannel:
        """The publishing channel, in confirm mode; only touched under the lock."""
        channel: BlockingChannel | None = getattr(self.state, "channel", None)
        if channel is None:
            channel = self.connection.channel()
            channel.confirm_delivery()
            self.state.channel = channel
        return channel

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Note the queue, and with `ensure` create it on the server; no delay queue beside it.

        Raises:
            BrokerUnavailable: RabbitMQ cannot be reached.
        """
        with self._lock:
            if queue_name not in self.queues:
                self.emit_before("declare_queue", queue_name)
                self.queues.add(queue_name)
                self.queues_pending.add(queue_name)
                self.emit_after("declare_queue", queue_name)
            if ensure:
                self._publishing(partial(self._create, queue_name))

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Publish, and return when the queue's majority has it.

        Raises:
            BrokerUnavailable: no confirm; it may or may not be on the queue.
            ValueError: a delay was asked for.
        """
        if delay is not None:
            raise ValueError("waiting is a row of the ledger, not a message")
        with self._lock:
            self.declare_queue(message.queue_name)
            self.emit_before("enqueue", message, delay)
            self._publishing(partial(self._publish, message))
            self.emit_after("enqueue", message, delay)
        return message

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of the queue on a connection of its own; `timeout` in milliseconds.

        Raises:
            ConnectionClosed: after a wait that grows with every failure in a row.
        """
        try:
            consumer = QuorumConsumer(self.server, self.create_queue, queue_name, prefetch, timeout)
        except (BrokerUnavailable, AMQPError) as error:
            failures = self._consume_failures[queue_name] = self._consume_failures.get(queue_name, 0) + 1
            log.warning("broker.consumer_cannot_connect", queue=queue_name, failures=failures)
            self.closing.wait(min(2.0 ** (failures - 1) - 1, _LONGEST_WAIT))
            raise closed(error) from None
        self._consume_failures.pop(queue_name, None)
        return consumer

    def depth(self, queue_name: str) -> int:
        """How many jobs wait on the queue (those being worked on not counted).

        Raises:
            BrokerUnavailable: RabbitMQ cannot be asked.
        """
        return self._count(queue_name)

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """Jobs waiting, jobs delayed (never any), dead letters kept."""
        return self._count(queue_name), 0, self._count(dead_letters_of(queue_name))

    def flush(self, queue_name: str) -> None:
        """Drop every job of the queue and its dead letters; the rows remain."""
        with self._lock:
            self.declare_queue(queue_name, ensure=True)
            for name in (queue_name, dead_letters_of(queue_name)):
                self.channel.queue_purge(name)

    def close(self) -> None:
        """Close the publishing connection; consumers are closed by their worker."""
        self.closing.set()
        with self._lock:
            del self.connection

    def create_queue(self, channel: BlockingChannel, queue_name: str) -> None:
        """Declare the queue and its dead letters on `channel`; repeating it changes nothing."""
        dead = dead_letters_of(queue_name)
        channel.queue_declare(
            queue_name,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": _DELIVERY_LIMIT,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": dead,
            },
        )
        channel.queue_declare(
            dead,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-max-length": _KEPT_DEAD_LETTERS, "x-overflow": "drop-head"},
        )

    def _publishing(self, act: Any) -> None:
        """Act on the publishing channel; once more on a new connection if the idle one had been dropped."""
        if time.monotonic() < self._resting_until:
            raise BrokerUnavailable("RabbitMQ was unreachable a moment ago")
        for last in (False, True):
            try:
                act()
            except BrokerUnavailable:
                self._resting_until = time.monotonic() + _REST
                raise
            except (AMQPConnectionError, AMQPChannelError) as error:
                # returned as unroutable, or the server forgot: declare every queue again before the next use
                self.queues_pending.update(self.queues)
                del self.connection
                if last:
                    self._resting_until = time.monotonic() + _REST
                    raise BrokerUnavailable(f"RabbitMQ did not confirm ({type(error).__name__})") from None
            else:
                return

    def _create(self, queue_name: str) -> None:
        if queue_name in self.queues_pending:
            self.create_queue(self.channel, queue_name)
            self.queues_pending.discard(queue_name)

    def _publish(self, message: Message[Any]) -> None:
        self._create(message.queue_name)
        self.channel.basic_publish(
            exchange="",
            routing_key=message.queue_name,
            body=message.encode(),
            properties=pika.BasicProperties(delivery_mode=2),
            mandatory=True,
        )

    def _count(self, name: str) -> int:
        counted = 0

        def ask() -> None:
            nonlocal counted
            channel = self.connection.channel()
            try:
                counted = channel.queue_declare(name, passive=True).method.message_count
            except pika.exceptions.ChannelClosedByBroker as error:
                if error.reply_code != _NOT_FOUND:
                    raise
                return
            channel.close()

        with self._lock:
            self._publishing(ask)
        return counted


_NOT_FOUND = 404


def dead_letters_of(queue_name: str) -> str:
    """The name of a queue's dead letters."""
    return f"{queue_name}.dead"
