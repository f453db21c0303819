"""Private servers for tests and local fleets: which are started, where they live, and that all of them end."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from ops.services.binaries import POSTGRES, REDIS, install_missing
from ops.services.binaries import RABBITMQ as RABBITMQ_PROGRAM
from ops.services.management import Management
from ops.services.postgres import Postgres
from ops.services.process import ServiceError
from ops.services.rabbitmq import RabbitMQ
from ops.services.redis import Redis

__all__ = ["MANAGEMENT_VARIABLE", "NAMES", "PROGRAMS", "Server", "ServiceError", "Services", "start"]

Server = Postgres | RabbitMQ | Redis

PROGRAMS = {"postgres": POSTGRES, "rabbitmq": RABBITMQ_PROGRAM, "redis": REDIS}
NAMES = tuple(PROGRAMS)
#: Where the management interface is, when RabbitMQ is one that already runs (default: port 15672 of its host).
MANAGEMENT_VARIABLE = "REACTIVATE_TEST_AMQP_MANAGEMENT_URL"


@contextlib.contextmanager
def start(
    names: Collection[str] = NAMES, directory: Path | None = None, *, durable: bool = False
) -> Iterator[Services]:
    """Start the servers named (of `NAMES`) together; every one has ended when the block is left.

    `directory` keeps what they write; None = a temporary one, removed at the end. `durable` makes PostgreSQL flush.

    Raises:
        ServiceError: one is not installed or did not start; nothing is left running.
    """
    with Services(directory, durable=durable) as services:
        services.start(*names)
        yield services


class Services:
    """Private servers, each started when first wanted. Use as a context manager: at its end all of them end.

    `environ` may name servers that already run (the variables of `ops.services.binaries`) instead of private ones.
    """

    def __init__(
        self, directory: Path | None = None, *, durable: bool = False, environ: Mapping[str, str] | None = None
    ) -> None:
        self._given = directory
        self._directory: Path | None = directory
        self._durable = durable
        self._environ = dict(environ or {})
        self._servers: dict[str, Server] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self, *names: str) -> None:
        """Start what is named and does not run yet, all at the same time. Raises ServiceError."""
        unknown = set(names) - set(NAMES)
        if unknown:
            raise ServiceError(f"there is no service {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
        missing = [name for name in names if name not in self._servers and not self._external(name)]
        install_missing([PROGRAMS[name] for name in missing])
        for name in missing:
            self._servers[name] = self._build(name)
            self._servers[name].start()
        for name in missing:
            self._servers[name].wait()

    def stop(self) -> None:
        """End every server started, and remove the temporary directory."""
        for server in reversed(self._servers.values()):
            server.stop()
        self._servers.clear()
        if self._given is None and self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None

    def server(self, name: str) -> Server:
        """A private server by name, for tests that kill or restart it. Raises ServiceError where there is none."""
        if self._external(name):
            raise ServiceError(f"{PROGRAMS[name].variable} names a server that is not ours to stop")
        self.start(name)
        return self._servers[name]

    @property
    def pids(self) -> list[int]:
        """Every process started, by id."""
        return [pid for server in self._servers.values() for pid in server.pids]

    @property
    def postgres_admin_url(self) -> str:
        """SQLAlchemy URL of a database from which others may be created; starts PostgreSQL if need be."""
        external = self._external("postgres")
        if external:
            return "postgresql+psycopg://" + external.partition("://")[2]
        return self.server("postgres").url

    @property
    def redis_url(self) -> str:
        """Redis's URL; starts it if need be."""
        return self._external("redis") or self.server("redis").url

    def amqp_url(self, vhost: str) -> str:
        """URL of the virtual host, which is made unless it exists; starts RabbitMQ if need be. Raises ServiceError."""
        self._management().make_vhost(vhost)
        external = self._external("rabbitmq")
        base = urlsplit(external)._replace(path="").geturl() if external else self.server("rabbitmq").url
        return f"{base}/{quote(vhost, safe='')}"

    def drop_vhost(self, vhost: str) -> None:
        """Drop a virtual host with everything in it. Raises ServiceError."""
        self._management().drop_vhost(vhost)

    def rabbitmq_memory(self) -> int:
        """Bytes that RabbitMQ uses, by its own account; starts it if need be. Raises ServiceError."""
        return self._management().memory()

    def _external(self, name: str) -> str:
        return self._environ.get(PROGRAMS[name].variable, "")

    def _management(self) -> Management:
        external = self._external("rabbitmq")
        if external:
            parts = urlsplit(external)
            url = self._environ.get(MANAGEMENT_VARIABLE) or f"http://{parts.hostname}:15672"
            return Management(url, unquote(parts.username or "guest"), unquote(parts.password or "guest"))
        server = self.server("rabbitmq")
        if not isinstance(server, RabbitMQ):
            raise TypeError("the server named rabbitmq is not one")
        return server.management

    def _build(self, name: str) -> Server:
        directory = self._home() / name
        match name:
            case "postgres":
                return Postgres(directory, durable=self._durable)
            case "rabbitmq":
                return RabbitMQ(directory)
            case _:
                return Redis(directory)

    def _home(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="reactivate-services-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        # the servers' own directories below are private; their users must get through this one
        self._directory.chmod(0o711)
        return self._directory
