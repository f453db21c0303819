"""Events from the topic exchange to the ledger, beside a bare loop that consumes and writes one row for each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from domain import jobs
from domain.events.codec import encode
from domain.events.topology import TOPOLOGY
from domain.ledger.intake_log import event_seen
from domain.ledger.store import reading
from domain.rules.news import version_of
from domain.rules.vocabulary import ServiceLine
from ops.bench.children import python, together, wait_for
from ops.bench.figures import Bar, BenchError, Figure, compared, interleaved
from ops.bench.ground import START, Ground, Sink
from ops.runtime.bus import AmqpBus, BusMessage
from ops.simulator.ehr import World, generate
from ops.simulator.export import CSV, FHIR, ORGANISATION, write_world
from ops.simulator.people import Person
from ops.simulator.sites import ORGANISATION_KEY
from producers.importing.run import run_import

_SEED = 7
_START = datetime(2025, 1, 6, tzinfo=UTC)
_PATIENCE = 120.0
_SOURCE = f"/{ORGANISATION_KEY}/ehr"


def measure(ground: Ground) -> list[Figure]:
    """One comparison: bookings taken in per second."""
    events = ground.size.pick(10_000, 2_000, 200)
    rounds = ground.size.pick(3, 2, 1)
    world = generate(_SEED, patients=ground.size.pick(5_000, 1_000, 100), start=_START)
    street = _Street(ground, world, events)
    sides = {"intake": street.ours, "bare loop": street.bare}
    measured = interleaved(rounds, sides, lambda said: ground.say(f"intake: {said} events/s"))
    what = (
        f"{events:,} bookings of known patients taken from the exchange into the ledger : consumed, a row inserted each"
    )
    return [compared("intake : pika and INSERT", what, "events/s", measured, 1.0, Bar.AT_LEAST)]


@dataclass
class _Street:
    """A health system whose patients are known, and its bookings as events."""

    ground: Ground
    world: World
    events: int

    def ours(self, _round: int) -> float:
        """Events per second of our intake worker, which finds them on its queue."""
        environ = self.ground.environ(self.ground.ledger("imported", self._fill), Sink("http://127.0.0.1:9"))
        with self.ground.parts(environ) as parts:
            parts.bus.publish(self._messages())
            with self.ground.fleet(environ, {"intake": ["worker", jobs.INTAKE]}) as started:
                wait_for("the last event", lambda: _taken(parts.engine) >= self.events, START + _PATIENCE, started)
                ended = time.time()
            with reading(parts.engine) as conn:
                began = conn.scalar(select(func.min(event_seen.c.received_at)))
                applied = conn.scalar(select(func.count()).where(event_seen.c.result == "applied"))
        if began is None or applied != self.events:
            raise BenchError(f"intake: {applied} of {self.events} events were applied")
        return float(self.events / (ended - began.timestamp()))

    def bare(self, number: int) -> float:
        """Events per second of a loop that consumes the same messages from a queue of the same kind."""
        amqp_url = self.ground.vhost(f"bench-bare-{number}")
        bus = AmqpBus(amqp_url, {jobs.INTAKE: TOPOLOGY[jobs.INTAKE]})
        bus.publish(self._messages())
        bus.close()
        environ = {"BENCH_AMQP_URL": amqp_url, "BENCH_DATABASE_URL": self.ground.ledger()}
        argv = python("ops.bench.peer_consuming", "--queue", jobs.INTAKE, "--count", str(self.events))
        (said,) = together([argv], environ, START + _PATIENCE)
        return self.events / float(said["seconds"])

    def _fill(self, engine: Engine) -> None:
        folder = self.ground.directory / "intake"
        write_world(self.world, folder)
        sources = [folder / FHIR, folder / CSV]
        run_import(engine, self.ground.vault(), organisation_file=folder / ORGANISATION, sources=sources, now=_START)

    def _messages(self) -> list[BusMessage]:
        people = [person for person in self.world.people if person.deceased_on is None]
        return [self._booking(nth, people[nth % len(people)]) for nth in range(self.events)]

    def _booking(self, nth: int, person: Person) -> BusMessage:
        told_at = _START + timedelta(hours=1, seconds=nth)
        site, mrn = person.registrations[0]
        data = {
            "site": site,
            "appointment_id": f"bench-{nth}",
            "source": self.world.system,
            "patient": {"site": site, "mrn": mrn},
            "service_line": ServiceLine.PRIMARY.value,
            "starts_at": (told_at + timedelta(days=30)).isoformat(),
            "version": version_of(told_at),
        }
        return BusMessage(*encode("appointment.booked", _SOURCE, f"bench-{nth}", told_at, data))


def _taken(engine: Engine) -> int:
    with reading(engine) as conn:
        return conn.scalar(select(func.count()).select_from(event_seen)) or 0
