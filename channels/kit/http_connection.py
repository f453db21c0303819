"""One HTTP/1.1 connection: writes a request in one piece, and says what came back, or how the wait for it ended.

llhttp (httptools) reads the answers. What it leaves open is decided here: where an answer without a length ends, how
long one may be, and whether the connection may carry another request (RFC 9112, 6.3 and 9.3).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import httptools

from channels.kit.http_answer import Answer, NoAnswer

#: Providers answer with a few hundred bytes; what is longer is no answer of theirs.
LARGEST_ANSWER = 64 * 1024

#: Bytes of everything up to the end of an answer: its head, interim answers before it, the framing of chunks.
_LARGEST_ARRIVAL = 4 * LARGEST_ANSWER

#: Interim answers (100 Continue, 103 Early Hints) come before the one that counts.
_FIRST_FINAL_STATUS = 200


class Connection(asyncio.Protocol):
    """Carries one call at a time."""

    def __init__(self, sock: socket.socket, on_closed: Callable[[Connection], None]) -> None:
        """Must be called from a coroutine. `sock` is the socket under it, which is looked at but never read from."""
        self.idle_since = 0.0
        """When its last exchange ended, by the loop's clock."""
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._on_closed = on_closed
        self._closed = asyncio.Event()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[Answer | NoAnswer] | None = None
        self._serves_on = True
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._arrived = 0
        self._has_head = self._has_length = False
        self._answer: Answer | None = None

    async def exchange(self, request: bytes, deadline: float) -> Answer | NoAnswer:
        """Write `request`, and wait for its answer until `deadline` (the loop's clock).

        Whatever ends the wait without an answer leaves no connection behind; the request may have left by then.
        """
        self._forget()
        waiter: asyncio.Future[Answer | NoAnswer] = self._loop.create_future()
        self._waiter = waiter
        late = self._loop.call_at(deadline, self._fail, "answer_timeout")
        self._transport.write(request)
        try:
            return await waiter
        finally:
            late.cancel()
            self._waiter = None
            self.idle_since = self._loop.time()
            if waiter.cancelled():
                self.abort()

    def may_serve_again(self) -> bool:
        """Whether the last exchange left it fit for another."""
        return self._serves_on and not self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Whether its peer neither hung up nor said a word while it was idle.

        The kernel is asked, since the loop may not have looked yet: a request that is not written to a dead connection
        surely did not leave, and what nobody asked for must not become its answer.
        """
        if not self.may_serve_again():
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def abort(self) -> None:
        """Close it at once; whoever waits for an answer learns that there is none."""
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await self._closed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop hands over the transport, behind the TLS handshake if there is one."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        if self._waiter is None:
            self.abort()  # nobody asked
            return
        self._arrived += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._serves_on = False
            if self._answer is None:
                self._fail("answer_unreadable")
                return
            # what comes behind a complete answer does not make it wrong
        if len(self._body) > LARGEST_ANSWER or self._arrived > _LARGEST_ARRIVAL:
            self._fail("answer_unreadable")
        elif self._answer is not None:
            self._succeed(self._answer)

    def eof_received(self) -> None:
        """The peer says no more: the end of an answer that named no length. The transport closes itself then."""
        if self._has_head and not self._has_length:
            self._serves_on = False
            self._succeed(Answer(self._parser.get_status_code(), self._headers, bytes(self._body)))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """The connection is gone, by whoever's doing."""
        self._fail("answer_unreadable" if self._has_head else "connection_lost")
        self._closed.set()
        self._on_closed(self)

    def on_message_begin(self) -> None:
        """The parser: an answer begins, an interim one, or one too many."""
        if self._answer is not None:
            self._serves_on = False
            return
        self._headers = {}
        self._body.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser: a header."""
        if self._answer is None:
            self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """The parser: the end of a head."""
        self._has_head = True
        self._has_length = not self._headers.keys().isdisjoint(("content-length", "transfer-encoding"))

    def on_body(self, body: bytes) -> None:
        """The parser: a part of a body."""
        if self._answer is None:
            self._body += body

    def on_message_complete(self) -> None:
        """The parser: the end of a message."""
        status = self._parser.get_status_code()
        if self._answer is not None:
            return
        if status < _FIRST_FINAL_STATUS:
            self._has_head = False
            return
        # an answer to a request that is still on its way leaves a rest that nobody would read
        is_written = not self._transport.get_write_buffer_size()
        self._serves_on = self._parser.should_keep_alive() and is_written
        self._answer = Answer(status, self._headers, bytes(self._body))

    def _forget(self) -> None:
        self._headers = {}
        self._body.clear()
        self._arrived = 0
        self._has_head = self._has_length = False
        self._answer = None

    def _succeed(self, answer: Answer) -> None:
        self._end(answer)
        if not self._serves_on:
            self.abort()

    def _fail(self, code: str) -> None:
        self._end(NoAnswer(may_have_left=True, code=code))
        self.abort()

    def _end(self, said: Answer | NoAnswer) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(said)
