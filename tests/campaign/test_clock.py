"""The clock: one leads and the others stand by; scans keep to their slots; the next instant is known exactly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from household import NOW, StoppedClock
from practice import SYSTEMS, Practice, Provider
from rulebooks import STANDARD
from sqlalchemy import Engine, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from waiting import wait_until

from domain.jobs import Job
from domain.ledger import heartbeat, leadership, outbox
from domain.ledger.enrolments import enrolment
from domain.ledger.store import open_ledger, reading
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.assembly import means_opted_out
from ops.runtime import metrics
from ops.runtime.bus_contract import BusError
from ops.runtime.clock import SharedClock
from producers.clock import CLOCK, MOST_BATCHES, Rounds, run_clock
from producers.dispatch import Dispatcher
from producers.sweep import Sweep

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
MIDNIGHT = datetime(2026, 3, 4, tzinfo=UTC)


@dataclass
class Log:
    """What a round asked for."""

    scans: list[datetime] = field(default_factory=list)
    relays: list[datetime] = field(default_factory=list)
    found: int = 0
    away: bool = False

    def scan(self, now: datetime) -> int:
        self.scans.append(now)
        found, self.found = self.found, 0
        return found

    def relay(self, now: datetime) -> int:
        self.relays.append(now)
        if self.away:
            raise BusError("away")
        return 0


def rounds_of(engine: Engine, log: Log, every: timedelta = DAY) -> Rounds:
    return Rounds(
        engine=engine,
        dispatcher=Dispatcher(engine, {}, lambda _job: None),
        sweep=Sweep(engine, SYSTEMS, STANDARD, lambda _job: None, means_opted_out),
        scan=log.scan,
        relay=log.relay,
        scan_every=every,
    )


def something_to_tell(engine: Engine) -> None:
    """An event in the outbox: every round of a leader publishes it."""
    with engine.begin() as conn:
        outbox.add(conn, "rejected.event", {"source": "a feed", "reason": "for a test", "quarantine_id": 1}, NOW)


@pytest.fixture
def other(ledger_url: str, ledger: Engine) -> Iterator[Engine]:
    """The same ledger, opened by a second process."""
    engine = open_ledger(ledger_url)
    yield engine
    engine.dispose()


def test_only_one_of_two_leads_and_the_second_takes_over_when_the_first_is_gone(ledger: Engine, other: Engine) -> None:
    with ExitStack() as second_ends:
        second = second_ends.enter_context(leadership.candidate(other))
        with leadership.candidate(ledger) as first:
            held = [first.holds(), second.holds(), first.holds(), second.holds()]
        after = second.holds()

    assert (held, after) == ([True, False, True, False], True)


def test_a_second_clock_stands_by_and_takes_over(ledger: Engine, other: Engine) -> None:
    something_to_tell(ledger)
    logs = Log(), Log()
    stops = threading.Event(), threading.Event()
    threads = [
        threading.Thread(
            target=run_clock, args=(rounds_of(engine, log), StoppedClock(), stop), kwargs={"pause": 0.01}, daemon=True
        )
        for engine, log, stop in zip((ledger, other), logs, stops, strict=True)
    ]

    try:
        threads[0].start()
        wait_until(lambda: bool(logs[0].relays))
        threads[1].start()
        rounds_before = len(logs[0].relays)
        wait_until(lambda: len(logs[0].relays) > rounds_before + 20)
        assert logs[1].relays == []
        stops[0].set()
        wait_until(lambda: bool(logs[1].relays))
    finally:
        for stop in stops:
            stop.set()
        for thread in threads:
            thread.join(timeout=60)

    assert not any(thread.is_alive() for thread in threads)
    with reading(ledger) as conn:
        last = heartbeat.last(conn, CLOCK)
    assert last is not None
    assert (last.at, last.did, last.next_at) == (NOW, 0, None)


def test_in_a_simulation_no_round_begins_before_the_conductor_lets_it(ledger: Engine, tmp_path: Path) -> None:
    something_to_tell(ledger)
    log, stop = Log(), threading.Event()
    clock = SharedClock.create(tmp_path / "clock", NOW)
    thread = threading.Thread(target=run_clock, args=(rounds_of(ledger, log), clock, stop), kwargs={"pause": 0.001})

    try:
        thread.start()
        wait_until(lambda: metrics.clock_leader._value.get() == 1)
        before = list(log.relays)
        clock.allow(1)
        wait_until(lambda: last_round(ledger) == 1)
        clock.allow(3)
        wait_until(lambda: last_round(ledger) == 3)
    finally:
        stop.set()
        thread.join(timeout=60)
        clock.close()

    assert (before, log.relays) == ([], [NOW] * 3)


def last_round(ledger: Engine) -> int:
    with reading(ledger) as conn:
        beat = heartbeat.last(conn, CLOCK)
    return 0 if beat is None else beat.round


def test_a_database_that_is_away_is_not_taken_for_another_leader(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> int:
        raise OperationalError("SELECT 1", {}, Exception("away"))

    stop = threading.Event()
    monkeypatch.setattr(heartbeat, "beat", away)

    with capture_logs() as lines:
        thread = threading.Thread(
            target=run_clock, args=(rounds_of(ledger, Log()), StoppedClock(), stop), kwargs={"pause": 0.001}
        )
        thread.start()
        wait_until(lambda: any(line["event"] == "clock_waits_for_database" for line in lines))
        monkeypatch.undo()
        wait_until(lambda: any(line["event"] == "clock_leads" for line in lines))
        stop.set()
        thread.join(timeout=60)

    assert {line["event"] for line in lines} == {"clock_waits_for_database", "clock_leads"}


def test_scans_run_once_in_each_slot_until_they_find_nothing(ledger: Engine) -> None:
    log = Log(found=7)
    rounds = rounds_of(ledger, log)

    did = [rounds.run(now) for now in (MIDNIGHT, MIDNIGHT, MIDNIGHT + DAY - SECOND, MIDNIGHT + DAY)]

    assert did == [7, 0, 0, 0]
    assert log.scans == [MIDNIGHT, MIDNIGHT, MIDNIGHT + DAY]


def test_a_clock_started_late_scans_at_once(ledger: Engine) -> None:
    log = Log()

    rounds_of(ledger, log).run(NOW)

    assert log.scans == [NOW]


def test_a_bus_that_is_away_stops_nothing_else(ledger: Engine) -> None:
    something_to_tell(ledger)
    log = Log(away=True, found=3)

    assert rounds_of(ledger, log).run(NOW) == 3
    assert len(log.relays) == 1


def test_an_empty_outbox_leaves_the_bus_alone(ledger: Engine) -> None:
    log = Log()

    rounds_of(ledger, log).run(NOW)

    assert log.relays == []


def sending_rounds(engine: Engine, told: list[Job], scan: Callable[[datetime], int]) -> Rounds:
    """Rounds with a channel; its hints are kept."""
    return Rounds(
        engine=engine,
        dispatcher=Dispatcher(engine, {"sms": (Provider(), None)}, told.append),
        sweep=Sweep(engine, SYSTEMS, STANDARD, told.append, means_opted_out),
        scan=scan,
        relay=lambda _now: 0,
        scan_every=DAY,
    )


def test_a_scan_that_is_cut_off_does_not_hold_up_the_touches_that_are_due(ledger: Engine, practice: Practice) -> None:
    def cut_off(_now: datetime) -> int:
        raise OperationalError("SELECT", None, Exception("canceling statement due to lock timeout"))

    practice.person()
    due(practice, NOW)
    told: list[Job] = []

    did = sending_rounds(ledger, told, cut_off).run(NOW)

    assert did == 1
    assert [job.actor for job in told] == ["send_sms"]


def test_lapses_without_end_do_not_hold_up_the_touches_that_are_due(ledger: Engine, practice: Practice) -> None:
    practice.person()
    due(practice, NOW)
    told: list[Job] = []
    rounds = sending_rounds(ledger, told, lambda _now: 1000)

    did = [rounds.run(NOW), rounds.run(NOW)]

    assert [job.actor for job in told] == ["send_sms"]
    assert did == [MOST_BATCHES * 1000 + 1, MOST_BATCHES * 1000]


@dataclass
class Minder:
    """A dispatcher that only remembers when it was told to catch up."""

    told: list[datetime] = field(default_factory=list)
    channels: dict[str, Any] = field(default_factory=dict)

    def catch_up(self, now: datetime) -> None:
        self.told.append(now)

    def run(self, due: Collection[str], now: datetime) -> int:  # noqa: ARG002 - the dispatcher's signature
        return 0


def minded(engine: Engine) -> tuple[Rounds, Minder]:
    """Rounds, and whom they tell of an outage."""
    minder, rounds = Minder(), rounds_of(engine, Log())
    rounds.dispatcher = cast("Dispatcher", minder)
    # nobody is enrolled meanwhile
    rounds.sweep.systems = {}
    return rounds, minder


def test_a_clock_that_stood_still_with_touches_due_catches_up(ledger: Engine, practice: Practice) -> None:
    practice.person()
    due(practice, NOW)
    rounds, minder = minded(ledger)
    late = NOW + timedelta(minutes=11)

    rounds.run(NOW)
    rounds.next_at(NOW)
    rounds.run(late)

    assert minder.told == [late]


def test_a_clock_that_waited_for_the_next_touch_was_not_away(ledger: Engine, practice: Practice) -> None:
    practice.person()
    due(practice, NOW + timedelta(hours=5))
    rounds, minder = minded(ledger)

    rounds.run(NOW)
    next_at = rounds.next_at(NOW)
    rounds.run(NOW + timedelta(hours=5))

    assert next_at == NOW + timedelta(hours=5)
    assert minder.told == []


@pytest.mark.parametrize(("did", "next_at", "is_late"), [(3, None, True), (0, NOW, True), (0, NOW + DAY, False)])
def test_a_new_leader_knows_from_the_last_one_how_long_nobody_led(
    ledger: Engine, did: int, next_at: datetime | None, is_late: bool
) -> None:
    with ledger.begin() as conn:
        heartbeat.beat(conn, CLOCK, heartbeat.Beat(NOW, 1, did, next_at))
    rounds, minder = minded(ledger)

    rounds.run(NOW + timedelta(hours=2))

    assert minder.told == ([NOW + timedelta(hours=2)] if is_late else [])


def test_the_first_clock_of_a_new_ledger_catches_up_with_nothing(ledger: Engine) -> None:
    rounds, minder = minded(ledger)

    rounds.run(NOW)

    assert minder.told == []


@pytest.fixture
def practice(ledger: Engine, vault: Vault) -> Practice:
    return Practice(ledger, vault)


def due(practice: Practice, due_at: datetime) -> None:
    with practice.engine.begin() as conn:
        conn.execute(update(touch).values(due_at=due_at))


def test_with_nothing_scheduled_there_is_no_next_instant(ledger: Engine) -> None:
    assert rounds_of(ledger, Log()).next_at(NOW) is None


def test_the_next_instant_is_when_the_next_touch_is_due(ledger: Engine, practice: Practice) -> None:
    practice.person()
    due(practice, NOW + timedelta(hours=3))

    assert rounds_of(ledger, Log()).next_at(NOW) == NOW + timedelta(hours=3)


def test_more_due_than_the_limits_allow_goes_on_a_second_later(ledger: Engine, practice: Practice) -> None:
    practice.person()
    due(practice, NOW)

    assert rounds_of(ledger, Log()).next_at(NOW) == NOW + SECOND


@pytest.mark.parametrize(
    ("review", "expected"),
    [
        (MIDNIGHT + DAY, MIDNIGHT + DAY),
        (MIDNIGHT + DAY + SECOND, MIDNIGHT + 2 * DAY),
        # the slot of now has run: what it left is for the next
        (NOW - DAY, MIDNIGHT + DAY),
    ],
)
def test_reviews_wait_for_the_first_slot_after_them(
    ledger: Engine, practice: Practice, review: datetime, expected: datetime
) -> None:
    rounds = rounds_of(ledger, Log())
    rounds.run(NOW)
    practice.person()
    with ledger.begin() as conn:
        conn.execute(update(touch).values(state="accepted"))
        conn.execute(update(enrolment).values(review_at=review))

    assert rounds.next_at(NOW) == expected
