"""Chance that does not depend on order: every draw is a hash of the seed, its purpose and whom it is about."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_SCALE = 1 / (1 << 64)


class Draws:
    """Draws of one seeded world. The same question always has the same answer, whoever asks first."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._base = blake2b(f"{seed}".encode(), digest_size=8)

    def fraction(self, purpose: str, *about: object) -> float:
        """A number in [0, 1)."""
        return int.from_bytes(self._digest(purpose, about), "big") * _SCALE

    def happens(self, probability: float, purpose: str, *about: object) -> bool:
        """Whether an event of this probability happens."""
        return self.fraction(purpose, *about) < probability

    def whole(self, low: int, high: int, purpose: str, *about: object) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.fraction(purpose, *about) * (high - low + 1))

    def pick(self, options: Sequence[T], purpose: str, *about: object) -> T:
        """One of the options, each as likely as the others."""
        return options[int(self.fraction(purpose, *about) * len(options))]

    def weighted(self, options: Sequence[tuple[T, float]], purpose: str, *about: object) -> T:
        """One of the options, in proportion to their weights."""
        left = self.fraction(purpose, *about) * sum(weight for _, weight in options)
        for option, weight in options:
            left -= weight
            if left < 0:
                return option
        return options[-1][0]

    def token(self, purpose: str, *about: object) -> str:
        """Sixteen hexadecimal digits, for identifiers."""
        return self._digest(purpose, about).hex()

    def _digest(self, purpose: str, about: tuple[object, ...]) -> bytes:
        hasher = self._base.copy()
        hasher.update("\x1f".join((purpose, *map(str, about))).encode())
        return hasher.digest()
