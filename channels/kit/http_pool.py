"""The connections to one host: how many, for how long, and which of them the next call gets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from dataclasses import dataclass

import aiohappyeyeballs

from channels.kit.http_answer import Answer, NoAnswer
from channels.kit.http_connection import Connection

#: Idle connections are dropped sooner than servers drop them (uvicorn: 5 s), so that a request hardly ever meets one
#: that is just being closed, which would make its outcome uncertain.
_KEEP_ALIVE_SECONDS = 4.0

#: A call with less time left than this is not written: nobody would hear its answer, and what became of it would be
#: uncertain.
_LEAST_SECONDS = 0.05

#: Before another address of the host is tried beside the first. RFC 8305, 5.
_ANOTHER_ADDRESS_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead."""

    host: str
    port: int
    is_encrypted: bool


class Pool:
    """Up to `limit` kept-alive connections to one origin. Repeats nothing: a call is written at most once."""

    def __init__(self, origin: Origin, *, limit: int, connect_seconds: float) -> None:
        """Must be called from a coroutine."""
        self._origin = origin
        self._connect_seconds = connect_seconds
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(limit)
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        """The one idle for longest comes first."""
        self._sweep: asyncio.TimerHandle | None = None
        self._tls = _verifying() if origin.is_encrypted else None

    async def call(self, request: bytes, deadline: float) -> Answer | NoAnswer:
        """Write `request` once, by `deadline` (the loop's clock), and wait for its answer until then."""
        if not await self._has_room(deadline):
            return _unsent("connect_timeout")
        try:
            connection = self._take_idle() or await self._connect(deadline)
            if isinstance(connection, NoAnswer):
                return connection
            try:
                if deadline - self._loop.time() < _LEAST_SECONDS:
                    return _unsent("connect_timeout")
                return await connection.exchange(request, deadline)
            finally:
                self._put_back(connection)
        finally:
            self._room.release()

    async def aclose(self) -> None:
        """Close every connection; a call under way ends without an answer."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        closing = list(self._open)
        for each in closing:
            each.abort()
        for each in closing:
            await each.wait_closed()

    async def _has_room(self, deadline: float) -> bool:
        """Wait for room among the connections; False: there was none in time."""
        if not self._room.locked():
            return await self._room.acquire()
        try:
            async with asyncio.timeout_at(deadline):
                return await self._room.acquire()
        except TimeoutError:
            return False

    def _take_idle(self) -> Connection | None:
        # the one used last is the surest to live, and the others get old enough to be dropped
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.abort()
        return None

    def _put_back(self, connection: Connection) -> None:
        if not connection.may_serve_again():
            return
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(_KEEP_ALIVE_SECONDS, self._drop_old)

    def _drop_old(self) -> None:
        oldest = self._loop.time() - _KEEP_ALIVE_SECONDS
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.popleft().abort()
        self._sweep = None
        if self._idle:
            self._sweep = self._loop.call_at(self._idle[0].idle_since + _KEEP_ALIVE_SECONDS, self._drop_old)

    async def _connect(self, deadline: float) -> Connection | NoAnswer:
        """A new connection, proven to lead to the origin if it is encrypted."""
        limit = min(deadline, self._loop.time() + self._connect_seconds)
        try:
            async with asyncio.timeout_at(limit):
                connection = await self._open_one()
        except ssl.SSLCertVerificationError:
            return _unsent("tls_failed")
        except TimeoutError:
            return _unsent("connect_timeout")
        except (OSError, UnicodeError):  # the latter for what can be no host's name
            return _unsent("connect_failed")
        return connection

    async def _open_one(self) -> Connection:
        host = self._origin.host
        addresses = await self._loop.getaddrinfo(host, self._origin.port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_ANOTHER_ADDRESS_SECONDS, interleave=1
        )
        _, connection = await self._loop.create_connection(
            lambda: Connection(sock, self._open.discard),
            sock=sock,
            ssl=self._tls,
            server_hostname=host if self._tls else None,
        )
        self._open.add(connection)
        return connection


def _verifying() -> ssl.SSLContext:
    """Who answers must prove to be the host, to the system's authorities (SSL_CERT_FILE, SSL_CERT_DIR)."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _unsent(code: str) -> NoAnswer:
    return NoAnswer(may_have_left=False, code=code)
