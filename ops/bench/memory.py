"""Memory with a million touches scheduled for later, and with none: RabbitMQ's and a worker's; a worker's in use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from ops.bench import crowd
from ops.bench.children import wait_for
from ops.bench.figures import Bar, BenchError, Figure, compared, interleaved
from ops.bench.ground import START, Ground, Sink
from ops.bench.schedule import filled
from ops.bench.sending import a_fleet
from ops.services.process import Process

_MEGABYTE = 1024 * 1024
#: Seconds between two looks, and of rest before the first.
_EVERY, _REST = 0.5, 2.0
_SITES = 50
#: Patients that a fleet writes to before it is looked at, so that both sides have begun to work.
_FIRST = 100


def measure(ground: Ground) -> list[Figure]:
    """Three figures: RabbitMQ's memory and a worker's by what is scheduled, and a worker's by how much it has sent."""
    rows = ground.size.pick(1_000_000, 100_000, 2_000)
    rounds = ground.size.pick(4, 2, 1)
    much, none = f"{rows:,} scheduled", "none"
    with ground.sink() as sink:
        sides = {much: _Side(ground, sink, filled(ground, rows)), none: _Side(ground, sink, _unscheduled(ground))}
        rabbit = interleaved(
            rounds,
            {name: side.look for name, side in sides.items()},
            lambda said: ground.say(f"memory: RabbitMQ, {said} MB"),
        )
    workers = {name: side.of_worker for name, side in sides.items()}
    what = f"with {rows:,} touches scheduled for later : with none"
    return [
        compared("RabbitMQ memory", f"RabbitMQ's memory {what}", "MB", rabbit, 1.02, Bar.AT_MOST),
        compared("worker memory, scheduled", f"a worker's memory {what}", "MB", workers, 1.02, Bar.AT_MOST),
        _growth(ground),
    ]


class _Side:
    """A fleet on a ledger with much or nothing scheduled, started anew in every round."""

    def __init__(self, ground: Ground, sink: Sink, url: str) -> None:
        self.of_worker: list[float] = []
        self._ground = ground
        self._sink = sink
        self._environ = ground.environ(url, sink)
        self._seconds = ground.size.pick(12.0, 6.0, 1.0)

    def look(self, number: int) -> float:
        """Megabytes of RabbitMQ, the least of some seconds, beside a clock and a worker that have sent a little."""
        before = self._sink.count()
        commands = {"worker": ["worker", "sms"], "clock": ["clock"]}
        with self._ground.parts(self._environ) as parts, self._ground.fleet(self._environ, commands) as started:
            first = 1 + number * _FIRST
            crowd.plan(parts.engine, first, first + _FIRST - 1, datetime.now(UTC))
            wait_for("the first sends", lambda: self._sink.count() >= before + _FIRST, START, started, poll=0.1)
            time.sleep(_REST)
            rabbit, worker = self._sampled(started)
        self.of_worker.append(worker)
        return rabbit

    def _sampled(self, started: Mapping[str, Process]) -> tuple[float, float]:
        rabbit, worker = [], []
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            rabbit.append(_rabbit(self._ground))
            worker.append(resident(started["worker"].pid))
            time.sleep(_EVERY)
        # what garbage there is comes and goes; what is kept is there in every look
        return min(rabbit), min(worker)


def resident(pid: int) -> float:
    """Megabytes of memory that are a process's own. Raises BenchError where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError as error:
        raise BenchError(f"the memory of a process cannot be read here: {error.strerror}") from None
    own = [int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:"))]
    return sum(own) * 1024 / _MEGABYTE


def _rabbit(ground: Ground) -> float:
    return ground.services.rabbitmq_memory() / _MEGABYTE


def _unscheduled(ground: Ground) -> str:
    def fill(engine: Engine) -> None:
        crowd.settle(engine, ground.vault(), datetime.now(UTC), sites=_SITES, reached=1_000)

    return ground.ledger("unscheduled", fill)


def _growth(ground: Ground) -> Figure:
    """A worker's memory at the end of a long run of sends, beside a third of it."""
    each = ground.size.pick(10_000, 2_000, 200)
    with a_fleet(ground, each, rounds=3) as fleet:
        seen = []
        for number in range(3):
            fleet.write_to_all(number)
            seen.append(max(resident(worker.pid) for worker in fleet.workers.values()))
            ground.say(f"memory: a worker after {(number + 1) * each:,} sends, {seen[-1]:.1f} MB")
    what = f"a worker's memory after {3 * each:,} touches : after {each:,}"
    measured = {"at the end": seen[-1:], "after a third": seen[:1]}
    return compared("worker memory, sends", what, "MB", measured, 1.05, Bar.AT_MOST)
