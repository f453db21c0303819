"""What outreach really did: return rates of the two arms, their difference, and how sure one may be of it.

Most patients who come back after a reminder would have come back anyway, so the headline is the difference between
the treated and the holdout, with its interval, never the plain rate.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from statistics import median

#: Two-sided 95 % of the standard normal distribution.
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Share:
    """`n` out of `of`."""

    n: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.n <= self.of:
            raise ValueError(f"{self.n} of {self.of} is no share")

    @property
    def rate(self) -> float | None:
        """Between 0 and 1; None of nothing."""
        return self.n / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Lift:
    """The difference of two rates in percentage points, with its 95 % interval."""

    points: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def wilson(share: Share, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, without continuity correction.

    Source: E. B. Wilson, J Am Stat Assoc 22 (1927) 209-212; method 3 of Newcombe, Stat Med 17 (1998) 857-872.

    Raises:
        ValueError: a share of nothing has no interval.
    """
    if share.of == 0:
        raise ValueError("a share of nothing has no interval")
    n, p = share.of, share.n / share.of
    centre = p + z * z / (2 * n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # at 0 and 1 the exact bound is the rate itself; rounding must not push it past
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def lift(treatment: Share, holdout: Share, z: float = Z_95) -> Lift | None:
    """How many points more of the treated came back; None while an arm is empty.

    Newcombe's hybrid score interval: it keeps its coverage in small arms and never leaves -100..100.
    Source: method 10 of R. G. Newcombe, Stat Med 17 (1998) 873-890.
    """
    if treatment.of == 0 or holdout.of == 0:
        return None
    p1, p2 = treatment.n / treatment.of, holdout.n / holdout.of
    (low1, high1), (low2, high2) = wilson(treatment, z), wilson(holdout, z)
    difference = p1 - p2
    low = difference - sqrt((p1 - low1) ** 2 + (high2 - p2) ** 2)
    high = difference + sqrt((high1 - p1) ** 2 + (p2 - low2) ** 2)
    return Lift(100 * difference, 100 * low, 100 * high)


def median_days(durations: Collection[timedelta]) -> float | None:
    """The median in days; None of nothing."""
    return median(each.total_seconds() for each in durations) / 86_400 if durations else None
