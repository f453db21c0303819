"""A figure: what one comparison measured, and whether its bar holds. Every bar is a ratio of two sides of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any


class Bar(StrEnum):
    """On which side of its bar a ratio holds."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


class BenchError(Exception):
    """A comparison could not be measured; the message says what went wrong. No figure is made up in its place."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One comparison: ours beside the reference, in `unit`, each the median of its rounds."""

    name: str
    what: str
    """Ours : the reference, in words."""
    unit: str
    ours: float
    reference: float
    bar: float
    direction: Bar
    rounds: Mapping[str, Sequence[float]]
    """What every round gave, by side; empty where the reference is a fixed number."""

    @property
    def ratio(self) -> float:
        """Ours : the reference."""
        return self.ours / self.reference

    @property
    def holds(self) -> bool:
        """Whether the ratio is on the right side of the bar; the bar itself is."""
        return self.ratio >= self.bar if self.direction is Bar.AT_LEAST else self.ratio <= self.bar

    def plain(self, *, quick: bool) -> dict[str, Any]:
        """The figure for machines, rounded to what a run can tell."""
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "ours": rounded(self.ours),
            "reference": rounded(self.reference),
            "ratio": rounded(self.ratio),
            "bar": self.bar,
            "direction": self.direction.value,
            "holds": self.holds,
            "quick": quick,
            "rounds": {side: [rounded(each) for each in values] for side, values in self.rounds.items()},
        }


def compared(
    name: str, what: str, unit: str, rounds: Mapping[str, Sequence[float]], bar: float, direction: Bar
) -> Figure:
    """The figure of two interleaved sides; the first of `rounds` is ours, the second the reference."""
    (ours, reference) = (middle(values) for values in rounds.values())
    if reference <= 0:
        raise BenchError(f"{name}: the reference measured {reference}, of which nothing is a multiple")
    return Figure(name, what, unit, ours, reference, bar, direction, rounds)


def interleaved(
    rounds: int, sides: Mapping[str, Callable[[int], float]], say: Callable[[str], None] = lambda _text: None
) -> dict[str, list[float]]:
    """Every side once a round, forth and back in turn: a machine that slows down slows down all sides alike.

    Each side is called with the number of the round, from 0, and returns what it measured.
    """
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in order(list(sides), number):
            value = sides[name](number)
            measured[name].append(value)
            say(f"round {number + 1} of {rounds}: {name} {rounded(value):,}")
    return measured


def order(names: Sequence[str], number: int) -> Sequence[str]:
    """In which order a round takes its sides."""
    return names if number % 2 == 0 else names[::-1]


def middle(values: Sequence[float]) -> float:
    """The median. Raises BenchError where nothing was measured."""
    if not values:
        raise BenchError("nothing was measured")
    return float(median(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed (nearest rank). Raises BenchError where there are none."""
    if not values:
        raise BenchError("nothing was measured")
    ranked = sorted(values)
    # in whole per mille: 0.99 * 200 is a little more than 198 in floats
    rank = -(-len(ranked) * round(share * 1000) // 1000)
    return ranked[max(rank, 1) - 1]


def rounded(value: float) -> float:
    """Four significant digits: no run can tell more."""
    return float(f"{value:.4g}")
