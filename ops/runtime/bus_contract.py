"""The contract of the bus: published means confirmed, acknowledged means handled.

Events travel through the topic exchange `reactivation.events`; any AMQP client may publish there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

EXCHANGE = "reactivation.events"
#: Messages handled at once, and seconds to wait for more once the first is there.
BATCH, LINGER = 500, 0.05


@dataclass(frozen=True, slots=True)
class BusMessage:
    """One event as it travels: `headers` are the AMQP application headers, as the publisher typed them."""

    routing_key: str
    body: bytes
    content_type: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)


class BusError(Exception):
    """The bus cannot be reached, did not confirm, or did not come to rest; publishing again is safe."""


#: Takes a batch; returning acknowledges it, raising gives it back.
Handler = Callable[[Sequence[BusMessage]], None]


class Bus(Protocol):
    """Publishes events and hands them to consumers, at least once each."""

    def publish(self, messages: Sequence[BusMessage]) -> None:
        """Publish in order, and return when every message is confirmed. Raises BusError."""
        ...

    def consume(self, queue: str, bindings: Sequence[str], handler: Handler, stop: Event, batch: int = BATCH) -> None:
        """Hand the queue's messages to `handler` until `stop` is set; blocks, reconnects by itself.

        Acknowledged after the handler returned; if it raises, the messages come again after a pause that grows.
        """
        ...

    def depth(self, queue: str) -> int:
        """How many messages wait, unfinished local ones included. Raises BusError."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row: a tenth, doubling, five at most."""
    return min(0.1 * 2.0 ** (failures - 1), 5.0)
