"""The sink: a provider that takes every text at once and remembers when; the same for both sides of a comparison.

Written on the bare protocol, for its own cost is paid by both sides and hides the difference between them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from array import array
from typing import Any

import httptools
import uvloop

#: Bodies kept for the side that only posts them again.
_KEPT = 200


class Sink:
    """What arrived: the instants of all posts (Unix seconds), and the first bodies."""

    def __init__(self) -> None:
        self.times = array("d")
        self.bodies: list[str] = []

    def take(self, body: bytes) -> bytes:
        """One text; the provider's answer to it."""
        self.times.append(time.time())
        if len(self.bodies) < _KEPT:
            self.bodies.append(body.decode())
        return b'{"sid": "SM%d", "status": "queued", "error_code": null}' % len(self.times)

    def tell(self, path: str) -> bytes:
        """What the benchmark asks: `/count`, `/bodies`, `/times/FROM`."""
        if path == "/count":
            return json.dumps(len(self.times)).encode()
        if path == "/bodies":
            return json.dumps(self.bodies).encode()
        return json.dumps(list(self.times[int(path.rpartition("/")[2]) :])).encode()


class _Connection(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url, self._body = b"", b""

    def on_url(self, url: bytes) -> None:
        """A part of its path."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._body += body

    def on_message_complete(self) -> None:
        """All of it is there: answer."""
        is_post = self._parser.get_method() == b"POST"
        said = self._sink.take(self._body) if is_post else self._sink.tell(self._url.decode())
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (b"201 Created" if is_post else b"200 OK", len(said)) + said)


async def _serve(port: int) -> None:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(sink), "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))
