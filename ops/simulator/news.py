"""News of the record system as CloudEvents, over HTTP or AMQP, each published until it is confirmed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, Protocol

import orjson
import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from ops.simulator.calls import Call, Caller
from ops.simulator.sites import ORGANISATION_KEY

PREFIX = "org.reactivation."
EXCHANGE = "reactivation.events"
SOURCE = f"/{ORGANISATION_KEY}/ehr"
STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
#: Events in one call.
BATCH = 200


@dataclass(frozen=True, slots=True)
class News:
    """One event. `name` is its type without the prefix, `about` the patient it concerns (for the order)."""

    name: str
    id: str
    at: datetime
    about: str
    data: Mapping[str, Any]

    def attributes(self) -> dict[str, str]:
        """CloudEvents 1.0 context attributes."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": SOURCE,
            "type": PREFIX + self.name,
            "time": self.at.isoformat().replace("+00:00", "Z"),
            "dataschema": f"urn:org.reactivation:{self.name}:1",
            "datacontenttype": "application/json",
        }

    def structured(self) -> bytes:
        """The event as one JSON document."""
        return orjson.dumps({**self.attributes(), "data": self.data})


class Publisher(Protocol):
    """Where news goes."""

    confirmed: Counter[str]
    """Published events by name."""

    @property
    def unconfirmed(self) -> int:
        """Events that wait to be published again."""
        ...

    async def publish(self, news: Sequence[News]) -> None:
        """Publish in order; what is not confirmed is kept and tried again with the next call."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


class HttpPublisher:
    """POSTs events in order, in batches, with a bearer token."""

    def __init__(self, caller: Caller, token: str) -> None:
        self._caller = caller
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": BATCHED}
        self.confirmed: Counter[str] = Counter()
        self.unconfirmed = 0  # the caller keeps what failed, on the agenda

    async def publish(self, news: Sequence[News]) -> None:
        """One batch after the other: the order in which a record system knows things."""
        for start in range(0, len(news), BATCH):
            batch = news[start : start + BATCH]
            await self._caller.make(
                Call(
                    "event",
                    f"{self._caller.public_url}/events",
                    "events",
                    body=b"[" + b",".join(item.structured() for item in batch) + b"]",
                    headers=self._headers,
                    answered=partial(self.confirmed.update, [item.name for item in batch]),
                )
            )

    async def close(self) -> None:
        """Nothing to close: the caller's connections are its own."""


class AmqpPublisher:
    """Publishes to the topic exchange with confirms, some events structured and some binary."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._waiting: list[News] = []
        self.confirmed: Counter[str] = Counter()
        self.failures = 0

    @property
    def unconfirmed(self) -> int:
        """Events that wait for the broker."""
        return len(self._waiting)

    async def publish(self, news: Sequence[News]) -> None:
        """Publish everything waiting, then this; in a thread, because pika blocks."""
        self._waiting.extend(news)
        if self._waiting:
            await asyncio.to_thread(self._publish_waiting)

    async def close(self) -> None:
        """Close the connection."""
        await asyncio.to_thread(self._disconnect)

    def _publish_waiting(self) -> None:
        done = 0
        try:
            channel = self._connected()
            for item in self._waiting:
                properties, body = _on_the_wire(item)
                channel.basic_publish(EXCHANGE, item.name, body, properties)
                self.confirmed[item.name] += 1
                done += 1
        except (AMQPError, OSError):
            self.failures += 1
            self._disconnect()
        finally:
            del self._waiting[:done]

    def _connected(self) -> BlockingChannel:
        if self._channel is None:
            parameters = pika.URLParameters(self._url)
            parameters.heartbeat = 0  # simulated time stands still for as long as the fleet works; nobody beats
            self._connection = pika.BlockingConnection(parameters)
            self._channel = self._connection.channel()
            self._channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
            self._channel.confirm_delivery()
        return self._channel

    def _disconnect(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        try:
            if connection is not None and connection.is_open:
                connection.close()
        except (AMQPError, OSError):
            self.failures += 1


def is_binary(news: News) -> bool:
    """Which of the two modes an event travels in: half of them each, the same ones every time."""
    return sha256(news.id.encode()).digest()[0] % 2 == 1


def _on_the_wire(news: News) -> tuple[pika.BasicProperties, bytes]:
    if not is_binary(news):
        return pika.BasicProperties(content_type=STRUCTURED, delivery_mode=2), news.structured()
    attributes = news.attributes()
    content_type = attributes.pop("datacontenttype")
    headers = {f"cloudEvents_{name}": value for name, value in attributes.items()}
    return pika.BasicProperties(content_type=content_type, headers=headers, delivery_mode=2), orjson.dumps(news.data)
