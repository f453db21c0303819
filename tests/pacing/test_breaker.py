"""The breaker's state machine: every way it can go from every state, and what a provider sees of it over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.runtime.breaker import (
    POLICY,
    Breaker,
    Phase,
    Policy,
    after_calls,
    opened,
    part,
    wait,
    with_trials,
    without_trials,
)

#: Small enough for every history to be walked through.
SMALL = Policy(window=6, at_least=2, share=0.5, rest=4, longest_rest=8, trials=2, trial=3, ramp=4, first=0.25)
NOW = 1_000_000.0

#: One provider's day: what may happen to a state at an instant.
EVENTS: dict[str, Callable[[Breaker, float], Breaker]] = {
    "well": lambda state, now: after_calls(state, 1, 0, now, SMALL),
    "ill": lambda state, now: after_calls(state, 0, 1, now, SMALL),
    "refused": lambda state, now: opened(state, now, SMALL),
    "trial": lambda state, now: with_trials(state, now, SMALL)[0],
    "unused": without_trials,
    "nothing": lambda state, _: state,
}


@pytest.mark.parametrize("pace", [1.0, 4.0], ids=["every second", "slower than a rest"])
def test_no_history_of_six_events_breaks_the_rules(pace: float) -> None:
    """All 46,656 histories, step by step: which phase may follow which, and what each allows."""
    reached: set[tuple[Phase, Phase]] = set()
    standing = {Breaker()}
    for step in range(6):
        now = NOW + step * pace
        following = set()
        for state, (event, change) in product(standing, EVENTS.items()):
            after = change(state, now)
            _check(state, event, after, now)
            reached.add((state.phase, after.phase))
            following.add(after)
        standing = following

    closed, half, shut = Phase.CLOSED, Phase.HALF_OPEN, Phase.OPEN
    ways = {(closed, closed), (closed, shut), (shut, shut), (shut, half), (half, half), (half, shut), (half, closed)}
    # a history of six seconds is over before two rests are
    assert reached == (ways if pace > 1 else reached & ways)


def _check(state: Breaker, event: str, after: Breaker, now: float) -> None:
    if state.phase is Phase.OPEN:
        # late answers change nothing; only time and a trial do
        assert after == state or (event == "trial" and now - state.since >= state.rest)
    if state.phase is Phase.HALF_OPEN:
        assert (after.phase is Phase.OPEN) is (event in {"ill", "refused"})
        assert after.phase is not Phase.CLOSED or (event == "well" and state.passed + 1 == SMALL.trials)
    if after.phase is Phase.OPEN and state.phase is not Phase.OPEN:
        assert SMALL.rest <= after.rest <= SMALL.longest_rest
        assert wait(after, now) == after.rest
    if after.phase is Phase.CLOSED and state.phase is not Phase.CLOSED:
        assert part(after, now, SMALL) == SMALL.first
    assert SMALL.first <= part(after, now, SMALL) <= 1
    assert 0 <= after.passed < SMALL.trials


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.floats(0, 15)), max_size=20))
def test_it_opens_exactly_when_enough_of_enough_recent_calls_failed(
    history: list[tuple[int, int, float]],
) -> None:
    state, now, told = Breaker(), NOW, list[tuple[float, int, int]]()

    for good, bad, passing in history:
        now += passing
        state = after_calls(state, good, bad, now)
        told.append((now, good, bad))

        # buckets of ten seconds: the window is the present one and the five before
        first = int(now / 10) - 5
        recent = [(well, ill) for at, well, ill in told if int(at / 10) >= first]
        total, failed = sum(well + ill for well, ill in recent), sum(ill for _, ill in recent)
        is_enough = failed > 0 and total >= POLICY.at_least and failed >= POLICY.share * total
        assert (state.phase is Phase.OPEN) is (is_enough and good + bad > 0)
        if state.phase is Phase.OPEN:
            break


def test_nine_failures_in_a_row_are_too_few_and_ten_are_enough() -> None:
    assert after_calls(Breaker(), 0, 9, NOW).phase is Phase.CLOSED
    assert after_calls(after_calls(Breaker(), 0, 9, NOW), 0, 1, NOW + 30).phase is Phase.OPEN


def test_failures_are_forgotten_after_the_window() -> None:
    state = after_calls(Breaker(), 0, 9, NOW)

    assert after_calls(state, 0, 9, NOW + POLICY.window).phase is Phase.CLOSED


def test_trials_are_one_processs_until_it_tells_of_them_or_its_time_is_over() -> None:
    down = opened(Breaker(), NOW)
    early, none = with_trials(down, NOW + POLICY.rest - 0.001)
    taken, granted = with_trials(down, NOW + POLICY.rest)
    _, second = with_trials(taken, NOW + POLICY.rest + POLICY.trial - 0.001)
    _, late = with_trials(taken, NOW + POLICY.rest + POLICY.trial)
    _, given_back = with_trials(without_trials(taken, NOW + 31), NOW + 31)

    assert (early, none) == (down, 0)
    assert (granted, second, late, given_back) == (POLICY.trials, 0, POLICY.trials, POLICY.trials)


def test_a_trial_that_went_well_counts_when_the_next_is_made() -> None:
    taken, _ = with_trials(opened(Breaker(), NOW), NOW + 30)

    once = after_calls(taken, 1, 0, NOW + 31)
    taken, granted = with_trials(once, NOW + 31)
    back = after_calls(taken, 2, 0, NOW + 32)

    assert (once.phase, granted, back.phase) == (Phase.HALF_OPEN, POLICY.trials - 1, Phase.CLOSED)


def test_rests_double_up_to_five_minutes_while_trials_fail_and_shrink_again_once_it_is_well() -> None:
    state, now, rests = opened(Breaker(), NOW), NOW, []
    for _ in range(6):
        rests.append(state.rest)
        now += state.rest
        state = after_calls(with_trials(state, now)[0], 2, 1, now)
    now += state.rest
    back = after_calls(with_trials(state, now)[0], POLICY.trials, 0, now)
    relapsed = opened(back, now + POLICY.ramp - 1)
    well = after_calls(back, 1, 0, now + POLICY.ramp)

    assert rests == [30, 60, 120, 240, 300, 300]
    assert relapsed.rest == POLICY.longest_rest
    assert opened(well, now + POLICY.ramp + 1).rest == POLICY.rest


def test_it_comes_back_with_a_tenth_of_its_limits_and_has_all_of_them_after_a_minute() -> None:
    back = after_calls(with_trials(opened(Breaker(), NOW), NOW + 30)[0], POLICY.trials, 0, NOW + 30)

    parts = [round(part(back, NOW + 30 + seconds), 3) for seconds in (0, 15, 30, 60, 600)]

    assert parts == [0.1, 0.325, 0.55, 1.0, 1.0]
    assert part(replace(back, phase=Phase.OPEN), NOW + 30) == 1.0
    assert part(Breaker(), NOW) == 1.0
