"""Delivers one message over SMTP on kept connections, and says at which stage of the dialogue it ended.

The line that matters is the final dot of DATA (RFC 5321, 4.1.1.4): until it is written the server must not accept the
message, after it only the server's reply tells.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import aiosmtplib
from aiosmtplib.protocol import normalize_message_line_endings

#: Servers close idle connections after minutes (RFC 5321 asks for five); many relays much sooner.
_IDLE_SECONDS = 20.0

#: Relays limit the messages of one connection; a new one then is cheaper than an error.
_MESSAGES_PER_CONNECTION = 100


class Stage(StrEnum):
    """How far the dialogue came."""

    CONNECT = "connect"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"
    """The final dot was written."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said to the last command of a stage. `code` 0: it said nothing that is SMTP."""

    stage: Stage
    code: int
    text: str = ""
    failure: str = ""
    """Where there was no reply: connection_lost, timeout, tls_failed, not_offered, unreadable."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where to deliver, and how to prove who we are."""

    host: str
    port: int
    tls: str
    """`starttls`, `tls` (from the first byte) or `none`."""
    username: str
    password: str = field(repr=False)
    greeting: str
    """The name we give in EHLO."""
    timeout_seconds: float
    """For a whole delivery, waiting for a free connection included."""
    connections: int
    context: ssl.SSLContext | None = None


class SmtpPool:
    """A bounded number of connections, each used for many messages."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._free = asyncio.Semaphore(server.connections)
        self._idle: list[_Connection] = []

    async def deliver(self, sender: str, recipient: str, message: bytes) -> Reply:
        """Hand over one message. Raises nothing that the network or the server brings about."""
        progress = _Progress(asyncio.get_running_loop().time() + self._server.timeout_seconds)
        try:
            async with asyncio.timeout_at(progress.deadline), self._free:
                return await self._deliver(progress, sender, recipient, message)
        except TimeoutError:
            return Reply(progress.stage, 0, failure="timeout")

    async def aclose(self) -> None:
        """Say goodbye on every idle connection and close it."""
        while self._idle:
            connection = self._idle.pop()
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await connection.client.quit()
            connection.client.close()

    async def _deliver(self, progress: _Progress, sender: str, recipient: str, message: bytes) -> Reply:
        while True:
            connection = self._reuse()
            is_reused = connection is not None
            connection = connection or _Connection(_client(self._server))
            try:
                reply = await connection.deliver(self._server, progress, sender, recipient, message)
            finally:
                self._keep_or_close(connection)
            # the server had hung up on an idle connection: it heard nothing of this message, so a fresh one may try
            if is_reused and reply.stage is Stage.MAIL and (reply.failure == "connection_lost" or reply.code == 421):
                continue
            return reply

    def _reuse(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.client.close()
        return None

    def _keep_or_close(self, connection: _Connection) -> None:
        if connection.is_clean and connection.is_fresh():
            self._idle.append(connection)
        else:
            connection.client.close()


@dataclass(slots=True)
class _Progress:
    deadline: float
    """By the event loop's time."""
    stage: Stage = Stage.CONNECT

    def remaining(self) -> float:
        """Seconds left. Every wait is given them, since up to Python 3.11 `wait_for` may swallow a cancellation that
        comes in the same instant as its result, and with it the timeout around the whole."""
        left = self.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise TimeoutError
        return left


@dataclass(slots=True)
class _Connection:
    client: aiosmtplib.SMTP
    messages: int = 0
    used_at: float = 0.0
    is_clean: bool = False
    """Between two messages; anything else is closed rather than guessed at."""

    def is_fresh(self) -> bool:
        is_young = time.monotonic() - self.used_at < _IDLE_SECONDS
        return self.client.is_connected and is_young and self.messages < _MESSAGES_PER_CONNECTION

    async def deliver(
        self, server: SmtpServer, progress: _Progress, sender: str, recipient: str, message: bytes
    ) -> Reply:
        self.is_clean = False
        try:
            if not self.client.is_connected:
                await _connect(self.client, server, progress)
            reply = await self._dialogue(progress, sender, recipient, message)
            self.messages += 1
            self.used_at = time.monotonic()
        except aiosmtplib.SMTPResponseException as error:
            if error.code == aiosmtplib.SMTPStatus.invalid_response:
                return Reply(progress.stage, 0, failure="unreadable")
            return Reply(progress.stage, error.code, error.message)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Reply(progress.stage, 0, failure=_failure(error))
        return reply

    async def _dialogue(self, progress: _Progress, sender: str, recipient: str, message: bytes) -> Reply:
        for stage, command, expected in (
            (Stage.MAIL, f"MAIL FROM:<{sender}>", 250),
            (Stage.RCPT, f"RCPT TO:<{recipient}>", 250),
            (Stage.DATA, "DATA", 354),
        ):
            progress.stage = stage
            reply = await self.client.execute_command(command.encode("ascii"), timeout=progress.remaining())
            if reply.code != expected and not (stage is Stage.RCPT and reply.code == 251):
                await self._reset(progress)
                return Reply(stage, reply.code, reply.message)
        reply = await self._content(progress, message)
        self.is_clean = reply.code != 421
        return Reply(Stage.DOT, reply.code, reply.message)

    async def _content(self, progress: _Progress, message: bytes) -> aiosmtplib.SMTPResponse:
        protocol = self.client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("connection lost")
        lines = normalize_message_line_endings(message)
        # dot-stuffing, RFC 5321, 4.5.2
        stuffed = (b"." if lines.startswith(b".") else b"") + lines.replace(b"\r\n.", b"\r\n..")
        timeout = progress.remaining()
        protocol.write(stuffed + b".\r\n")  # raises before it writes where the connection is gone
        progress.stage = Stage.DOT
        return await protocol.read_response(timeout)

    async def _reset(self, progress: _Progress) -> None:
        # a refused message leaves an open envelope behind; a connection that will not reset is not used again
        with suppress(aiosmtplib.SMTPException, OSError):
            await self.client.rset(timeout=progress.remaining())
            self.is_clean = True


def _client(server: SmtpServer) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        local_hostname=server.greeting,
        timeout=server.timeout_seconds,
        use_tls=server.tls == "tls",
        start_tls=False,  # we do it ourselves, to know at which stage it failed
        tls_context=server.context,
    )


async def _connect(client: aiosmtplib.SMTP, server: SmtpServer, progress: _Progress) -> None:
    progress.stage = Stage.CONNECT
    await client.connect(timeout=progress.remaining())
    await client.ehlo(timeout=progress.remaining())
    if server.tls == "starttls":
        progress.stage = Stage.TLS
        await client.starttls(timeout=progress.remaining())
        await client.ehlo(timeout=progress.remaining())
    if server.username:
        progress.stage = Stage.AUTH
        await client.login(server.username, server.password, timeout=progress.remaining())


def _failure(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError) or isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return "tls_failed"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, OSError):  # SMTPServerDisconnected and SMTPConnectError are
        return "connection_lost"
    if isinstance(error, ValueError):  # e.g. an AUTH challenge that is not base64
        return "unreadable"
    return "not_offered"
