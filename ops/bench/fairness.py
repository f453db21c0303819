"""A small site's delay beside a big site's hundred thousand due touches, and alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text

from domain.ledger.attempts import attempt
from domain.ledger.store import reading
from ops.assembly import Parts
from ops.bench import crowd
from ops.bench.children import wait_for
from ops.bench.figures import Bar, Figure, compared, interleaved, middle
from ops.bench.ground import START, Ground
from ops.services.process import Process

#: Segments per second of the one sender both sites share, and at once.
_RATE, _BURST = 50.0, 50
#: Sites of the crowd: the small one, and the big one.
_SMALL, _BIG = 1, 2
#: Patients of the big site who are really written to in a round: more than the limit allows meanwhile.
_REACHED = 2_000
_PATIENCE = 120.0
#: Seconds until a new backlog is all that is being sent.
_SETTLING = 5.0


def measure(ground: Ground) -> list[Figure]:
    """One comparison: the median delay of the small site's touches, as many due at once in every round."""
    backlog = ground.size.pick(100_000, 10_000, 1_000)
    rounds = ground.size.pick(4, 2, 1)
    each = ground.size.pick(40, 40, 10)
    # the last one of the big site has the rest of its backlog
    people = 2 * (rounds * max(2 * each, _REACHED) + each + 2)
    with ground.sink() as sink:
        environ = ground.environ(ground.ledger(), sink, rate=_RATE, burst=_BURST)
        commands = {"worker-0": ["worker", "sms"], "worker-1": ["worker", "sms"], "clock": ["clock"]}
        with ground.parts(environ) as parts:
            crowd.settle(parts.engine, parts.vault, datetime.now(UTC), sites=2, reached=people)
            with ground.fleet(environ, commands) as started:
                street = _Street(parts, started, each, backlog)
                street.warm_up()
                sides = {"beside the big site": street.crowded, "alone": street.alone}
                measured = interleaved(rounds, sides, lambda said: ground.say(f"fairness: {said} s"))
    what = f"median delay of {each} touches of a small site beside {backlog:,} due ones of a big one : alone"
    return [compared("fairness", what, "s", measured, 2.0, Bar.AT_MOST)]


@dataclass
class _Street:
    """Two sites, one sender."""

    parts: Parts
    started: Mapping[str, Process]
    each: int
    backlog: int
    used: dict[int, int] = field(default_factory=lambda: {_SMALL: 0, _BIG: 0})

    def warm_up(self) -> None:
        """The first touches of all: workers come up, connections are opened."""
        self._delay_of_small()

    def alone(self, _round: int) -> float:
        """Seconds a touch of the small site is late while nobody else has any."""
        return self._delay_of_small()

    def crowded(self, _round: int) -> float:
        """The same while the big site's backlog is being sent."""
        now = datetime.now(UTC)
        self._plan(_BIG, _REACHED, now - timedelta(seconds=1))
        with self.parts.engine.begin() as conn:
            conn.execute(_BACKLOG, {"now": now, "expires": now + timedelta(days=5), "most": self.backlog})
        time.sleep(_SETTLING)
        delay = self._delay_of_small()
        with self.parts.engine.begin() as conn:
            conn.execute(_CLEAR, {"now": datetime.now(UTC)})
        # what is in a worker's hands is over
        time.sleep(_SETTLING)
        return delay

    def _plan(self, site: int, count: int, due: datetime) -> list[int]:
        """A touch for so many patients of a site who were not written to yet."""
        first = self.used[site] + 1
        # every other one of the crowd is of this site
        self.used[site] += 2 * count
        return crowd.plan(self.parts.engine, first, self.used[site], due, site=site)

    def _delay_of_small(self) -> float:
        planned = datetime.now(UTC)
        ids = self._plan(_SMALL, self.each, planned)

        def are_sent() -> bool:
            with reading(self.parts.engine) as conn:
                done = conn.scalar(select(func.count()).where(attempt.c.touch_id.in_(ids), _ACCEPTED))
            return done == len(ids)

        wait_for("the small site's touches", are_sent, START + _PATIENCE, self.started, poll=0.1)
        with reading(self.parts.engine) as conn:
            calls = conn.scalars(select(attempt.c.called_at).where(attempt.c.touch_id.in_(ids), _ACCEPTED)).all()
        return middle([(call - planned).total_seconds() for call in calls if call is not None])


_ACCEPTED = attempt.c.state == "accepted"
#: What comes after the big site's patients who were not written to yet: due, and never reached while it is measured.
_BACKLOG = text("""
INSERT INTO touch (organisation_id, patient_id, site_id, enrolment_id, kind, step, channel, state, priority, due_at,
                   expires_at, attempts)
  SELECT 1, e.patient_id, e.site_id, e.id, 'outreach', s + (SELECT max(step) FROM touch), 'sms', 'planned', 30, :now,
         :expires, 0
  FROM generate_series(1, :most) s, enrolment e WHERE e.id = (SELECT max(id) FROM enrolment WHERE site_id = 2)
""")
_CLEAR = text("""
UPDATE touch SET state = 'cancelled', ended_at = :now, dispatched_until = NULL
  WHERE site_id = 2 AND state = 'planned'
""")
