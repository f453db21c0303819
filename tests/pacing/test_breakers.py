"""Breakers: one state for the fleet, or for a process; told at once of failures; what happens without Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis

from ops.runtime import metrics
from ops.runtime.breaker import POLICY, Breaker, Phase
from ops.runtime.breakers import Breakers, LocalStore, Store, Tally
from ops.runtime.breakers_redis import RedisStore
from ops.services.redis import Redis as RedisServer

START = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DOWN = {"one": Tally(bad=POLICY.at_least)}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a Redis that is gone makes a store fall back, not one that a busy machine leaves waiting."""
    monkeypatch.setattr("ops.runtime.breakers_redis._TIMEOUT", 60.0)


@pytest.fixture(params=["local", "redis"])
def process(request: pytest.FixtureRequest) -> Iterator[Callable[[], Breakers]]:
    """Makes the breakers of one more process, or thread, that shares the states."""
    opened: list[Breakers] = []
    shared = LocalStore()

    def make() -> Breakers:
        store: Store = shared
        if request.param == "redis":
            store = RedisStore(request.getfixturevalue("redis_url"), request.getfixturevalue("redis_prefix"))
        opened.append(Breakers("sms", ["one", "two"], store, by_clock=True))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def phases(breakers: Breakers, now: datetime) -> tuple[str, str]:
    found = breakers.look(now)
    return found["one"].phase.value, found["two"].phase.value


def test_what_one_process_finds_the_others_know_a_second_later(process: Callable[[], Breakers]) -> None:
    finder, other = process(), process()
    before = phases(other, START)

    finder.report(DOWN, START)

    assert (before, phases(finder, START)) == (("closed", "closed"), ("open", "closed"))
    assert phases(other, START + SECOND) == ("open", "closed")


def test_failures_that_are_few_in_each_process_are_added_up(process: Callable[[], Breakers]) -> None:
    for _ in range(POLICY.at_least):
        process().report({"one": Tally(bad=1)}, START)

    assert phases(process(), START) == ("open", "closed")


def test_trials_are_made_by_one_process_only_and_bring_the_provider_back_for_all(
    process: Callable[[], Breakers],
) -> None:
    first, second = process(), process()
    first.report(DOWN, START)
    early = second.take_trials(START + 29 * SECOND)
    now = START + 31 * SECOND

    taken = first.take_trials(now), second.take_trials(now)
    first.report({"one": Tally(good=POLICY.trials)}, now)

    assert (early, taken) == ({}, ({"one": POLICY.trials}, {}))
    assert phases(second, now + SECOND) == ("closed", "closed")
    assert second.part("one", now + SECOND) < 0.2
    assert second.part("two", now + SECOND) == 1


def test_trials_that_were_not_made_are_anothers(process: Callable[[], Breakers]) -> None:
    first, second = process(), process()
    first.report(DOWN, START)
    now = START + 31 * SECOND

    first.take_trials(now)
    first.give_back(["one"], now)

    assert second.take_trials(now) == {"one": POLICY.trials}


def test_trouble_with_the_account_opens_at_once(process: Callable[[], Breakers]) -> None:
    breakers = process()

    breakers.report({"two": Tally(bad=1, is_in_trouble=True)}, START)

    assert phases(breakers, START) == ("closed", "open")


def test_threads_that_tell_of_calls_at_once_lose_none(process: Callable[[], Breakers]) -> None:
    breakers = [process() for _ in range(3)]
    begun = threading.Barrier(3)

    def tell(mine: Breakers) -> None:
        begun.wait()
        for _ in range(3):
            mine.report({"one": Tally(good=1, bad=1)}, START)

    threads = [threading.Thread(target=tell, args=[each]) for each in breakers]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert phases(process(), START) == ("open", "closed")


def test_calls_that_go_well_cost_two_round_trips_a_second_at_most(redis_url: str, redis_prefix: str) -> None:
    breakers = Breakers("sms", ["one", "two"], RedisStore(redis_url, redis_prefix), by_clock=True)
    breakers.look(START)
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]

        for batch in range(100):
            breakers.look(START + batch * SECOND / 50)
            breakers.report({"one": Tally(good=100)}, START + batch * SECOND / 50)

        after = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    # two seconds of work, of which the first began with a look
    assert after - before <= 2
    breakers.close()


def test_without_redis_a_process_goes_on_from_what_it_knew_and_finds_out_by_itself(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.runtime.breakers_redis._REST", 0.0)
    breakers = Breakers("sms", ["one", "two"], RedisStore(own_redis.url, "x:"), by_clock=True)
    breakers.report(DOWN, START)

    own_redis.kill()
    away = phases(breakers, START + 2 * SECOND)
    was_flagged = metrics.breaker_fallback._value.get()
    breakers.report({"two": Tally(bad=POLICY.at_least)}, START + 3 * SECOND)
    found_alone = phases(breakers, START + 3 * SECOND)
    own_redis.start()
    own_redis.wait()
    back = phases(breakers, START + 5 * SECOND)
    # the server came back empty: what this process knew is told to the others
    other = Breakers("sms", ["one", "two"], RedisStore(own_redis.url, "x:"), by_clock=True)

    assert (away, was_flagged, found_alone) == (("open", "closed"), 1, ("open", "open"))
    assert (back, phases(other, START + 5 * SECOND)) == (("open", "open"), ("open", "open"))
    assert metrics.breaker_fallback._value.get() == 0
    for each in (breakers, other):
        each.close()


def test_a_state_that_another_version_wrote_is_found_out_again(redis_url: str, redis_prefix: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{redis_prefix}breaker:one", '{"of": "another version"}')
        client.set(f"{redis_prefix}breaker:two", "[1, 2")
    store = RedisStore(redis_url, redis_prefix)
    breakers = Breakers("sms", ["one", "two"], store, by_clock=True)

    before = dict(breakers.look(START))
    breakers.report(DOWN, START)

    assert before == {"one": Breaker(), "two": Breaker()}
    assert phases(breakers, START) == ("open", "closed")
    breakers.close()


def test_metrics_tell_how_each_provider_stands(process: Callable[[], Breakers]) -> None:
    breakers = process()
    opened = metrics.provider_transitions_total.labels("sms", "one", Phase.OPEN.value)
    before = opened._value.get()

    breakers.report(DOWN, START)

    told = {sample.labels["provider"]: sample.value for sample in metrics.provider_open.collect()[0].samples}
    assert (told["one"], told["two"]) == (1.0, 0.0)
    assert opened._value.get() - before == 1
