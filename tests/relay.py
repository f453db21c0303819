"""A TCP relay in front of a server, which a test can cut: for those behind it the server is really away, at once."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from sqlalchemy import URL, make_url


class Relay:
    """Passes bytes between clients and one server. A context manager; it stands from the start."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._is_cut = self._is_silent = False
        self._stop, self._told = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._door = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @classmethod
    def before(cls, url: str) -> tuple[Relay, str]:
        """A relay before the server of a database URL, and the URL that leads through it."""
        parsed: URL = make_url(url)
        relay = cls(parsed.host or "127.0.0.1", parsed.port or 5432)
        through = parsed.set(host="127.0.0.1", port=relay.port)
        return relay, through.render_as_string(hide_password=False)

    def cut(self) -> None:
        """Break every connection, and every one that comes."""
        with self._lock:
            self._is_cut = True
            for each in list(self._pairs):
                self._drop(each)

    def silence(self) -> None:
        """Pass nothing more on, and break nothing: a server that hangs."""
        with self._lock:
            self._is_silent = True

    def mend(self) -> None:
        """Let everything through again."""
        with self._lock:
            was_silent, self._is_silent, self._is_cut = self._is_silent, False, False
            if was_silent:
                for each in list(self._pairs):
                    self._drop(each)

    def __enter__(self) -> Self:
        self._selector.register(self._door, selectors.EVENT_READ)
        self._selector.register(self._told, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.send(b"x")
        self._thread.join(10)
        self.cut()
        for each in (self._door, self._stop, self._told):
            each.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._told:
                    return
                with self._lock, contextlib.suppress(KeyError, OSError, ValueError):
                    if key.fileobj is self._door:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket):
                        self._pass_on(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._door.accept()
        if self._is_cut:
            client.close()
            return
        try:
            server = socket.create_connection(self._target, timeout=10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._pairs |= {client: server, server: client}
        for each in (client, server):
            self._selector.register(each, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        data = source.recv(65536)
        if not data:
            self._drop(source)
        elif not self._is_silent:
            self._pairs[source].sendall(data)

    def _drop(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for each in (one, other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(each)
            each.close()
