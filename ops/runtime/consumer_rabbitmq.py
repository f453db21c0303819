"""The consumer of the fleet's broker: deliveries of one quorum queue, and acks bound to the channel they came on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pika
import structlog
from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import ConnectionClosed, DecodeError
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, AMQPError

from ops.runtime.amqp import Silence, close_quietly, connect

log = structlog.get_logger(__name__)


class QuorumConsumer(Consumer):
    """Deliveries of one queue. Acks come from worker threads and are carried out by the consumer's own."""

    def __init__(
        self,
        server: pika.URLParameters,
        declare: Callable[[BlockingChannel, str], None],
        queue_name: str,
        prefetch: int,
        timeout: int,
    ) -> None:
        """Connect and subscribe; `declare` makes sure that the queue is there, `timeout` is in milliseconds.

        Raises:
            BrokerUnavailable, AMQPError: RabbitMQ cannot be reached, or refused.
        """
        self._declare = declare
        self._queue_name = queue_name
        self._prefetch = prefetch
        self._timeout = timeout / 1000
        self._silence = Silence()
        self._unsettled = 0
        self._connection = connect(server)
        try:
            self._subscribe()
        except BaseException:
            close_quietly(self._connection)
            raise

    def __next__(self) -> MessageProxy | None:
        try:
            method, _, body = next(self._deliveries)
            if method is None or body is None or method.delivery_tag is None:
                self._mind_silence()
                return None
        except StopIteration:
            # the server cancelled us: the queue was deleted; the next consumer declares it again
            raise closed("the queue was deleted") from None
        except (AssertionError, AMQPError, OSError) as error:
            raise closed(error) from None
        self._silence.broken()
        try:
            message = _Delivery(_job(body), self._channel, method.delivery_tag)
        except (DecodeError, TypeError, ValueError, RecursionError):
            log.error("broker.undecodable_job", queue=self._queue_name)  # noqa: TRY400 - its traceback shows the body
            self._channel.basic_nack(method.delivery_tag, requeue=False)
            return None
        self._unsettled += 1
        return message

    def ack(self, message: MessageProxy) -> None:
        self._settle(message, self._channel.basic_ack)

    def nack(self, message: MessageProxy) -> None:
        self._settle(message, partial(self._channel.basic_nack, requeue=False))

    def close(self) -> None:
        try:
            settled = threading.Event()
            self._connection.add_callback_threadsafe(settled.set)
            while not settled.is_set():
                self._connection.process_data_events(time_limit=0)
        except (AssertionError, AMQPError, OSError):
            log.warning("broker.connection_lost", queue=self._queue_name)
        close_quietly(self._connection)

    def _subscribe(self) -> None:
        self._channel = self._connection.channel()
        self._declare(self._channel, self._queue_name)
        self._channel.basic_qos(prefetch_count=self._prefetch)
        self._deliveries = self._channel.consume(self._queue_name, inactivity_timeout=self._timeout)

    def _mind_silence(self) -> None:
        if self._unsettled > 0:
            self._silence.broken()
        elif self._silence.is_long():
            # nothing is unsettled: what the old channel may hold goes back to the queue
            self._channel.close()
            self._subscribe()
            self._silence.broken()

    def _carry_out(self, act: Any, tag: int) -> None:
        self._unsettled -= 1
        act(tag)

    def _settle(self, message: MessageProxy, act: Any) -> None:
        # after a reconnect delivery tags start again at 1: an old tag would settle somebody else's message
        if not isinstance(message, _Delivery) or message.channel is not self._channel:
            log.info("broker.late_ack_ignored", queue=self._queue_name)
            return
        try:
            self._connection.add_callback_threadsafe(partial(self._carry_out, act, message.tag))
        except AMQPConnectionError:
            # the server delivers it again; its row says that it is done
            log.info("broker.late_ack_ignored", queue=self._queue_name)


class _Delivery(MessageProxy):
    """A message, with the channel and tag that acknowledge it and only it."""

    def __init__(self, message: Message[Any], channel: BlockingChannel, tag: int) -> None:
        super().__init__(message)
        self.channel = channel
        self.tag = tag


def _job(body: bytes) -> Message[Any]:
    """The job in a message. Dramatiq looks at its parts unasked: one that is odd would end the consumer, every time.

    Raises:
        DecodeError, TypeError, ValueError, RecursionError: there is none in it that could be done.
    """
    message: Message[Any] = Message.decode(body)
    texts = (message.queue_name, message.actor_name, message.message_id)
    parts = ((message.args, list | tuple), (message.kwargs, dict), (message.options, dict))
    if not all(isinstance(each, str) for each in texts) or not all(isinstance(part, kind) for part, kind in parts):
        raise TypeError("a part of a job is of the wrong type")
    if "eta" in message.options:
        raise ValueError("a job is never delayed")
    return message


def closed(why: object) -> ConnectionClosed:
    """What tells Dramatiq to ask for a new consumer."""
    return ConnectionClosed(why)  # type: ignore[no-untyped-call] # Dramatiq's errors have no annotations
