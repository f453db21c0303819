"""A private PostgreSQL: its cluster, its port, and when it is ready."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psycopg

from ops.services.binaries import POSTGRES, find
from ops.services.process import LOOPBACK, Account, Process, ServiceError, clean_environ, free_port

_START_SECONDS = 60
#: Commits survive our own process ending, not a power cut: three times faster, and right for tests and demos.
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One PostgreSQL cluster in a directory of its own, trusting every local user. `durable` = survives kill -9."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self._bin = find(POSTGRES)
        self._account = Account.of("postgres")
        self._directory = self._account.give(directory)
        self._durable = durable
        self._process: Process | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the administrator's database."""
        return f"postgresql+psycopg://postgres@{LOOPBACK}:{self.port}/postgres"

    @property
    def pids(self) -> list[int]:
        """The processes started, by id."""
        return [self._process.pid] if self._process else []

    def start(self) -> None:
        """Make the cluster unless it is there, and start the server. Raises ServiceError."""
        if not (self._directory / "data").exists():
            self._initialise()
        settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "port": str(self.port),
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._durable else _FORGETFUL),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = Process(
            "postgres",
            [str(self._bin / "postgres"), "-D", "data", *options],
            directory=self._directory,
            account=self._account,
            environ=clean_environ(),
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for the last client to leave
        )

    def wait(self) -> None:
        """Wait until it answers. Raises ServiceError."""
        if self._process is None:
            raise ServiceError("PostgreSQL was not started")
        self._process.wait_until(self._answers, _START_SECONDS)

    def stop(self) -> None:
        """End it in order."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process:
            self._process.kill()

    def _initialise(self) -> None:
        locale = ["--encoding=UTF8", "--no-locale"]
        argv = [str(self._bin / "initdb"), "-D", "data", "-U", "postgres", "--auth=trust", "--no-sync", *locale]
        done = subprocess.run(
            self._account.command(argv),
            cwd=self._directory,
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceError(f"initdb failed: {done.stderr.strip()[-500:]}")

    def _answers(self) -> bool:
        try:
            with psycopg.connect(host=LOOPBACK, port=self.port, user="postgres", dbname="postgres", connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False
