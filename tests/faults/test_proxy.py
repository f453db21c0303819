"""The fault proxy: what it is told to do to a connection happens to it, and to nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from tests.faults.proxy import Proxy, Way, anything, posts

#: Seconds in which what should come has come, and in which what should not would have.
COMES, SILENT = 20.0, 0.3

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: What clients opened; closed at the end of each story.
_opened: list[asyncio.StreamWriter] = []


class Server:
    """Answers each line with itself in capitals, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line.upper())
                await writer.drain()
        self.ended.set()
        writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Server, Proxy]]:
    """A server behind a proxy."""
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    proxy = Proxy("127.0.0.1", listening.sockets[0].getsockname()[1])
    await proxy.start()
    try:
        yield server, proxy
    finally:
        while _opened:
            _opened.pop().close()
        await proxy.close()
        listening.close()


async def call(proxy: Proxy) -> Streams:
    """A client's connection through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    _opened.append(writer)
    return reader, writer


async def ask(streams: Streams, line: bytes) -> bytes:
    """The answer; empty where the connection ended instead."""
    streams[1].write(line)
    try:
        return await asyncio.wait_for(streams[0].readline(), COMES)
    except ConnectionError:
        return b""


async def is_silent(streams: Streams) -> bool:
    """Whether nothing comes."""
    try:
        await asyncio.wait_for(streams[0].read(1), SILENT)
    except TimeoutError:
        return True
    return False


def run(story: Callable[[Server, Proxy], Awaitable[None]]) -> None:
    """Play a story on a loop of its own."""

    async def play() -> None:
        async with proxied() as (server, proxy):
            await story(server, proxy)

    asyncio.run(play())


def test_without_a_fault_everything_passes() -> None:
    async def story(_server: Server, proxy: Proxy) -> None:
        streams = await call(proxy)

        assert await ask(streams, b"one\n") == b"ONE\n"
        assert await ask(streams, b"two\n") == b"TWO\n"

    run(story)


def test_a_delay_holds_both_directions_up_and_loses_nothing() -> None:
    async def story(_server: Server, proxy: Proxy) -> None:
        proxy.delay = 0.2
        streams = await call(proxy)
        began = asyncio.get_running_loop().time()

        assert await ask(streams, b"one\n") == b"ONE\n"
        assert asyncio.get_running_loop().time() - began >= 0.4

    run(story)


def test_a_black_hole_passes_nothing_and_breaks_nothing_until_it_is_mended() -> None:
    async def story(server: Server, proxy: Proxy) -> None:
        streams = await call(proxy)
        await ask(streams, b"one\n")
        proxy.silence()
        streams[1].write(b"two\n")

        assert await is_silent(streams)
        assert server.heard == [b"one\n"]

        proxy.mend()
        assert await ask(streams, b"three\n") == b""
        assert await ask(await call(proxy), b"four\n") == b"FOUR\n"

    run(story)


def test_a_reset_breaks_what_stands_and_lets_new_connections_in() -> None:
    async def story(_server: Server, proxy: Proxy) -> None:
        streams = await call(proxy)
        await ask(streams, b"one\n")

        proxy.reset()

        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(streams[0].read(), COMES)
        assert await ask(await call(proxy), b"two\n") == b"TWO\n"

    run(story)


def test_a_half_closed_connection_still_carries_what_the_client_says() -> None:
    async def story(server: Server, proxy: Proxy) -> None:
        streams = await call(proxy)
        await ask(streams, b"one\n")

        proxy.half_close()

        assert await ask(streams, b"two\n") == b""
        streams[1].write_eof()
        await asyncio.wait_for(server.ended.wait(), COMES)
        assert server.heard == [b"one\n", b"two\n"]

    run(story)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_connection_breaks_at_the_byte_it_is_told(size: int) -> None:
    async def story(server: Server, proxy: Proxy) -> None:
        streams = await call(proxy)
        await ask(streams, b"one\n")
        proxy.cut_after(size, Way.DOWN)
        streams[1].write(b"second\n")

        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(streams[0].readexactly(7), COMES)

        assert server.heard[-1] == b"second\n"
        assert proxy.fired["cut"] == 1

    run(story)


def test_a_request_is_delivered_and_its_answer_lost() -> None:
    async def story(server: Server, proxy: Proxy) -> None:
        streams = await call(proxy)
        await ask(streams, b"one\n")
        proxy.lose_answer(posts)

        assert await ask(streams, b"GET /\n") == b"GET /\n"
        assert await ask(streams, b"POST /\n") == b""

        assert server.heard[-1] == b"POST /\n"
        assert await ask(await call(proxy), b"POST /\n") == b"POST /\n", "it happens once"

    run(story)


def test_a_server_that_says_nothing_still_hears_everything() -> None:
    async def story(server: Server, proxy: Proxy) -> None:
        streams = await call(proxy)
        proxy.mute = True
        streams[1].write(b"one\n")

        assert await is_silent(streams)
        assert server.heard == [b"one\n"]

    run(story)


def test_a_proxy_that_refuses_lets_nobody_in() -> None:
    async def story(server: Server, proxy: Proxy) -> None:
        proxy.refuses = True
        proxy.lose_answer(anything)

        assert await ask(await call(proxy), b"one\n") == b""
        assert server.heard == []

    run(story)
