"""One dispatch tick and one inactivity scan, among a million rows and among ten thousand, with the same number due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, bindparam, delete, select, update

from domain.ledger import agenda
from domain.ledger.appointments import care
from domain.ledger.columns import Id
from domain.ledger.outbox import outbox
from domain.ledger.store import reading
from domain.ledger.touches import touch
from ops.assembly import Parts
from ops.bench import crowd
from ops.bench.figures import Bar, BenchError, Figure, compared, interleaved
from ops.bench.ground import Ground, Sink
from producers.dispatch import Dispatcher
from producers.scan import scan

_SITES = 50
#: Enrolments among which the scheduled touches are divided.
_ENROLLED = 1_000
#: Due in every round, on both sides.
_DUE = 200

_DISPATCHED = (
    update(touch).where(touch.c.id.in_(bindparam("ids", type_=Id, expanding=True))).values(dispatched_until=None)
)
_LAPSE = update(care).where(care.c.id.in_(bindparam("ids", type_=Id, expanding=True)))


def measure(ground: Ground) -> list[Figure]:
    """Two comparisons: the tick, and the scan."""
    many = ground.size.pick(1_000_000, 100_000, 5_000)
    few = ground.size.pick(10_000, 5_000, 2_000)
    rounds = ground.size.pick(21, 11, 3)
    with ExitStack() as closing:
        sides = {name: closing.enter_context(_open(ground, rows)) for name, rows in (("many", many), ("few", few))}
        figures = []
        for what, step in (("dispatch tick", "tick"), ("inactivity scan", "scan")):
            # once unmeasured: plans are made, pages are read
            for ledger in sides.values():
                getattr(ledger, step)(rounds)
            measured = interleaved(rounds, {name: getattr(ledger, step) for name, ledger in sides.items()})
            named = {f"{many:,} rows, ms": measured["many"], f"{few:,} rows, ms": measured["few"]}
            ground.say(f"{what}: {rounds} rounds each")
            rows = "scheduled touches" if step == "tick" else "patients"
            said = f"one {what} with {_DUE} due among {many:,} {rows} : among {few:,}"
            figures.append(compared(what, said, "ms", named, 1.3, Bar.AT_MOST))
        return figures


def filled(ground: Ground, rows: int) -> str:
    """URL of a ledger with so many touches scheduled for later, and as many patients."""

    def fill(engine: Engine) -> None:
        now = datetime.now(UTC)
        crowd.settle(engine, ground.vault(), now, sites=_SITES, reached=_ENROLLED, people=rows)
        crowd.schedule(engine, _ENROLLED, rows // _ENROLLED, now + timedelta(days=30))

    ground.say(f"schedule: filling a ledger with {rows:,} rows")
    return ground.ledger(f"scheduled-{rows}", fill)


@dataclass
class _Ledger:
    """One side: a ledger with much or little in it, and the same number of rows due in every round."""

    parts: Parts
    touches: list[int]

    def tick(self, _round: int) -> float:
        """Milliseconds of one tick of the dispatcher that hands out all that is due."""
        told: list[int] = []
        dispatcher = Dispatcher(self.parts.engine, self.parts.channels, lambda job: told.extend(job.ids))
        now = datetime.now(UTC)
        started = time.perf_counter()
        with reading(self.parts.engine) as conn:
            due = agenda.due(conn, dispatcher.channels, now)
        did = dispatcher.run(due.channels, now)
        elapsed = time.perf_counter() - started
        if did != _DUE or len(told) != _DUE:
            raise BenchError(f"the tick handed out {did} of {_DUE} touches")
        with self.parts.engine.begin() as conn:
            conn.execute(_DISPATCHED, {"ids": self.touches})
        return elapsed * 1000

    def scan(self, number: int) -> float:
        """Milliseconds of one scan that notices all who lapsed; other patients in every round."""
        now = datetime.now(UTC)
        first = _ENROLLED + number * _DUE
        with self.parts.engine.begin() as conn:
            ids = conn.scalars(
                select(care.c.id).where(care.c.patient_id > first).order_by(care.c.patient_id).limit(_DUE)
            ).all()
            lapsed = {"scan_at": now, "last_visit_at": now - timedelta(days=500), "noticed_segment": None}
            conn.execute(_LAPSE.values(lapsed), {"ids": ids})
        started = time.perf_counter()
        noticed = scan(self.parts.engine, now, limit=_DUE)
        elapsed = time.perf_counter() - started
        if noticed != _DUE:
            raise BenchError(f"the scan noticed {noticed} of {_DUE} lapses")
        with self.parts.engine.begin() as conn:
            conn.execute(delete(outbox))
        return elapsed * 1000


@contextmanager
def _open(ground: Ground, rows: int) -> Iterator[_Ledger]:
    # nothing is called: a provider's address is only needed for the channel's limits
    environ = ground.environ(filled(ground, rows), Sink("http://127.0.0.1:9"))
    with ground.parts(environ) as parts:
        touches = crowd.plan(parts.engine, 1, _DUE, datetime.now(UTC))
        crowd.tidy(parts.engine)
        yield _Ledger(parts, touches)
