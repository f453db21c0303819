"""Memory of every process of the fleet at the end of an hour's worth of load, beside its own after warming up.

The load is an hour of an organisation of a million patients by the arithmetic of docs/scale.md: 0.2 touches a patient
and day within 14 hours. The simulator compresses it: patients, providers and record systems of a story act as fast as
the fleet follows, on private servers, and every process has its share of the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, Select, func, select

import ops.demo
from domain import jobs
from domain.events.codec import encode
from domain.ledger.attempts import attempt
from domain.ledger.enrolments import enrolment
from domain.ledger.heartbeat import heartbeat
from domain.ledger.inbound import receipt, reply
from domain.ledger.intake_log import event_seen
from domain.ledger.patients import contact_point
from domain.ledger.store import reading
from domain.rules.vocabulary import TouchKind
from ops import assembly
from ops.bench.figures import Bar, BenchError, Figure, compared
from ops.bench.ground import Ground, Sink
from ops.bench.memory import resident
from ops.demo.conductor import Conductor
from ops.demo.embedded import NotQuiet
from ops.demo.processes import Processes
from ops.demo.scene import providers_of
from ops.demo.script import CLOCK, MONTH, ORGANISATION, default_start
from ops.demo.simulated import Simulated, SimulatorGone
from ops.demo.story import REVIEWERS, SCAN_EVERY
from ops.runtime.bus import BusMessage
from ops.runtime.clock import SharedClock
from ops.simulator.sites import ORGANISATION_KEY
from producers.campaigns import start_campaign
from producers.importing.run import run_import
from workers.rendering import CONTACT

_CAMPAIGN = Path(ops.demo.__file__).with_name("campaign.yaml")
_SEED = 7
_GATEWAY = f"/{ORGANISATION_KEY}/mail"
#: Touches of a million patients in an hour: 0.2 a day each, within 14 hours (docs/scale.md, "The load").
HOUR = 1_000_000 // 5 // 14
#: A process may end with so much more than it had when warm. What garbage there is comes and goes within two or three
#: per cent; a leak of 400 bytes a touch or event makes more of the 60 MB that a process has.
_BAR = 1.05
#: Seconds between two looks: reading the memory of eleven processes takes some milliseconds of one core.
_EVERY = 1.0
#: Equal parts of all looks: warming up takes the first two, the third is the reference, the last is the end.
_PARTS, _WARM, _FEWEST = 5, 2, 10


def measure(ground: Ground) -> list[Figure]:
    """A figure for every process: its memory at the end : when warm."""
    patients, months = ground.size.pick((6_000, 12), (1_000, 4), (150, 2))
    wanted = ground.size.pick(HOUR, HOUR // 20, 1)
    start = default_start()
    with _told(ground, patients, months, start) as (processes, conductor, engine):
        book = Book(processes.pids, lambda: _done(engine), ground.size.pick(_EVERY, _EVERY, 0.1))
        try:
            conductor.run(book.look)
        except (NotQuiet, SimulatorGone) as error:
            raise BenchError(f"endurance: {error}") from None
        touches = _sent(engine)
    ground.say(f"endurance: {touches:,} touches in {book.seconds:.0f} s; of every process's work {book.work()}")
    if touches < wanted:
        raise BenchError(f"endurance: the load was to be {wanted:,} touches, and was {touches:,}")
    return book.figures(touches)


@dataclass
class Book:
    """Looks at the memory of processes, and at the work they did, from the first to the last instant."""

    pids: Mapping[str, int]
    done: Callable[[], Mapping[str, int]]
    """How much each has done since the beginning."""
    every: float
    """Seconds between two looks."""
    clock: Callable[[], float] = time.monotonic
    memory: Callable[[int], float] = resident
    _looks: list[dict[str, float]] = field(default_factory=list)
    _works: list[Mapping[str, int]] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the first look to the last."""
        return self._times[-1] - self._times[0] if self._times else 0.0

    def look(self, _instant: datetime) -> None:
        """Look, unless it was just done."""
        now = self.clock()
        if self._times and now - self._times[-1] < self.every:
            return
        self._times.append(now)
        self._looks.append({name: self.memory(pid) for name, pid in self.pids.items()})
        self._works.append(self.done())

    def work(self) -> dict[str, int]:
        """What every process did after it was warm.

        Raises:
            BenchError: there were too few looks to tell.
        """
        if len(self._works) < _FEWEST:
            raise BenchError(f"endurance: it was looked {len(self._works)} times, of {_FEWEST} at least")
        warm = self._works[len(self._works) * _WARM // _PARTS]
        return {name: count - warm[name] for name, count in self._works[-1].items()}

    def figures(self, touches: int) -> list[Figure]:
        """A figure for every process.

        Raises:
            BenchError: one had nothing to do once it was warm, or of one nobody knows what it does.
        """
        work = self.work()
        idle = sorted(name for name in self.pids if not work.get(name))
        if idle:
            raise BenchError(f"endurance: nothing was done after the warm-up by {', '.join(idle)}")
        return [self._figure(name, touches) for name in self.pids]

    def _figure(self, name: str, touches: int) -> Figure:
        values = [look[name] for look in self._looks]
        size = len(values) // _PARTS
        end, warm = values[-size:], values[_WARM * size : (_WARM + 1) * size]
        what = f"memory of the process {name} at the end of {touches:,} touches : when warm"
        return compared(f"endurance, {name}", what, "MB", {"at the end": end, "warm": warm}, _BAR, Bar.AT_MOST)


class _Town:
    """The fleet of a story, and a gateway of the organisation's own: at every instant somebody asks for help by mail.

    No patient of the simulator answers a mail, and the process that sends such answers must have its work, too.
    """

    def __init__(self, processes: Processes, parts: assembly.Parts) -> None:
        self._processes = processes
        self._bus = parts.bus
        with reading(parts.engine) as conn:
            sealed = conn.scalars(
                select(contact_point.c.value).where(contact_point.c.system == "email").order_by(contact_point.c.id)
            )
            self._writers = [parts.vault.open(each, CONTACT) for each in sealed]
        self._written = 0

    def settle(self, now: datetime, events: int) -> None:
        """See `Fleet.settle`."""
        sender = {"system": "email", "value": self._writers[self._written % len(self._writers)]}
        self._written += 1
        id_ = f"endurance-{self._written}"
        data = {"channel": "email", "provider_id": id_, "sender": sender, "text": "HELP"}
        self._bus.publish([BusMessage(*encode("reply.received", _GATEWAY, id_, now, data))])
        self._processes.settle(now, events + self._written)

    def next_at(self, now: datetime) -> datetime | None:
        """See `Fleet.next_at`."""
        return self._processes.next_at(now)


@contextmanager
def _told(ground: Ground, patients: int, months: int, start: datetime) -> Iterator[tuple[Processes, Conductor, Engine]]:
    """A story about to begin, with every process of the fleet on the ground's servers."""
    home = ground.directory / "endurance"
    home.mkdir()
    clock = SharedClock.create(home / CLOCK, start)
    with ExitStack() as closing:
        closing.callback(clock.close)
        arguments = ["--world", str(home), "--clock", str(home / CLOCK), "--make", "--seed", str(_SEED)]
        arguments += ["--start", start.isoformat(), "--months", str(months), "--patients", str(patients)]
        simulated = closing.enter_context(Simulated(arguments, home / "simulator.log"))
        # the sink is not asked: the simulator's providers take its place
        environ = ground.environ(ground.ledger(), Sink("http://127.0.0.1:9")) | providers_of(simulated.ready)
        environ |= {"REACTIVATE_CLOCK": f"shared:{home / CLOCK}", "REACTIVATE_METRICS_PORT": ""}
        parts = closing.enter_context(ground.parts(environ))
        run_import(
            parts.engine,
            parts.vault,
            organisation_file=home / ORGANISATION,
            sources=sorted(path for path in home.glob("export*") if path.is_dir()),
            now=start,
        )
        start_campaign(parts.engine, _CAMPAIGN, None, parts.rules, start, REVIEWERS)
        queues = [*assembly.event_handlers(parts), *assembly.job_queues(parts)]
        processes = closing.enter_context(Processes(parts.engine, clock, queues, environ, home / "logs", SCAN_EVERY))
        simulated.begin(environ["REACTIVATE_PUBLIC_URL"], {"transport": "amqp", "url": environ["REACTIVATE_AMQP_URL"]})
        end = start + timedelta(days=round(MONTH * months))
        yield processes, Conductor(clock, simulated, _Town(processes, parts), end), parts.engine


def _done(engine: Engine) -> dict[str, int]:
    with reading(engine) as conn:
        sends = {_queue(channel, kind): count for channel, kind, count in conn.execute(_SENDS)}
        counted = {name: int(conn.scalar(statement) or 0) for name, statement in _WORK.items()}
    everything = {**counted, **sends}
    return {name: everything.get(name, 0) for name in [*_WORK, *_SENDERS]}


def _queue(channel: str, kind: str) -> str:
    job = jobs.send_answers if kind == TouchKind.ANSWER else jobs.send_touches
    return job(channel, ()).queue


#: The channels' own queues.
_SENDERS: Sequence[str] = tuple(
    _queue(channel, kind) for channel in ("sms", "email") for kind in (TouchKind.OUTREACH, TouchKind.ANSWER)
)

#: What tells how much a process did; rows are never deleted within the hour.
_WORK: Mapping[str, Select[int]] = {
    "web": select(func.count()).select_from(receipt),
    "clock": select(func.coalesce(func.sum(heartbeat.c.round), 0)),
    jobs.INTAKE: select(func.count()).select_from(event_seen),
    jobs.ENROL: select(func.count()).select_from(enrolment),
    jobs.RECEIPTS: select(func.count()).where(receipt.c.applied_at.is_not(None)),
    jobs.REPLIES: select(func.count()).where(reply.c.state != "new"),
}


_SENDS = select(attempt.c.channel, attempt.c.kind, func.count()).group_by(attempt.c.channel, attempt.c.kind)


def _sent(engine: Engine) -> int:
    with reading(engine) as conn:
        return conn.scalar(select(func.count()).where(attempt.c.state == "accepted")) or 0
