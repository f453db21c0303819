"""A campaign of faults: day after day of outreach, each under one kind of fault, and judged once it has recovered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy.exc import DBAPIError

import ops.demo
from domain.ledger import organisations
from domain.ledger.store import open_ledger
from domain.rules.vocabulary import Role
from ops.migrations.run import upgrade
from ops.runtime.amqp import BrokerUnavailable
from ops.runtime.clock import SharedClock
from ops.services.start import Services
from ops.simulator.news import News
from producers.campaigns import start_campaign
from producers.importing.organisation_file import read_organisation
from producers.rule_files import read_rules
from tests.faults.acts import Scene
from tests.faults.books import Books, Totals
from tests.faults.catalogue import Fault
from tests.faults.fleet import Fleet, Ticking
from tests.faults.outside import Outside
from tests.faults.people import CAMPAIGN, ORGANISATION, Population, news_of, publish

_DEMO = Path(ops.demo.__file__).with_name("campaign.yaml")
#: A Tuesday; the days that follow hold no holiday for twelve weeks.
FIRST_DAY = datetime(2025, 3, 4, tzinfo=ZoneInfo("America/Denver"))
#: Before its touches are due, so that its people are enrolled by then.
_EARLY = timedelta(minutes=20)
#: Real seconds: until the fleet is up, a cohort is enrolled, its first touch is due, all is at rest afterwards, and
#: without movement until time is set forward. A provider that failed rests for five minutes, and comes back in one.
_START, _ENROL, _BEGIN, _REST, _STILL = 60.0, 90.0, 10.0, 420.0, 1.2
_STEP = timedelta(seconds=10)
#: Real seconds of faults while people are told of and enrolled, and at most while they are written to.
_EARLY_FAULTS, _LOAD = 8.0, 150.0


@dataclass(frozen=True)
class Day:
    """What came of one day."""

    fault: str
    injected: int
    totals: Totals
    seconds: float
    """By the fleet's clock, from the end of the last fault until all was at rest."""
    problems: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether every promise was kept."""
        return not self.totals.broken and not self.problems


class Campaign:
    """One campaign; `play` a day at a time."""

    def __init__(self, fleet: Fleet, books: Books, times: Ticking, outside: Outside, seed: int) -> None:
        self.fleet = fleet
        self._books = books
        self._times = times
        self._outside = outside
        self._people = Population(seed)
        self._news: list[News] = []
        self._dice = random.Random(seed)  # noqa: S311 - no secret
        self.day = -1
        self._busy: dict[str, int] = {}
        self._before = Totals()

    def begin(self) -> None:
        """Start every process, and wait until one leads and the web process answers."""
        for name in self.fleet.slots:
            self.fleet.start(name)
        self._watch(_START, lambda: self._books.leads() and self.fleet.serves())

    def forget_a_hint(self) -> None:
        """A reply is stored and its hint is lost."""
        self._books.forget_a_hint(self._times.clock.now())

    def play(self, fault: Fault, wanted: int, newcomers: int) -> Day:
        """A day with up to `wanted` injections of a fault, and so many new people."""
        self.day += 1
        self._times.jump(_opening(self.day) - _EARLY - self._times.clock.now())
        self._outside.lag, self._outside.witness.slack = 0.0, 0.0
        scene = Scene(self.fleet, self._dice)
        self._tell_of(newcomers)
        injected = self._under(fault, scene, wanted)
        scene.end()
        seconds, problems = self._recover()
        totals = self._books.totals(self._times.clock.now(), clocks_agree=not fault.parts_clocks)
        came, self._before = totals.since(self._before), totals
        problems += [f"{name} ended by itself ({code})" for name, code in self.fleet.by_itself]
        if came.broken:
            problems += self._books.details
        self.fleet.by_itself.clear()
        return Day(fault.name, injected, came, seconds, tuple(problems))

    def _tell_of(self, newcomers: int) -> None:
        people = self._people.cohort(newcomers)
        self._outside.meet(people)
        self._news = news_of(people, self._times.clock.now())
        self._books.expect(people, len(self._news))

    def _under(self, fault: Fault, scene: Scene, wanted: int) -> int:
        """Inject while people are taken in and enrolled, then while they are written to."""
        telling = threading.Thread(target=self._publish, name="events", daemon=True)
        telling.start()
        done = self._inject(fault, scene, wanted // 3, _EARLY_FAULTS, self._books.is_everybody_decided)
        # what lasts does not keep them from being enrolled today: most of the load is yet to come
        self._settle(_ENROL, self._books.is_everybody_decided, _opening(self.day) - timedelta(seconds=30))
        telling.join(60)
        self._times.jump(_opening(self.day) - self._times.clock.now())
        self._watch(_BEGIN, lambda: self._books.is_anybody_due(self._times.clock.now()))
        is_over = self._is_load_over
        return done + self._inject(fault, scene, wanted - done, _LOAD, is_over)

    def _inject(self, fault: Fault, scene: Scene, wanted: int, seconds: float, is_over: Callable[[], bool]) -> int:
        """Up to so many injections while the load lasts; how many there were."""
        done: list[int] = []
        stop = threading.Event()

        def work() -> int:
            while sum(done) < wanted and not stop.is_set():
                began = time.monotonic()
                done.append(fault.inject(scene))
                stop.wait(max(0.02, fault.every - (time.monotonic() - began)))
            return sum(done)

        with ThreadPoolExecutor(1, "faults") as pool:
            injecting = pool.submit(work)
            self._watch(seconds, lambda: injecting.done() or is_over())
            stop.set()
            while not injecting.done():
                self._look()
            return injecting.result()

    def _is_load_over(self) -> bool:
        return not self._books.is_anybody_due(self._times.clock.now())

    def _publish(self) -> None:
        for _ in range(200):
            try:
                publish(self.fleet.amqp_url, self._news)
            except BrokerUnavailable:
                time.sleep(0.3)
            else:
                return

    def _recover(self) -> tuple[float, list[str]]:
        """Let time go on until all is at rest; the seconds that took by the fleet's clock."""
        began = self._times.clock.now()
        # what was confirmed may have been wiped since: its publisher tells it again
        self._publish()
        self._busy = {"anything": 1}
        if not self._settle(_REST, self._is_at_rest, datetime.max.replace(tzinfo=UTC)):
            return _REST, [f"not at rest after {_REST:.0f} s: {self._busy}"]
        return round((self._times.clock.now() - began).total_seconds(), 1), []

    def _is_at_rest(self) -> bool:
        self._busy = {name: count for name, count in self._books.under_way(self._times.clock.now()).items() if count}
        return not self._busy

    def _settle(self, seconds: float, is_so: Callable[[], bool], until: datetime) -> bool:
        """Watch; where nothing moves any more, set time forward, but not past `until`."""
        deadline, last, still_since = time.monotonic() + seconds, -1, time.monotonic()
        while time.monotonic() < deadline:
            if self._watch(0.0, is_so):
                return True
            with suppress(DBAPIError):
                moved = self._books.moved()
                if moved != last:
                    last, still_since = moved, time.monotonic()
            if time.monotonic() - still_since > _STILL:
                self._times.jump(min(_STEP, until - self._times.clock.now()))
                still_since = time.monotonic() - _STILL + 0.3
        return False

    def _watch(self, seconds: float, is_so: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            self._look()
            with suppress(DBAPIError):
                if is_so():
                    return True
            if time.monotonic() >= deadline:
                return False

    def _look(self) -> None:
        self.fleet.watch()
        with suppress(DBAPIError):
            self._books.look_for_opt_outs()
        self._outside.witness.slack = self._outside.lag
        time.sleep(0.05)


@contextmanager
def campaign(directory: Path, seed: int) -> Iterator[Campaign]:
    """A fleet on private servers with a campaign running, and nobody in it yet.

    Raises:
        ServiceError: a server is not installed here, or did not start.
    """
    with ExitStack() as closing:
        services = closing.enter_context(Services(durable=True))
        services.start("postgres", "rabbitmq", "redis")
        services.amqp_url("faults")
        start = _opening(0) - timedelta(hours=1)
        times = Ticking(
            SharedClock.create(directory / "clock", start), SharedClock.create(directory / "clock-skewed", start)
        )
        outside = closing.enter_context(Outside(seed, directory, times.clock.now))
        engine = open_ledger(services.postgres_admin_url)
        closing.callback(engine.dispose)
        upgrade(services.postgres_admin_url)
        _begin(engine, directory, start)
        ticking = times.begin()
        closing.callback(ticking.join, 5)
        closing.callback(times.end)
        fleet = closing.enter_context(Fleet(directory, services, outside, times, seed))
        played = Campaign(fleet, Books(engine, fleet.vault, outside, read_rules(None)), times, outside, seed)
        played.begin()
        yield played


def _begin(engine: object, directory: Path, start: datetime) -> None:
    (directory / "organisation.yaml").write_text(ORGANISATION)
    lines = _DEMO.read_text().splitlines()
    changed = [next((f"{key}: {new}" for key, new in CAMPAIGN.items() if line.startswith(key)), line) for line in lines]
    (directory / "campaign.yaml").write_text("\n".join(changed) + "\n")
    file = read_organisation(directory / "organisation.yaml")
    with engine.begin() as conn:  # type: ignore[attr-defined]
        organisations.upsert(conn, file.organisation_news(), file.site_news())
    people = {Role.MARKETING: "Maya Ortiz (fictional)", Role.CLINICAL: "Sam Reed (fictional)"}
    start_campaign(engine, directory / "campaign.yaml", None, read_rules(None), start, people)  # type: ignore[arg-type]


def _opening(day: int) -> datetime:
    """When the touches of a day are due (UTC): at 10:30, on Sundays at noon, in Denver."""
    date = FIRST_DAY + timedelta(days=day)
    hour, minute = (12, 0) if date.weekday() == 6 else (10, 30)
    return date.replace(hour=hour, minute=minute).astimezone(UTC)


def shares(faults: Sequence[Fault], injections: int) -> dict[str, int]:
    """How many injections each fault has of so many, one at least."""
    whole = sum(each.share for each in faults)
    return {each.name: max(1, round(injections * each.share / whole)) for each in faults}
