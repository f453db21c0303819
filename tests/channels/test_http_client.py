"""What the wire does to a call of the HTTP client becomes an answer, or the truth about whether the request left."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop
from certificates import ca_file, server_context
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.kit import http_pool
from channels.kit.http import Answer, HttpClient, NoAnswer

OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
CREATED = Answer(201, {"content-length": "2"}, b"{}")
LOST = NoAnswer(may_have_left=True, code="connection_lost")
UNREADABLE = NoAnswer(may_have_left=True, code="answer_unreadable")
LATE = NoAnswer(may_have_left=True, code="answer_timeout")
NEVER_LEFT = NoAnswer(may_have_left=False, code="connect_timeout")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Runs a coroutine on each event loop."""

    def on_loop(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, 60))

    return on_loop


class Wire:
    """A server that is up; it counts its connections and keeps what was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1/messages"
        self.connections = 0
        self.requests: list[bytes] = []
        self.over = asyncio.Event()

    async def request(self, reader: asyncio.StreamReader) -> bytes | None:
        """The next request of a connection, or None where it ended."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        return self.requests[-1]


@asynccontextmanager
async def wire(
    serve: Callable[[Wire, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], **more: Any
) -> AsyncIterator[Wire]:
    """A server on a real socket, each of whose connections is served so."""
    tasks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        up.connections += 1
        try:
            await serve(up, reader, writer)
        except ConnectionError:
            pass  # the client had enough
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **more)
    up = Wire(server.sockets[0].getsockname()[1])
    try:
        yield up
    finally:
        up.over.set()
        server.close()
        await asyncio.gather(*tasks)
        await server.wait_closed()


@asynccontextmanager
async def client(seconds: float = 20, **more: Any) -> AsyncIterator[HttpClient]:
    """A client with a time limit that only what hangs reaches."""
    opened = HttpClient(timeout_seconds=seconds, headers={"Authorization": "Basic eA=="}, **more)
    try:
        yield opened
    finally:
        await opened.aclose()


def answering(*pieces: bytes, then_close: bool = False) -> Any:
    """Answers every request with these pieces, each written when the one before it has left."""

    async def serve(up: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await up.request(reader) is not None:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if then_close:
                return

    return serve


async def calls(serve: Any, number: int = 1, seconds: float = 20) -> tuple[list[Answer | NoAnswer], Wire]:
    """So many calls, each after the last."""
    async with wire(serve) as up, client(seconds) as http:
        return [await http.post_form(up.url, {"To": f"{n}"}) for n in range(number)], up


def test_a_request_is_what_the_protocol_asks_for(run: Any) -> None:
    async def ask() -> bytes:
        async with wire(answering(OK)) as up, client() as http:
            assert await http.post_form(up.url + "?a=b c", {"Body": "é & y"}) == CREATED
            return up.requests[0].replace(up.url.split("/")[2].encode(), b"HOST")

    assert run(ask()) == (
        b"POST /v1/messages?a=b%20c HTTP/1.1\r\nHost: HOST\r\nUser-Agent: patient-reactivation-fleet\r\n"
        b"Accept-Encoding: identity\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Authorization: Basic eA==\r\nContent-Length: 17\r\n\r\nBody=%C3%A9+%26+y"
    )


@pytest.mark.parametrize("ending", ["a\r\nX-Evil: 1", "a\nb", "a\0b"])
def test_a_header_that_would_add_another_is_refused(run: Any, ending: str) -> None:
    async def make() -> None:
        HttpClient(timeout_seconds=1, headers={"Authorization": ending})

    with pytest.raises(ValueError, match="Authorization"):
        run(make())


WAYS_TO_ANSWER = {
    "a length": (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n", b"{}"),
    "chunks": (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"),
    "chunks with a trailer": (
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n",
    ),
    "an interim answer before it": (b"HTTP/1.1 100 Continue\r\n\r\n", OK),
    "two interim answers in one piece with it": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,
    ),
}


@pytest.mark.parametrize("pieces", WAYS_TO_ANSWER.values(), ids=WAYS_TO_ANSWER.keys())
def test_every_way_to_answer_is_read_and_keeps_the_connection(run: Any, pieces: tuple[bytes, ...]) -> None:
    answers, up = run(calls(answering(*pieces), 3))

    assert [(answer.status, answer.body) for answer in answers] == [(201, b"{}")] * 3
    assert up.connections == 1


ENDS_CONNECTION = {
    "says so": b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    "is of HTTP/1.0": b"HTTP/1.0 201 Created\r\nContent-Length: 2\r\n\r\n{}",
    "is followed by another that nobody asked for": OK + OK,
    "is followed by half of another": OK + OK[:20],
    "is followed by garbage": OK + b"\0\0\0 what?",
}


@pytest.mark.parametrize("said", ENDS_CONNECTION.values(), ids=ENDS_CONNECTION.keys())
def test_an_answer_stands_whose_connection_is_not_used_again_because_it(run: Any, said: bytes) -> None:
    answers, up = run(calls(answering(said), 3))

    assert [(answer.status, answer.body) for answer in answers] == [(201, b"{}")] * 3
    assert up.connections == 3


def test_an_answer_without_a_length_ends_with_its_connection(run: Any) -> None:
    answers, up = run(calls(answering(b"HTTP/1.1 201 Created\r\n\r\n{", b"}", then_close=True), 2))

    assert answers == [Answer(201, {}, b"{}")] * 2
    assert up.connections == 2


NOT_AN_ANSWER = {
    "another protocol": (b"220 mail.example.org ESMTP\r\n", UNREADABLE),
    "a status that is no number": (b"HTTP/1.1 abc Created\r\n\r\n", UNREADABLE),
    "a line without a colon": (b"HTTP/1.1 201 Created\r\nnonsense\r\n\r\n", UNREADABLE),
    "two lengths": (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", UNREADABLE),
    "a length and chunks": (
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        UNREADABLE,
    ),
    "a chunk of no size": (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", UNREADABLE),
    "a switch of protocols": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        UNREADABLE,
    ),
    "interim answers for ever": (b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, UNREADABLE),
    "a head without end": (b"HTTP/1.1 201 Created\r\n" + b"X-Long: " + b"y" * 1_000_000, UNREADABLE),
    "headers without end": (b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 100_000, UNREADABLE),
    "a body that is too long": (b"HTTP/1.1 201 Created\r\nContent-Length: 70000\r\n\r\n" + b" " * 70_000, UNREADABLE),
    "a body of too many chunks": (
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 70_000,
        UNREADABLE,
    ),
}


@pytest.mark.parametrize(("said", "expected"), NOT_AN_ANSWER.values(), ids=NOT_AN_ANSWER.keys())
def test_what_is_no_answer_leaves_the_outcome_open(run: Any, said: bytes, expected: NoAnswer) -> None:
    answers, up = run(calls(answering(said), 2))

    assert answers == [expected] * 2
    assert up.connections == 2


@pytest.mark.parametrize("cut", range(len(OK)))
def test_an_answer_cut_anywhere_is_none(cut: int) -> None:
    has_head = cut >= OK.index(b"{")

    answers, _ = asyncio.run(calls(answering(OK[:cut], then_close=True)))

    assert answers == [UNREADABLE if has_head else LOST]


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, len(OK) - 1)))
def test_an_answer_in_any_pieces_is_whole(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(OK)]

    answers, _ = asyncio.run(calls(answering(*(OK[a:b] for a, b in pairwise(edges)))))

    assert answers == [CREATED]


def test_a_drip_of_bytes_does_not_stretch_the_time_limit(run: Any) -> None:
    async def serve(up: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await up.request(reader)
        writer.write(b"HTTP/1.1 201 Created\r\n")
        while not writer.is_closing() and not up.over.is_set():
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.wait([asyncio.ensure_future(up.over.wait())], timeout=0.05)

    answers, _ = run(calls(serve, seconds=1))

    assert answers == [LATE]


def test_a_peer_that_stops_listening_in_the_middle_of_a_request_leaves_the_outcome_open(run: Any) -> None:
    async def serve(up: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        writer.transport.abort()

    answers, _ = run(calls(serve))

    assert answers == [LOST]


def test_a_peer_that_half_closes_and_still_answers_nothing_leaves_the_outcome_open(run: Any) -> None:
    async def serve(up: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await up.request(reader)
        writer.write_eof()
        await reader.read()

    answers, _ = run(calls(serve))

    assert answers == [LOST]


class Hangs:
    """A server in a thread: what the test does to its first connection happens while the client's loop stands still."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        self.accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.accepted.append(connection)
            connection.recv(65_536)
            connection.sendall(OK)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for each in self.accepted:
            each.close()


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda peer: peer.shutdown(socket.SHUT_WR),
        lambda peer: peer.close(),
        lambda peer: peer.sendall(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"),
        lambda peer: peer.sendall(OK),
    ],
    ids=["half closes", "closes", "says it is too late", "answers what nobody asked"],
)
def test_nothing_is_written_to_an_idle_connection_whose_peer(
    run: Any, meanwhile: Callable[[socket.socket], None]
) -> None:
    async def ask() -> tuple[list[Answer | NoAnswer], int]:
        server = Hangs()
        try:
            async with client() as http:
                first = await http.post_form(server.url, {"n": "1"})
                # between the two the client's loop never runs: only the kernel knows what came
                meanwhile(server.accepted[0])
                second = await http.post_form(server.url, {"n": "2"})
                return [first, second], len(server.accepted)
        finally:
            server.close()

    assert run(ask()) == ([CREATED, CREATED], 2)


def test_calls_share_a_bounded_number_of_connections(run: Any) -> None:
    async def ask() -> tuple[list[Answer | NoAnswer], int]:
        async with wire(answering(OK)) as up, client(connections=3) as http:
            said = await asyncio.gather(*(http.post_form(up.url, {"n": str(n)}) for n in range(40)))
            return list(said), up.connections

    assert run(ask()) == ([CREATED] * 40, 3)


async def _never_answers(up: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await up.request(reader)
    await up.over.wait()


def test_a_call_that_finds_no_free_connection_in_time_did_not_leave(run: Any) -> None:
    async def ask() -> tuple[list[Answer | NoAnswer], int]:
        async with wire(_never_answers) as up, client(1, connections=1) as http:
            said = await asyncio.gather(*(http.post_form(up.url, {"n": str(n)}) for n in range(3)))
            return list(said), len(up.requests)

    assert run(ask()) == ([LATE, NEVER_LEFT, NEVER_LEFT], 1)


def test_idle_connections_are_dropped_after_a_while(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "_KEEP_ALIVE_SECONDS", 0.1)
    ended = asyncio.Event()

    async def serve(up: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(up, reader, writer)
        ended.set()

    async def ask() -> int:
        async with wire(serve) as up, client() as http:
            await http.post_form(up.url, {})
            await ended.wait()
            await http.post_form(up.url, {})
            return up.connections

    assert run(ask()) == 2


def test_a_call_given_up_takes_its_connection_with_it_and_makes_room(run: Any) -> None:
    async def ask() -> Answer | NoAnswer:
        reached = asyncio.Event()

        async def serve(up: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if up.connections > 1:
                await answering(OK)(up, reader, writer)
                return
            await up.request(reader)
            reached.set()
            assert await reader.read() == b""

        async with wire(serve) as up, client(connections=1) as http:
            given_up = asyncio.ensure_future(http.post_form(up.url, {"n": "1"}))
            await reached.wait()
            given_up.cancel()
            await asyncio.wait([given_up])
            return await http.post_form(up.url, {"n": "2"})

    assert run(ask()) == CREATED


def test_closing_ends_calls_under_way_without_an_answer(run: Any) -> None:
    async def ask() -> Answer | NoAnswer:
        reached = asyncio.Event()

        async def serve(up: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await up.request(reader)
            reached.set()
            await reader.read()

        async with wire(serve) as up, client() as http:
            under_way = asyncio.ensure_future(http.post_form(up.url, {}))
            await reached.wait()
            await http.aclose()
            return await under_way

    assert run(ask()) == LOST


def test_a_proven_host_is_spoken_to_encrypted_and_on_one_connection(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file(tmp_path)))

    async def ask() -> tuple[list[Answer | NoAnswer], int]:
        async with wire(answering(OK), ssl=server_context()) as up, client() as http:
            url = up.url.replace("http://127.0.0.1", "https://localhost")
            return [await http.post_form(url, {"n": str(n)}) for n in range(3)], up.connections

    assert run(ask()) == ([CREATED] * 3, 1)


def test_a_certificate_of_another_host_gets_nothing(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file(tmp_path)))

    async def ask() -> tuple[Answer | NoAnswer, list[bytes]]:
        async with wire(answering(OK), ssl=server_context()) as up, client() as http:
            # an address that leads here, and that the certificate does not name
            url = up.url.replace("http://127.0.0.1", "https://0.0.0.0")
            return await http.post_form(url, {}), up.requests

    assert run(ask()) == (NoAnswer(may_have_left=False, code="tls_failed"), [])


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example.org", "ä" * 64])
def test_what_can_be_no_host_was_not_called(run: Any, host: str) -> None:
    async def ask() -> Answer | NoAnswer:
        async with client() as http:
            return await http.post_form(f"http://{host}/", {})

    assert run(ask()) == NoAnswer(may_have_left=False, code="connect_failed")


def test_no_proxy_of_the_environment_sees_a_call(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    answers, _ = run(calls(answering(OK)))

    assert answers == [CREATED]
