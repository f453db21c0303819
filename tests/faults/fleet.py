"""The fleet under test: its processes on private servers behind proxies, ended and started again one by one."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.client import OK, HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import make_url

from domain.ledger.vault import Vault
from ops.runtime.clock import SharedClock
from ops.services.process import free_port
from ops.services.start import Server, Services
from tests.faults.nursery import Nursery
from tests.faults.outside import Outside
from tests.faults.points import Act, Board
from tests.faults.shim import BOARD

#: Name of a process -> its command. Two clocks: one leads, the other stands by.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "web": ("web",),
    "clock": ("clock", "--pause", "0.1", "--scan-every", "1"),
    "clock-2": ("clock", "--pause", "0.1", "--scan-every", "1"),
    **{
        name: ("worker", name, "--threads", "2")
        for name in (
            *("intake", "enrol", "sms", "sms.answers", "email", "email.answers"),
            "receipts",
            "replies",
            "asking",
        )
    },
}
#: Processes that share the proxies before their servers.
GROUPS: Mapping[str, str] = {
    name: name if name == "web" else name.partition("-")[0] if name.startswith("clock") else "workers"
    for name in COMMANDS
}
SERVERS = ("postgres", "rabbitmq", "redis")

#: Messages per second and channel: slow enough that what happens once a second happens amidst them.
RATE = 6
#: Real seconds between two ticks of the fleet's clock, and until a process that was told to end must have ended.
_TICK, _END = 0.005, 30.0
#: How a process may end without anybody having ended it: its servers were away for a minute.
_SERVERS_AWAY = 3


@dataclass
class Ticking:
    """A clock file that goes as real time does, and can be set forward; `skew` in seconds is another's error."""

    clock: SharedClock
    skew: SharedClock
    error: timedelta = timedelta()
    _started: float = field(default_factory=time.monotonic)
    _began: datetime = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> threading.Thread:
        """Let it go."""
        self._began, self._started = self.clock.now(), time.monotonic()
        for each in (self.clock, self.skew):
            each.allow(2**60)
        thread = threading.Thread(target=self._run, name="time", daemon=True)
        thread.start()
        return thread

    def jump(self, by: timedelta) -> None:
        """Set it forward."""
        with self._lock:
            self._began += max(by, timedelta())

    def end(self) -> None:
        """Let it stand."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(_TICK):
            with self._lock:
                now = self._began + timedelta(seconds=time.monotonic() - self._started)
                self.clock.set(now)
                # a machine whose clock is set back
                with suppress(ValueError):
                    self.skew.set(max(now + self.error, self.skew.now()))


class Fleet:
    """Starts every process and keeps them running; each that ends is started again."""

    def __init__(self, directory: Path, services: Services, outside: Outside, times: Ticking, seed: int) -> None:
        self.directory = directory
        self.services = services
        self.outside = outside
        self.times = times
        self.pids: dict[str, int] = {}
        self.ended: list[tuple[str, int]] = []
        """Every end so far: process and exit code."""
        self.deaths: Counter[str] = Counter()
        """Ends at a crash point, by process, of those that were started again since."""
        self.by_itself: list[tuple[str, int]] = []
        """Those that nobody had asked for."""
        self.skewed: set[str] = set()
        """Processes that go by the clock that is wrong."""
        self.log_full = False
        """Whether what is started writes its log to a full disk."""
        self.board = Board.create(directory / "board")
        self.slots = {name: number for number, name in enumerate(COMMANDS)}
        vault, index = (hashlib.sha256(f"faults {name} {seed}".encode()).digest() for name in ("vault", "index"))
        self.vault = Vault({1: vault}, 1, index)
        self._asked: set[int] = set()
        self._ports = {"web": free_port()}
        # a server ends with the thread that started it: this one lives as long as the fleet
        self._keeper = ThreadPoolExecutor(1, "servers")
        self._place_proxies()
        self._nursery = Nursery(os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, directory / "nursery.log")

    def __enter__(self) -> Self:
        (self.directory / "logs").mkdir(exist_ok=True)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for pid in self.pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._nursery.__exit__(None, None, None)
        self._keeper.shutdown()

    @property
    def ledger_url(self) -> str:
        """The ledger, past every proxy."""
        return self.services.postgres_admin_url

    @property
    def amqp_url(self) -> str:
        """RabbitMQ, past every proxy."""
        return f"{self.services.server('rabbitmq').url}/faults"  # type: ignore[union-attr] # asked for by its name

    def environ(self, name: str) -> dict[str, str]:
        """The settings of a process."""
        through, group = self.outside.proxies, GROUPS[name]
        clock = "clock-skewed" if name in self.skewed else "clock"
        return {
            **{key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ},
            BOARD: f"{self.board.path}:{self.slots[name]}",
            "REACTIVATE_HOME": str(self.directory / "home"),
            "REACTIVATE_DATABASE_URL": make_url(self.ledger_url)
            .set(port=through[f"postgres.{group}"].port)
            .render_as_string(hide_password=False),
            "REACTIVATE_AMQP_URL": f"amqp://guest:guest@127.0.0.1:{through[f'rabbitmq.{group}'].port}/faults",
            "REACTIVATE_REDIS_URL": f"redis://127.0.0.1:{through[f'redis.{group}'].port}/0",
            "REACTIVATE_CLOCK": f"shared:{self.directory / clock}",
            "REACTIVATE_WEB_PORT": str(self._ports["web"]),
            "REACTIVATE_PUBLIC_URL": f"http://127.0.0.1:{through['web'].port}",
            "REACTIVATE_VAULT_KEYS": "1:" + base64.b64encode(self.vault.keys[1]).decode(),
            "REACTIVATE_INDEX_KEY": base64.b64encode(self.vault.index_key).decode(),
            **self._providers(),
        }

    def start(self, name: str) -> None:
        """Start a process."""
        log = Path("/dev/full") if self.log_full else self.directory / "logs" / f"{name}.log"
        self.board.disarm(self.slots[name])
        self.pids[name] = self._nursery.start(COMMANDS[name], self.environ(name), log)

    def start_server(self, server: Server) -> None:
        """Start a server that was ended, and wait until it serves. Raises ServiceError."""
        self._keeper.submit(server.start).result()
        server.wait()

    def serves(self) -> bool:
        """Whether the web process answers."""
        with (
            suppress(OSError, HTTPException),
            closing(HTTPConnection("127.0.0.1", self._ports["web"], timeout=2)) as connection,
        ):
            connection.request("GET", "/ready")
            return connection.getresponse().status == OK
        return False

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a process a signal; its process id. What ends it is expected to."""
        pid = self.pids[name]
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._asked.add(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    def let_go(self, name: str) -> bool:
        """Take back what was to happen to a process at a point; whether it had. One that stands still goes on."""
        happened = self.board.withdraw(self.slots[name])
        if happened is Act.KILL:
            # its slot may be another's before its end is seen
            self._asked.add(self.pids[name])
        elif happened is Act.STOP:
            self.kill(name, signal.SIGCONT)
        return happened is not Act.NOTHING

    def watch(self) -> None:
        """Start again whatever ended."""
        for name, pid in list(self.pids.items()):
            code = self._nursery.code_of(pid)
            if code is None:
                continue
            self.ended.append((name, code))
            at_its_point = self.board.has_fired(self.slots[name])
            self.deaths[name] += at_its_point
            if not (at_its_point or pid in self._asked or code == _SERVERS_AWAY):
                self.by_itself.append((name, code))
            self.start(name)

    def code_of(self, pid: int) -> int | None:
        """How a process ended; None while it runs."""
        return self._nursery.code_of(pid)

    def _place_proxies(self) -> None:
        targets = {name: self.services.server(name).port for name in SERVERS}
        for server, port in targets.items():
            for group in sorted(set(GROUPS.values())):
                self.outside.stand_before(f"{server}.{group}", "127.0.0.1", port)
        for name, port in (*self.outside.ports.items(), ("web", self._ports["web"])):
            self.outside.stand_before(name, "127.0.0.1", port)
        self.outside.caller.public_url = f"http://127.0.0.1:{self.outside.proxies['web'].port}"

    def _providers(self) -> dict[str, str]:
        outside = self.outside
        return {
            "REACTIVATE_SMS_URL": f"http://127.0.0.1:{outside.proxies['sms'].port}",
            "REACTIVATE_SMS_ACCOUNT_SID": outside.account.sid,
            "REACTIVATE_SMS_AUTH_TOKEN": outside.account.token,
            "REACTIVATE_SMS_FROM": "+12125550100",
            "REACTIVATE_SMS_RATE_PER_SECOND": str(RATE),
            "REACTIVATE_SMS_BURST": "24",
            "REACTIVATE_SMS_TIMEOUT_SECONDS": "3",
            "REACTIVATE_SMS_SECOND_URL": f"http://127.0.0.1:{outside.proxies['sms-second'].port}",
            "REACTIVATE_SMS_SECOND_ACCOUNT_SID": outside.second_account.sid,
            "REACTIVATE_SMS_SECOND_AUTH_TOKEN": outside.second_account.token,
            "REACTIVATE_SMS_SECOND_FROM": "+12125550101",
            "REACTIVATE_SMS_SECOND_RATE_PER_SECOND": str(RATE),
            "REACTIVATE_SMS_SECOND_TIMEOUT_SECONDS": "3",
            "REACTIVATE_SMS_SECOND_WEIGHT": "0",
            "REACTIVATE_SMTP_HOST": "localhost",
            "REACTIVATE_SMTP_PORT": str(outside.proxies["smtp"].port),
            "REACTIVATE_SMTP_CA_FILE": str(outside.certificate),
            "REACTIVATE_SMTP_USERNAME": "reactivation",
            "REACTIVATE_SMTP_PASSWORD": outside.password,
            "REACTIVATE_SMTP_FROM": "care@northstar.example.org",
            "REACTIVATE_SMTP_RATE_PER_SECOND": str(RATE),
            "REACTIVATE_SMTP_BURST": "12",
            "REACTIVATE_SMTP_TIMEOUT_SECONDS": "5",
        }


def others(names: Sequence[str]) -> list[str]:
    """Every process but these."""
    return [name for name in COMMANDS if name not in names]
