"""A private RabbitMQ: a node with an epmd of its own, its ports, and how virtual hosts are made on it."""

from __future__ import annotations

import shutil
from pathlib import Path

from ops.services.binaries import RABBITMQ, find
from ops.services.management import Management
from ops.services.process import LOOPBACK, Account, Process, ServiceError, accepts, clean_environ, free_port

_START_SECONDS = 120
_STOP_SECONDS = 30
#: Idle Erlang schedulers must not spin: the machine is shared with what is tested.
_CALM = "+sbwt none +sbwtdcpu none +sbwtdio none"


class RabbitMQ:
    """One RabbitMQ node in a directory of its own, with the management and Prometheus plugins."""

    def __init__(self, directory: Path) -> None:
        self._bin = find(RABBITMQ)
        epmd = shutil.which("epmd")
        if epmd is None:
            raise ServiceError("epmd of Erlang is not on PATH; install erlang-base beside rabbitmq-server")
        self._epmd = epmd
        self._account = Account.of("rabbitmq")
        self._directory = self._account.give(directory)
        self._processes: list[Process] = []
        self.port, self.management_port, self.prometheus_port = free_port(), free_port(), free_port()
        self._dist_port, self._epmd_port = free_port(), free_port()
        self.management = Management(f"http://{LOOPBACK}:{self.management_port}", "guest", "guest")

    @property
    def url(self) -> str:
        """Its URL without a virtual host."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}"

    @property
    def prometheus_url(self) -> str:
        """Where it serves its own metrics."""
        return f"http://{LOOPBACK}:{self.prometheus_port}/metrics"

    @property
    def pids(self) -> list[int]:
        """The processes started, by id."""
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Start epmd and the node. Raises ServiceError."""
        self._configure()
        # Erlang would start an epmd that outlives the node; ours is a child we can end
        self._processes = [
            self._process("epmd", [self._epmd, "-address", LOOPBACK, "-port", str(self._epmd_port)]),
        ]
        self._processes[0].wait_until(lambda: accepts(self._epmd_port), _START_SECONDS)
        self._processes.append(self._process("rabbitmq", [str(self._bin / "rabbitmq-server")]))

    def wait(self) -> None:
        """Wait until it takes connections and its management interface answers. Raises ServiceError."""
        if not self._processes:
            raise ServiceError("RabbitMQ was not started")
        self._processes[-1].wait_until(lambda: accepts(self.port) and self.management.answers(), _START_SECONDS)

    def stop(self) -> None:
        """End the node in order, then its epmd."""
        for process in reversed(self._processes):
            process.stop(_STOP_SECONDS)

    def kill(self) -> None:
        """End everything at once, as a power cut would."""
        for process in reversed(self._processes):
            process.kill()

    def wipe(self) -> None:
        """Empty the disk of a node that has ended: users, virtual hosts and queues are gone with it."""
        shutil.rmtree(self._directory / "mnesia", ignore_errors=True)

    def _process(self, name: str, argv: list[str]) -> Process:
        return Process(
            name, argv, directory=self._directory, account=self._account, environ=clean_environ(**self._environ())
        )

    def _environ(self) -> dict[str, str]:
        directory = self._directory
        return {
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": "reactivate@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_CALM} -kernel inet_dist_use_interface {{127,0,0,1}}",
        }

    def _configure(self) -> None:
        settings = {
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": str(self.management_port),
            "prometheus.tcp.ip": LOOPBACK,
            "prometheus.tcp.port": str(self.prometheus_port),
            "log.file": "false",
            "log.console": "true",
            "log.console.level": "warning",
            # the write-ahead log of quorum queues is kept in memory too; half a gigabyte is the default
            "raft.wal_max_size_bytes": str(64 * 1024 * 1024),
        }
        (self._directory / "rabbitmq.conf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        (self._directory / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n")
        for name in ("rabbitmq.conf", "enabled_plugins"):
            (self._directory / name).chmod(0o644)
