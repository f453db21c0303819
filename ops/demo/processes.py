"""The fleet of processes: web, clock and one worker per queue, as the operating system's own, on real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, func, select

from domain.ledger import heartbeat
from domain.ledger.heartbeat import Beat
from domain.ledger.intake_log import event_seen
from domain.ledger.quiet import TO_PUBLISH, under_way
from domain.ledger.store import reading
from ops.demo.embedded import NotQuiet
from ops.runtime.clock import SharedClock
from producers.clock import CLOCK

#: Seconds of real time: for a process to come up, for one instant to come to rest, for a process to end.
_START, _PATIENCE, _END = 60.0, 120.0, 20.0
_POLL = 0.003


class Processes:
    """Starts the fleet's processes, waits for them at every instant, and ends them, by their ids."""

    def __init__(
        self,
        engine: Engine,
        clock: SharedClock,
        queues: Sequence[str],
        environ: Mapping[str, str],
        logs: Path,
        scan_every: timedelta,
    ) -> None:
        self._engine = engine
        self._clock = clock
        minutes = str(scan_every // timedelta(minutes=1))
        self._commands = {"web": ["web"], "clock": ["clock", "--pause", "0.005", "--scan-every", minutes]}
        # one thread per worker: the story is the same, to the message, however the machine schedules
        self._commands |= {queue: ["worker", queue, "--threads", "1"] for queue in queues}
        self._environ = {**os.environ, **environ}
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._taken = 0
        self._last = Beat(clock.now(), 0, 0, None)

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            for name, command in self._commands.items():
                with (self._logs / f"{name}.log").open("wb") as log:
                    self._running[name] = subprocess.Popen(  # noqa: S603 - our own command
                        [sys.executable, "-m", "ops.cli.main", *command],
                        env=self._environ,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
            self._wait_for_web()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pids(self) -> dict[str, int]:
        """The running processes by name."""
        return {name: process.pid for name, process in self._running.items()}

    def settle(self, now: datetime, events: int) -> None:
        """Let the clock begin round after round, each when all is quiet, until one found nothing to do."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._wait_until_quiet(now, events, deadline)
            self._last = self._round(now, deadline)
            # a hint of the web process may have begun work after the round's look: it must be over, too
            if not self._last.did and not self._under_way(now, events):
                return

    def next_at(self, now: datetime) -> datetime | None:  # noqa: ARG002 - its last round was at `now`
        """What the clock process last said."""
        return self._last.next_at

    def _wait_for_web(self) -> None:
        url = f"{self._environ['REACTIVATE_PUBLIC_URL']}/ready"
        deadline = time.monotonic() + _START
        while True:
            self._check_alive()
            with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback
                if answer.status == 200:
                    return
            if time.monotonic() > deadline:
                raise NotQuiet(f"the web process did not come up within {_START:.0f} s; see {self._logs}/web.log")
            time.sleep(0.05)

    def _under_way(self, now: datetime, events: int) -> frozenset[str]:
        with reading(self._engine) as conn:
            if self._taken < events:
                self._taken = conn.scalar(select(func.count()).select_from(event_seen)) or 0
            return under_way(conn, now) | ({"events to take in"} if self._taken < events else set())

    def _wait_until_quiet(self, now: datetime, events: int, deadline: float) -> None:
        while busy := self._under_way(now, events) - {TO_PUBLISH}:
            self._pause(", ".join(sorted(busy)), deadline)

    def _round(self, now: datetime, deadline: float) -> Beat:
        """One round of the clock at `now`, from beginning to end."""
        number = self._last.round + 1
        self._clock.allow(number)
        while True:
            with reading(self._engine) as conn:
                beat = heartbeat.last(conn, CLOCK)
            if beat is not None and beat.round == number and beat.at == now:
                return beat
            self._pause("the clock's round", deadline)

    def _pause(self, busy: str, deadline: float) -> None:
        self._check_alive()
        if time.monotonic() > deadline:
            raise NotQuiet(f"{busy} did not come to rest within {_PATIENCE:.0f} s; logs are in {self._logs}")
        time.sleep(_POLL)

    def _check_alive(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise NotQuiet(
                    f"the {name} process ended (exit code {process.returncode}); see {self._logs}/{name}.log"
                )

    def _end(self) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _END
        for process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
