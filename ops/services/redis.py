"""A private Redis: nothing is written to disk, because nothing in it is the truth."""

from __future__ import annotations

from pathlib import Path

from ops.services.binaries import REDIS, find
from ops.services.process import LOOPBACK, Account, Process, ServiceError, accepts, clean_environ, free_port

_START_SECONDS = 20


class Redis:
    """One Redis server on a port of its own."""

    def __init__(self, directory: Path) -> None:
        self._bin = find(REDIS)
        self._account = Account.of("redis")
        self._directory = self._account.give(directory)
        self._process: Process | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Its URL, database 0."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pids(self) -> list[int]:
        """The processes started, by id."""
        return [self._process.pid] if self._process else []

    def start(self) -> None:
        """Start the server. Raises ServiceError."""
        settings = ["--bind", LOOPBACK, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = Process(
            "redis",
            [str(self._bin / "redis-server"), *settings, "--daemonize", "no"],
            directory=self._directory,
            account=self._account,
            environ=clean_environ(),
        )

    def wait(self) -> None:
        """Wait until it accepts connections. Raises ServiceError."""
        if self._process is None:
            raise ServiceError("Redis was not started")
        self._process.wait_until(lambda: accepts(self.port), _START_SECONDS)

    def stop(self) -> None:
        """End it in order."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """End it at once, with everything it held."""
        if self._process:
            self._process.kill()
