"""How we connect to RabbitMQ: one reading of the URL, one set of timeouts, errors a person can act on."""

from __future__ import annotations

import struct
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pika
import pika.data
from pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

#: Seconds. A dead peer is noticed after two missed heartbeats.
HEARTBEAT = 30
#: Seconds without a delivery after which a consumer subscribes anew; see Silence.
SILENCE = 15.0
#: Seconds a goodbye may take: a server that hangs would be waited for until it missed two heartbeats.
_GOODBYE = 3.0
#: Seconds to wait for a socket; RabbitMQ is near, and callers hold requests of patients' providers open.
CONNECT_TIMEOUT = 5


_decode_value = pika.data.decode_value


def _decode_any_value(encoded: bytes, offset: int) -> tuple[Any, int]:
    """A header's value; an instant beyond the calendar (milliseconds where AMQP has seconds) stays a number.

    pika drops the connection over it: the message is delivered again, and again, and nothing behind it ever is.
    """
    try:
        return _decode_value(encoded, offset)
    except (ValueError, OverflowError):
        if encoded[offset : offset + 1] != b"T":
            raise
        return struct.unpack_from(">Q", encoded, offset + 1)[0], offset + 9


pika.data.decode_value = _decode_any_value


class AmqpUrlError(ValueError):
    """The AMQP URL is not one: expected `amqp://USER:PASSWORD@HOST:PORT/VHOST`. Never repeats the URL (a password)."""


class BrokerUnavailable(Exception):  # noqa: N818 - a state of the world, as in the standard library's BlockingIOError
    """RabbitMQ cannot be reached or did not confirm; the row in the ledger is untouched, try again later."""


def read_url(url: str) -> pika.URLParameters:
    """Connection parameters for `url`, with our timeouts where it names none.

    Raises:
        AmqpUrlError: it is no AMQP URL.
    """
    try:
        parts = urlsplit(url)
        parameters = pika.URLParameters(url) if parts.scheme in {"amqp", "amqps"} and parts.hostname else None
    except (ValueError, TypeError, KeyError):
        # pika's own message would repeat the offending part, which may be the password
        parameters = None
    if parameters is None:
        raise AmqpUrlError("the RabbitMQ URL should look like amqp://USER:PASSWORD@HOST:PORT/VHOST")
    if "heartbeat" not in parts.query:
        parameters.heartbeat = HEARTBEAT
    parameters.socket_timeout = CONNECT_TIMEOUT
    parameters.stack_timeout = 2 * CONNECT_TIMEOUT
    parameters.blocked_connection_timeout = HEARTBEAT
    parameters.connection_attempts = 1
    return parameters


def connect(parameters: pika.URLParameters) -> pika.BlockingConnection:
    """Open a connection.

    Raises:
        BrokerUnavailable: says which host and what it did, never the password.
    """
    where = f"RabbitMQ at {parameters.host}:{parameters.port}"
    try:
        return pika.BlockingConnection(parameters)
    except (ProbableAuthenticationError, AuthenticationError):
        raise BrokerUnavailable(f"{where} refused the user or password") from None
    except ProbableAccessDeniedError:
        raise BrokerUnavailable(f"{where} has no such virtual host for this user") from None
    except (AMQPConnectionError, OSError, ValueError, AssertionError):
        # pika asks a socket that was just connected for its peer: where the server died meanwhile, a bare ValueError
        raise BrokerUnavailable(f"{where} cannot be reached") from None


def close_quietly(connection: pika.BlockingConnection) -> None:
    """Close what may already be closed, within seconds; whatever was unacknowledged is delivered again."""
    closing = threading.Thread(target=_close, args=(connection,), name="goodbye", daemon=True)
    closing.start()
    # pika bounds every wait but this one; left behind, the thread ends with the heartbeats or with the process
    closing.join(_GOODBYE)


def _close(connection: pika.BlockingConnection) -> None:
    try:
        if connection.is_open:
            connection.close()
    except (pika.exceptions.AMQPError, OSError, AssertionError):
        # pika asserts when the socket died between the question and the close; closed is what we wanted
        return


class Silence:
    """How long a consumer has heard nothing; after SILENCE it subscribes anew, on a new channel.

    RabbitMQ (3.10) tells a consumer that its queue was deleted, unless the queue is declared again at the same moment:
    then it subscribes the consumer to the new queue by itself, takes that queue's first messages for repeats, and
    keeps them from everybody until the channel closes.
    """

    def __init__(self) -> None:
        self._heard = time.monotonic()

    def broken(self) -> None:
        """A message came, or one is still being worked on, or we subscribed anew."""
        self._heard = time.monotonic()

    def is_long(self) -> bool:
        """Whether it is time to subscribe anew."""
        return time.monotonic() - self._heard >= SILENCE
