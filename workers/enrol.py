"""Enrols lapsed patients: takes `inactivity.detected` from the bus and decides about each lapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import Engine

from domain.events.codec import decode
from domain.events.envelope import EventProblem
from domain.events.outgoing import InactivityDetected
from domain.ledger import enrolling
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Arm
from ops.runtime import metrics
from ops.runtime.bus_contract import BusMessage
from ops.runtime.clock import Clock

log = structlog.get_logger(__name__)


class Enrol:
    """The handler of the `enrol` queue. A message is a hint; the undecided lapse is the work."""

    def __init__(self, engine: Engine, clock: Clock, systems: Mapping[str, str], rules: Rulebook) -> None:
        self._engine = engine
        self._clock = clock
        self._systems = systems
        self._rules = rules

    def take(self, messages: Sequence[BusMessage]) -> None:
        """Decide about the lapses these events name; unreadable hints are dropped, the sweep finds their rows."""
        lapse_ids = [lapse_id for message in messages if (lapse_id := _lapse_id(message)) is not None]
        if not lapse_ids:
            return
        with self._engine.begin() as conn:
            counts = enrolling.enrol_lapses(conn, lapse_ids, self._systems, self._rules, self._clock.now())
        for arm in Arm:
            metrics.enrolments_total.labels(arm.value).inc(counts[arm.value])
        log.info("lapses_decided", lapses=len(lapse_ids), enrolled=sum(counts[arm.value] for arm in Arm))


def _lapse_id(message: BusMessage) -> int | None:
    try:
        event = decode(message.headers, message.content_type, message.body)
    except EventProblem:
        log.warning("hint_unreadable", queue="enrol")
        return None
    return event.data.lapse_id if isinstance(event.data, InactivityDetected) else None
