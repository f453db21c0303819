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
from domain.ledger.quiet import under_way
from domain.ledger.store import reading
from ops.demo.embedded import NotQuiet
from producers.clock import CLOCK

#: Seconds of real time: for a process to come up, for one instant to come to rest, for a process to end.
_START, _PATIENCE, _END = 60.0, 120.0, 20.0
_POLL = 0.003


class Processes:
    """Starts the fleet's processes, waits for them at every instant, and ends them, by their ids."""

    def __init__(
        self, engine: Engine, queues: Sequence[str], environ: Mapping[str, str], logs: Path, scan_every: timedelta
    ) -> None:
        self._engine = engine
        minutes = str(scan_every // timedelta(minutes=1))
        self._commands = {"web": ["web"], "clock": ["clock", "--pause", "0.005", "--scan-every", minutes]}
        # one thread per worker: the story is the same, to the message, however the machine schedules
        self._commands |= {queue: ["worker", queue, "--threads", "1"] for queue in queues}
        self._environ = {**os.environ, **environ}
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._taken = 0

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

    def settle(self, now: datetime, events: int) -> None:
        """Wait until a whole round of the clock, begun when all was quiet, found nothing to do."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._wait_until_quiet(now, events, deadline)
            before = self._beat().round
            # the round under way may have begun before it was quiet; the one after it did not
            beat = self._wait_for_round(before + 2, now, deadline)
            if beat.did == 0 and self._busy(now, events) is None:
                return

    def next_at(self, now: datetime) -> datetime | None:
        """What the clock process last said."""
        return self._wait_for_round(self._beat().round + 1, now, time.monotonic() + _PATIENCE).next_at

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

    def _busy(self, now: datetime, events: int) -> str | None:
        with reading(self._engine) as conn:
            if self._taken < events:
                self._taken = conn.scalar(select(func.count()).select_from(event_seen)) or 0
            return "events to take in" if self._taken < events else under_way(conn, now)

    def _wait_until_quiet(self, now: datetime, events: int, deadline: float) -> None:
        while busy := self._busy(now, events):
            self._pause(busy, deadline)

    def _wait_for_round(self, number: int, now: datetime, deadline: float) -> Beat:
        while True:
            beat = self._beat()
            if beat.round >= number and beat.at == now:
                return beat
            self._pause("the clock's next round", deadline)

    def _beat(self) -> Beat:
        with reading(self._engine) as conn:
            beat = heartbeat.last(conn, CLOCK)
        return beat or Beat(datetime.fromtimestamp(0).astimezone(), 0, 0, None)

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
