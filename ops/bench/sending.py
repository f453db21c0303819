"""The whole send beside an empty Dramatiq actor, an empty Celery task, and a bare loop that posts the same bodies.

Ours claims, asks every guard, paces in Redis, calls the sink over a real socket, finishes, counts and logs. Every side
has two processes and its work on the queue; the time is from the first job begun to the last one ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec

import redis
from sqlalchemy import Engine, func, select

from domain import jobs
from domain.ledger.attempts import attempt
from domain.ledger.store import reading
from ops.assembly import Parts
from ops.bench import crowd
from ops.bench.children import python, running, together, wait_for
from ops.bench.figures import Bar, BenchError, Figure, compared, interleaved
from ops.bench.ground import ACCOUNT, START, Ground, Sink
from ops.services.process import Process

PROCESSES = 2
_THREADS = 4
#: Sites of the crowd: none may take more than its own limit at once (workers/turns.py).
_SITES = 100
#: Seconds for one side's round.
_PATIENCE = 90.0
_AT_ONCE = 64


def measure(ground: Ground) -> list[Figure]:
    """Three comparisons of one run, whose sides take turns."""
    touches = ground.size.pick(10_000, 2_000, 200)
    rounds = ground.size.pick(5, 2, 1)
    ours = "full send"
    with a_fleet(ground, touches, rounds) as fleet:
        frameworks = {
            "empty Dramatiq actor": _Framework(ground, "dramatiq", _dramatiq()),
            "empty Celery task": _Framework(ground, "celery", _celery()),
        }
        sides = {
            ours: fleet.write_to_all,
            **{name: _run_of(framework, touches) for name, framework in frameworks.items()},
            "bare aiohttp loop": lambda _round: post(fleet.sink, touches),
        }
        measured = interleaved(rounds, sides, lambda said: ground.say(f"sending: {said}/s"))
        fleet.check()
    bars = {"empty Dramatiq actor": 1.0, "empty Celery task": 1.7, "bare aiohttp loop": 0.5}
    return [
        compared(
            f"full send : {name}",
            f"touches claimed, guarded, paced, posted, finished : {name}, {PROCESSES} processes each",
            "per second",
            {ours: measured[ours], name: measured[name]},
            bar,
            Bar.AT_LEAST,
        )
        for name, bar in bars.items()
    ]


@dataclass
class Fleet:
    """Our side: two worker processes and a crowd of which every patient is written to once."""

    parts: Parts
    workers: Mapping[str, Process]
    sink: Sink
    each: int
    first: int
    sent: int = 0

    def warm_up(self, count: int) -> None:
        """The first batches: connections are opened, statements prepared, texts read."""
        self._write_to(range(1, count + 1))

    def write_to_all(self, number: int) -> float:
        """Touches per second of one round."""
        start = self.first + number * self.each
        return self._write_to(range(start, start + self.each))

    def check(self) -> None:
        """What the ledger says was sent is what the provider took. Raises BenchError."""
        took = self.sink.count()
        with reading(self.parts.engine) as conn:
            accepted = conn.scalar(select(func.count()).where(attempt.c.state == "accepted"))
        if accepted != self.sent or took < self.sent:
            raise BenchError(f"sending: {self.sent} were to be sent, the ledger has {accepted}, the sink took {took}")

    def _write_to(self, who: range) -> float:
        ids = crowd.plan(self.parts.engine, who.start, who.stop - 1, datetime.now(UTC), step=0)
        for start in range(0, len(ids), jobs.BATCH):
            self.parts.enqueue(jobs.send_touches("sms", tuple(ids[start : start + jobs.BATCH])))
        self.sent += len(ids)
        wait_for(
            f"the end of {len(ids)} sends", lambda: _accepted(self.parts.engine, ids) >= len(ids), _PATIENCE,
            self.workers, poll=0.1,
        )  # fmt: skip
        with reading(self.parts.engine) as conn:
            began, ended = conn.execute(
                select(func.min(attempt.c.claimed_at), func.max(attempt.c.finished_at)).where(
                    attempt.c.touch_id.between(ids[0], ids[-1])
                )
            ).one()
        return float(len(ids) / (ended - began).total_seconds())


@contextmanager
def a_fleet(ground: Ground, touches: int, rounds: int) -> Iterator[Fleet]:
    """Two warm worker processes, and a crowd for so many rounds of so many touches."""
    warm = min(800, 2 * touches)
    people = warm + rounds * touches
    with ground.sink() as sink:
        environ = ground.environ(ground.ledger(), sink)
        commands = {f"worker-{n}": ["worker", "sms", "--threads", str(_THREADS)] for n in range(PROCESSES)}
        with ground.parts(environ) as parts:
            crowd.settle(parts.engine, parts.vault, datetime.now(UTC), sites=_SITES, reached=people)
            with ground.fleet(environ, commands) as workers:
                fleet = Fleet(parts, workers, sink, touches, warm + 1)
                fleet.warm_up(warm)
                yield fleet


def _accepted(engine: Engine, ids: list[int]) -> int:
    with reading(engine) as conn:
        return conn.scalar(
            select(func.count()).where(
                attempt.c.touch_id.between(ids[0], ids[-1]), attempt.c.state == "accepted"
            )
        ) or 0  # fmt: skip


def post(sink: Sink, count: int) -> float:
    """The bare loop: posts per second of as many processes as our side has."""
    begin_at = time.time() + 2.0
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    share = count // PROCESSES
    arguments = ("--sink", sink.url, "--path", path, "--count", str(share), "--at-once", str(_AT_ONCE))
    argv = python("ops.bench.peer_posting", *arguments, "--begin-at", str(begin_at))
    said = together([argv] * PROCESSES, {}, _PATIENCE)
    return float(PROCESSES * share / (max(each["ended"] for each in said) - min(each["began"] for each in said)))


@dataclass
class _Framework:
    """A framework served by its own command: the queue is filled, then its workers start."""

    ground: Ground
    name: str
    command: list[str]

    def run(self, number: int, count: int) -> float:
        """Empty jobs per second of one round."""
        services = self.ground.services
        marks = f"bench:{self.name}:{number}"
        environ = {
            "BENCH_AMQP_URL": self.ground.vhost(f"bench-{self.name}-{number}"),
            "BENCH_REDIS_URL": services.redis_url,
            "BENCH_MARKS": marks,
        }
        together([python("ops.bench.peer_filling", self.name, "--count", str(count))], environ, _PATIENCE)
        with (
            redis.Redis.from_url(services.redis_url) as client,
            running({self.name: self.command}, environ, self.ground.directory) as workers,
        ):
            wait_for(f"the end of {self.name}", lambda: client.llen(marks) == 2, START + _PATIENCE, workers)
            began, ended = sorted(float(each) for each in client.lrange(marks, 0, -1))
            client.delete(marks)
        return count / (ended - began)


def _run_of(framework: _Framework, count: int) -> Callable[[int], float]:
    return lambda number: framework.run(number, count)


def _dramatiq() -> list[str]:
    sizes = ["--processes", str(PROCESSES), "--threads", str(_THREADS)]
    return python("dramatiq", *sizes, "ops.bench.peer_dramatiq:broker")


def _celery() -> list[str]:
    if find_spec("celery") is None:
        raise BenchError("celery is not installed here; `make bench` installs it (requirements-bench.lock)")
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    return python("celery", "-A", "ops.bench.peer_celery", "worker", "--concurrency", str(PROCESSES), *quiet)
