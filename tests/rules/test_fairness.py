"""Fairness: the budget is kept and used up, weights hold, and nobody starves."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.rules.fairness import DeficitRoundRobin

sites = st.integers(1, 12)
backlogs = st.dictionaries(sites, st.integers(0, 500), max_size=8)
weightings = st.dictionaries(sites, st.integers(1, 10), max_size=8)


@settings(max_examples=200, deadline=None)
@given(rounds=st.lists(st.tuples(st.integers(0, 300), backlogs), min_size=1, max_size=6), weights=weightings)
def test_every_round_uses_its_budget_up_and_never_takes_more_than_there_is(
    rounds: list[tuple[int, dict[int, int]]], weights: dict[int, int]
) -> None:
    fairness = DeficitRoundRobin()

    for budget, backlog in rounds:
        taken = fairness.share(budget, backlog, weights)

        assert all(0 <= count <= backlog[site] for site, count in taken.items())
        assert sum(taken.values()) == min(budget, sum(backlog.values()))


@settings(max_examples=100, deadline=None)
@given(
    weights=st.dictionaries(sites, st.integers(1, 10), min_size=2, max_size=8),
    budgets=st.lists(st.integers(1, 60), min_size=40, max_size=40),
)
def test_of_sites_that_always_wait_each_gets_its_weights_share(weights: dict[int, int], budgets: list[int]) -> None:
    fairness, got = DeficitRoundRobin(), Counter[int]()

    for budget in budgets:
        got.update(fairness.share(budget, dict.fromkeys(weights, 10_000), weights))

    total = sum(weights.values())
    for site, weight in weights.items():
        fair = sum(budgets) * weight / total
        assert abs(got[site] - fair) <= total + len(weights)


@settings(max_examples=100, deadline=None)
@given(small=st.integers(1, 20), budget=st.integers(1, 5))
def test_a_small_site_beside_a_huge_one_is_done_within_its_share_of_rounds(small: int, budget: int) -> None:
    fairness, left, rounds = DeficitRoundRobin(), small, 0

    while left:
        left -= fairness.share(budget, {1: 1_000_000, 2: left}, {}).get(2, 0)
        rounds += 1

    assert rounds <= 2 * small / budget + 2


def test_a_budget_of_one_reaches_every_site_in_turn() -> None:
    fairness, got = DeficitRoundRobin(), Counter[int]()

    for _ in range(12):
        got.update(fairness.share(1, {1: 100, 2: 100, 3: 100}, {}))

    assert got == {1: 4, 2: 4, 3: 4}


def test_a_site_of_weight_three_gets_three_times_as_much() -> None:
    assert DeficitRoundRobin().share(400, {1: 1000, 2: 1000}, {1: 1, 2: 3}) == {1: 100, 2: 300}


def test_what_a_site_cannot_use_goes_to_the_others() -> None:
    assert DeficitRoundRobin().share(100, {1: 10, 2: 1000}, {}) == {1: 10, 2: 90}


def test_a_site_that_had_nothing_to_send_saved_nothing_up() -> None:
    fairness = DeficitRoundRobin()
    for _ in range(50):
        fairness.share(10, {1: 100}, {})

    assert fairness.share(10, {1: 100, 2: 100}, {}) == {1: 5, 2: 5}


def test_nothing_waiting_takes_nothing() -> None:
    assert DeficitRoundRobin().share(10, {1: 0}, {}) == {}
    assert DeficitRoundRobin().share(0, {1: 5}, {}) == {1: 0}
