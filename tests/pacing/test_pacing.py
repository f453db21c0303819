"""Pacing: the bound no window exceeds, grants equal on Redis and in the process, and what happens without Redis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from ops.runtime import metrics
from ops.runtime.pacing import Ask, Cell, Grant, Pacer
from ops.runtime.pacing_local import LocalPacer, micros
from ops.runtime.pacing_redis import SLICE, RedisPacer
from ops.services.redis import Redis as RedisServer

START = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
ACCOUNT = Cell("account", per_second=10, burst=20)
NUMBER = Cell("number:+15555550100", per_second=1, burst=3)

moments = st.lists(st.integers(0, 3_000_000), min_size=1, max_size=30)
cells = st.sampled_from(
    [
        ACCOUNT,
        NUMBER,
        Cell("site", 0.5, 1),
        Cell("answers", 2, 1, reserve=5),
        Cell("class", 333.3, 7),
        Cell("day", 100 / 86_400, 100),
    ]
)
asks = st.builds(Ask, cells=st.lists(cells, min_size=1, max_size=4, unique=True).map(tuple), cost=st.integers(1, 4))


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a Redis that is gone makes a pacer fall back, not one that a busy machine leaves waiting."""
    monkeypatch.setattr("ops.runtime.pacing_redis._TIMEOUT", 60.0)


@pytest.fixture(params=["local", "redis"])
def pacer(request: pytest.FixtureRequest) -> Iterator[Pacer]:
    if request.param == "local":
        opened: Pacer = LocalPacer()
    else:
        opened = RedisPacer(request.getfixturevalue("redis_url"), request.getfixturevalue("redis_prefix"))
    yield opened
    opened.close()


def ask(*of: Cell, cost: int = 1) -> Ask:
    return Ask(of, cost)


def granted(grants: list[Grant]) -> int:
    return sum(grant.granted for grant in grants)


def test_a_burst_goes_at_once_and_the_rest_waits_exactly_one_period(pacer: Pacer) -> None:
    grants = pacer.take([ask(NUMBER)] * 5, START)

    assert [grant.granted for grant in grants] == [True, True, True, False, False]
    assert {grant.retry_after for grant in grants[3:]} == {timedelta(seconds=1)}


def test_a_reserve_is_what_others_under_the_same_key_leave_and_is_paid_back_by_all(pacer: Pacer) -> None:
    answer = ask(replace(NUMBER, reserve=2))

    outreach = granted(pacer.take([ask(NUMBER)] * 5, START))
    answers = granted(pacer.take([answer] * 5, START))
    later = pacer.take([ask(NUMBER)], START + timedelta(seconds=2))

    assert (outreach, answers) == (3, 2)
    assert later == [Grant(granted=False, retry_after=timedelta(seconds=1))]


def test_the_wait_is_exact_to_the_microsecond(pacer: Pacer) -> None:
    cell = Cell("odd", per_second=3, burst=1)
    pacer.take([ask(cell)], START)

    (early,) = pacer.take([ask(cell)], START + timedelta(microseconds=100_000))
    at = START + timedelta(microseconds=100_000) + early.retry_after
    (too_early,) = pacer.take([ask(cell)], at - timedelta(microseconds=1))
    (in_time,) = pacer.take([ask(cell)], at)

    assert (early.granted, too_early.granted, in_time.granted) == (False, False, True)
    assert too_early.retry_after == timedelta(microseconds=1)


def test_an_ask_takes_from_all_its_cells_or_from_none(pacer: Pacer) -> None:
    full = Cell("full", per_second=1, burst=1)
    pacer.take([ask(full)], START)

    refused, other = pacer.take([ask(NUMBER, full), ask(NUMBER, cost=3)], START)

    assert (refused.granted, other.granted) == (False, True)


def test_a_refused_ask_does_not_hold_up_those_behind_it(pacer: Pacer) -> None:
    busy, free = Cell("busy", 1, 1), Cell("free", 1, 1)

    grants = pacer.take([ask(busy), ask(busy), ask(free)], START)

    assert [grant.granted for grant in grants] == [True, False, True]


def test_a_message_dearer_than_a_burst_passes_when_its_cell_is_full(pacer: Pacer) -> None:
    small = Cell("small", per_second=1, burst=2)

    first, second = pacer.take([ask(small, cost=5), ask(small, cost=5)], START)

    assert (first.granted, second.granted) == (True, False)
    assert second.retry_after == timedelta(seconds=5)


def test_time_that_runs_backwards_opens_nothing(pacer: Pacer) -> None:
    pacer.take([ask(NUMBER)] * 3, START)

    (grant,) = pacer.take([ask(NUMBER)], START - timedelta(hours=1))

    assert not grant.granted


def test_without_a_given_time_the_limiter_uses_its_own(pacer: Pacer) -> None:
    slow = Cell("slow", per_second=1 / 3600, burst=1)

    first, second = pacer.take([ask(slow), ask(slow)])

    assert (first.granted, second.granted) == (True, False)
    assert timedelta(minutes=59) < second.retry_after <= timedelta(hours=1)


@pytest.mark.parametrize("bad", [ask(Cell("x", 0, 1)), ask(Cell("x", 1, 0)), ask(NUMBER, cost=0)])
def test_a_limit_that_could_never_be_kept_is_refused(pacer: Pacer, bad: Ask) -> None:
    with pytest.raises(ValueError, match="at least one"):
        pacer.take([bad], START)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(gaps=moments, per_second=st.integers(1, 50), burst=st.integers(1, 20))
def test_no_window_ever_holds_more_than_its_limit_and_one_burst(gaps: list[int], per_second: int, burst: int) -> None:
    pacer = LocalPacer()
    cell = Cell("x", per_second, burst)
    sent: list[int] = []
    now = START

    for gap in gaps:
        now += timedelta(microseconds=gap)
        sent += [micros(now)] * granted(pacer.take([ask(cell)] * (burst + 3), now))

    for index, first in enumerate(sent):
        for count, last in enumerate(sent[index:], start=1):
            assert count <= burst + math.floor((last - first) * per_second / 1_000_000)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(gaps=moments, limit=st.integers(1, 20))
def test_a_moving_window_limiter_of_limit_and_burst_would_have_granted_the_same(gaps: list[int], limit: int) -> None:
    pacer = LocalPacer()
    now = START
    offset = micros(START)
    # `limits` keeps a log of every hit: at most limit + burst within any one second
    storage = MemoryStorage()
    window, item = MovingWindowRateLimiter(storage), RateLimitItemPerSecond(2 * limit)

    with pytest.MonkeyPatch.context() as patch:
        for gap in gaps:
            now += timedelta(microseconds=gap)
            patch.setattr("limits.storage.memory.time.time", lambda now=now: (micros(now) - offset) / 1_000_000 + 1e6)
            for _ in range(granted(pacer.take([ask(Cell("x", limit, limit))] * (limit + 2), now))):
                assert window.hit(item, "x")
    storage.reset()


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rounds=st.lists(st.tuples(st.integers(0, 5_000_000), st.lists(asks, max_size=8)), min_size=1, max_size=10))
def test_redis_and_the_process_grant_alike_to_the_microsecond(
    redis_url: str, redis_prefix: str, rounds: list[tuple[int, list[Ask]]]
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{redis_prefix}*"):
            client.delete(key)
    shared, local = RedisPacer(redis_url, redis_prefix), LocalPacer()
    now = START

    try:
        for gap, wishes in rounds:
            now += timedelta(microseconds=gap)
            assert shared.take(wishes, now) == local.take(wishes, now)
        assert not shared.is_falling_back
    finally:
        shared.close()


def test_processes_share_one_limit(redis_url: str, redis_prefix: str) -> None:
    one, two = RedisPacer(redis_url, redis_prefix), RedisPacer(redis_url, redis_prefix)

    grants = one.take([ask(NUMBER)] * 2, START) + two.take([ask(NUMBER)] * 2, START)

    assert [grant.granted for grant in grants] == [True, True, True, False]
    one.close()
    two.close()


def test_a_batch_is_one_round_trip(redis_url: str, redis_prefix: str) -> None:
    pacer = RedisPacer(redis_url, redis_prefix)
    pacer.take([ask(ACCOUNT)], START)
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]

        pacer.take([ask(ACCOUNT, NUMBER)] * 100, START)

        after = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before == 1
    pacer.close()


def test_cells_are_forgotten_by_redis_some_day(redis_url: str, redis_prefix: str) -> None:
    pacer = RedisPacer(redis_url, redis_prefix)
    pacer.take([ask(NUMBER)], START)

    with redis.Redis.from_url(redis_url) as client:
        (key,) = client.scan_iter(match=f"{redis_prefix}*")
        left = client.pttl(key)

    assert 86_300_000 < left <= 86_401_001
    pacer.close()


def test_without_redis_a_tenth_of_the_limit_is_left_and_it_recovers_by_itself(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.runtime.pacing_redis._REST", 0.0)
    pacer = RedisPacer(own_redis.url, "x:")
    before = granted(pacer.take([ask(ACCOUNT)] * 30, START))

    own_redis.kill()
    during = granted(pacer.take([ask(ACCOUNT)] * 30, START))
    later = granted(pacer.take([ask(ACCOUNT)] * 30, START + timedelta(seconds=1)))
    was_flagged = pacer.is_falling_back, metrics.pacing_fallback._value.get()
    own_redis.start()
    own_redis.wait()
    after = granted(pacer.take([ask(ACCOUNT)] * 30, START + timedelta(seconds=2)))

    assert (before, during, later, after) == (20, 20 * SLICE, 10 * SLICE, 20)
    assert was_flagged == (True, 1)
    assert (pacer.is_falling_back, metrics.pacing_fallback._value.get()) == (False, 0)
    pacer.close()


@pytest.mark.parametrize("cell", [ACCOUNT, NUMBER, replace(NUMBER, burst=1)], ids=["wide", "narrow", "one at a time"])
def test_without_redis_answers_keep_their_whole_reserve(cell: Cell) -> None:
    pacer = RedisPacer("redis://127.0.0.1:1/0", "x:")
    answer = ask(replace(cell, reserve=5))

    outreach = granted(pacer.take([ask(cell)] * 50, START))
    answers = granted(pacer.take([answer] * 50, START))
    # in the long run they share the slice
    soon = granted(pacer.take([answer] * 50, START + timedelta(seconds=2 / (cell.per_second * SLICE))))

    assert outreach == max(1, int(cell.burst * SLICE))
    assert answers == 5
    assert soon == 2
    pacer.close()


def test_after_a_failure_redis_is_left_alone_for_a_moment(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.runtime.pacing_redis._REST", 3600.0)
    pacer = RedisPacer(own_redis.url, "x:")
    own_redis.kill()
    pacer.take([ask(ACCOUNT)], START)
    own_redis.start()
    own_redis.wait()

    pacer.take([ask(ACCOUNT)], START)

    assert pacer.is_falling_back
    pacer.close()


def test_a_redis_that_never_was_does_not_open_the_gate() -> None:
    pacer = RedisPacer("redis://127.0.0.1:1/0", "x:")

    grants = pacer.take([ask(NUMBER)] * 10, START) + pacer.take([ask(NUMBER)] * 10, START)

    assert granted(grants) == 1
    pacer.close()


def test_an_ask_with_a_larger_burst_goes_further_into_the_same_cell_and_the_others_pay(pacer: Pacer) -> None:
    narrow, wide = Cell("shared", per_second=1, burst=2), Cell("shared", per_second=1, burst=7)

    grants = pacer.take([*[ask(narrow)] * 3, *[ask(wide)] * 6, ask(narrow)], START)

    assert [each.granted for each in grants] == [True, True, False, *[True] * 5, False, False]
    assert grants[-1].retry_after == timedelta(seconds=6)
