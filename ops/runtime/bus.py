"""The bus of events: on RabbitMQ when there is a URL, inside this process when there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ops.runtime.bus_amqp import AmqpBus
from ops.runtime.bus_contract import BATCH, EXCHANGE, Bus, BusError, BusMessage, Handler
from ops.runtime.bus_local import LocalBus

__all__ = ["BATCH", "EXCHANGE", "AmqpBus", "Bus", "BusError", "BusMessage", "Handler", "LocalBus", "open_bus"]


def open_bus(amqp_url: str, topology: Mapping[str, Sequence[str]]) -> AmqpBus | LocalBus:
    """The bus at `amqp_url`, or the one inside this process when the URL is empty. Opens no connection yet.

    Raises:
        AmqpUrlError: it is no AMQP URL.
    """
    return AmqpBus(amqp_url, topology) if amqp_url else LocalBus(topology)
