"""A TCP proxy before one server, which delays, loses, cuts or half-closes what passes, when a test says so."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

_CHUNK = 65_536
#: SO_LINGER of 0 s: closing sends a reset.
_RESET = struct.pack("ii", 1, 0)

#: Whether what a client just sent is the one whose answer is to be lost.
Trigger = Callable[[bytes], bool]


class Way(StrEnum):
    """Which way bytes go."""

    UP = "to the server"
    DOWN = "to the client"


def publishes(chunk: bytes) -> bool:
    """AMQP's basic.publish (class 60, method 40) in a frame of its own or behind others."""
    return b"\x00\x3c\x00\x28" in chunk


def commits(chunk: bytes) -> bool:
    """PostgreSQL's COMMIT."""
    return b"COMMIT" in chunk


def posts(chunk: bytes) -> bool:
    """An HTTP request that changes something."""
    return chunk.startswith(b"POST ")


def mails(chunk: bytes) -> bool:
    """A mail's text: under TLS only its length tells it from the commands before."""
    return len(chunk) > 1000


def anything(_chunk: bytes) -> bool:
    """Whatever comes next."""
    return True


@dataclass(eq=False)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    since: Counter[Way] = field(default_factory=Counter)
    loses_answer: bool = False
    half_closed: bool = False

    def reset(self) -> None:
        """Break both sides, with a reset rather than a goodbye."""
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Proxy:
    """Passes bytes between clients and one server. All methods belong to the loop that started it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._cuts: list[tuple[Way, int]] = []
        self._loses: list[Trigger] = []
        self._passes = asyncio.Event()
        self._passes.set()
        self.port = 0
        self.delay = 0.0
        """Seconds that every piece waits, in each direction."""
        self.refuses = False
        """Whether new connections are reset at once."""
        self.mute = False
        """Whether answers are dropped while connections stand: a server that takes everything and says nothing."""
        self.fired: Counter[str] = Counter()
        """What happened to connections, by kind; a fault that met none is not counted."""

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 takes a free one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=_CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Break every connection and stop listening."""
        if self._server is not None:
            self._server.close()
        self.mend()
        self.reset()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def reset(self) -> None:
        """Break every connection that stands."""
        for link in list(self._links):
            self.fired["reset"] += 1
            link.reset()

    def half_close(self) -> None:
        """Tell every client that the server will say no more, and go on passing what clients say."""
        for link in list(self._links):
            if not link.half_closed and link.client.can_write_eof():
                link.half_closed = True
                self.fired["half_close"] += 1
                with suppress(OSError, RuntimeError):
                    link.client.write_eof()

    def silence(self) -> None:
        """Pass nothing more on, and break nothing: a black hole."""
        self._passes.clear()
        self.fired["silence"] += 1

    def cut_after(self, size: int, way: Way) -> None:
        """Break the connection on which the `size`th byte from now passes that way."""
        self._cuts.append((way, size))
        for link in self._links:
            link.since[way] = 0

    def lose_answer(self, trigger: Trigger) -> None:
        """Deliver the next request that is `trigger`, drop its answer and break the connection."""
        self._loses.append(trigger)

    def mend(self) -> None:
        """End every fault. What hung in a black hole is broken: its bytes may be anywhere."""
        hung = self.mute or not self._passes.is_set()
        self.delay, self.refuses, self.mute = 0.0, False, False
        self._cuts.clear()
        self._loses.clear()
        self._passes.set()
        for link in list(self._links):
            if hung or link.half_closed:
                link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refuses:
                raise ConnectionRefusedError
            upstream, server = await asyncio.open_connection(*self._target, limit=_CHUNK)
        except OSError:
            self.fired["refused"] += 1
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
            return
        link = _Link(writer, server)
        self._links.add(link)
        pumps = [
            asyncio.ensure_future(self._pump(link, reader, server, Way.UP)),
            asyncio.ensure_future(self._pump(link, upstream, writer, Way.DOWN)),
        ]
        self._pumps.update(pumps)
        try:
            await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            self._pumps.difference_update(pumps)
            self._links.discard(link)
            for each in (writer, server):
                each.close()

    async def _pump(self, link: _Link, source: asyncio.StreamReader, to: asyncio.StreamWriter, way: Way) -> None:
        with suppress(OSError):
            while chunk := await source.read(_CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._passes.wait()
                if not await self._pass_on(link, chunk, to, way):
                    return
        # a goodbye is passed on; what comes back may still be read
        if way is Way.UP or not link.half_closed:
            with suppress(OSError, RuntimeError):
                to.write_eof()

    async def _pass_on(self, link: _Link, chunk: bytes, to: asyncio.StreamWriter, way: Way) -> bool:
        """Whether the connection stands afterwards."""
        if way is Way.DOWN and self.mute:
            self.fired["mute"] += 1
            return True
        if way is Way.DOWN and link.loses_answer:
            self.fired["lose_answer"] += 1
            link.reset()
            return False
        link.since[way] += len(chunk)
        if way is Way.UP:
            self._arm(link, chunk)
        kept = self._until_cut(link, chunk, way)
        if way is Way.UP or not link.half_closed:
            to.write(kept)
            await to.drain()
        if len(kept) < len(chunk):
            self.fired["cut"] += 1
            link.reset()
            return False
        return True

    def _arm(self, link: _Link, chunk: bytes) -> None:
        for trigger in self._loses:
            if trigger(chunk):
                self._loses.remove(trigger)
                link.loses_answer = True
                return

    def _until_cut(self, link: _Link, chunk: bytes, way: Way) -> bytes:
        for cut in self._cuts:
            if cut[0] is way and link.since[way] >= cut[1]:
                self._cuts.remove(cut)
                return chunk[: max(0, cut[1] - (link.since[way] - len(chunk)))][: len(chunk) - 1]
        return chunk
