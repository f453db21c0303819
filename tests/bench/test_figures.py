"""Medians, quantiles, rounds that take turns, and on which side of its bar a ratio holds."""

from __future__ import annotations

import pytest

from ops.bench.figures import Bar, BenchError, Figure, compared, interleaved, middle, quantile


def a_figure(ours: float, reference: float, bar: float, direction: Bar) -> Figure:
    return Figure("sends", "ours : theirs", "per second", ours, reference, bar, direction, {})


def test_sides_take_turns_forth_and_back() -> None:
    called: list[tuple[str, int]] = []

    def side(name: str, value: float) -> float:
        called.append((name, len(called)))
        return value

    measured = interleaved(3, {"ours": lambda n: side("ours", n), "theirs": lambda n: side("theirs", 10 * n)})

    assert [name for name, _ in called] == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert measured == {"ours": [0, 1, 2], "theirs": [0, 10, 20]}


def test_every_side_of_every_round_is_told() -> None:
    said: list[str] = []

    interleaved(2, {"ours": lambda n: 1_500.0 + n, "theirs": lambda _: 7.0}, said.append)

    assert said[0] == "round 1 of 2: ours 1,500.0"
    assert len(said) == 4


def test_the_median_of_rounds_is_no_mean() -> None:
    assert middle([100.0, 1.0, 2.0]) == 2.0
    assert middle([1.0, 4.0]) == 2.5


def test_of_nothing_there_is_no_median_and_no_quantile() -> None:
    with pytest.raises(BenchError):
        middle([])
    with pytest.raises(BenchError):
        quantile([], 0.99)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(200, 0.99, 198), (100, 0.99, 99), (50, 0.99, 50), (1, 0.5, 1)]
)
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(count: int, share: float, expected: int) -> None:
    values = [float(each) for each in range(count, 0, -1)]

    assert quantile(values, share) == expected


def test_the_first_side_is_ours_and_the_second_the_reference() -> None:
    figure = compared(
        "sends", "…", "per second", {"ours": [1.0, 3.0, 2.0], "theirs": [4.0, 4.0, 9.0]}, 0.5, Bar.AT_LEAST
    )

    assert (figure.ours, figure.reference, figure.ratio) == (2.0, 4.0, 0.5)


def test_a_reference_of_nothing_is_no_reference() -> None:
    with pytest.raises(BenchError, match="sends"):
        compared("sends", "…", "per second", {"ours": [1.0], "theirs": [0.0]}, 0.5, Bar.AT_LEAST)


@pytest.mark.parametrize(
    ("ours", "direction", "holds"),
    [
        (10.0, Bar.AT_LEAST, True),
        (9.9, Bar.AT_LEAST, False),
        (10.0, Bar.AT_MOST, True),
        (10.1, Bar.AT_MOST, False),
    ],
)
def test_a_ratio_holds_on_its_side_of_the_bar_and_on_the_bar(ours: float, direction: Bar, holds: bool) -> None:
    assert a_figure(ours, 10.0, 1.0, direction).holds is holds


def test_a_figure_for_machines_tells_its_parts_and_whether_sizes_were_reduced() -> None:
    plain = a_figure(1_234.567, 1_000.0, 1.0, Bar.AT_LEAST).plain(quick=True)

    assert plain["ours"] == 1_235.0
    assert (plain["ratio"], plain["bar"], plain["holds"], plain["quick"]) == (1.235, 1.0, True, True)
