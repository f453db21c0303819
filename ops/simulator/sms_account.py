"""An account at the SMS provider: its credentials, its rate, and how often what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SmsFaults:
    """How often what goes wrong. Per number: landline, opted_out. Per message to a number: the rest."""

    landline: float = 0.02
    opted_out: float = 0.006
    """Numbers that the carrier knows to have opted out before the story begins."""
    unreachable: float = 0.015
    delayed: float = 0.01
    lost_answer: float = 0.004
    """Taken on, but the connection closes without an answer."""
    silent: float = 0.0008
    """Taken on, and neither answered nor reported: only the provider's list tells."""
    unavailable: float = 0.004
    throttled: float = 0.003
    sent_receipt: float = 0.25
    """Share of messages whose `sent` is reported beside their end."""
    repeated_receipt: float = 0.02
    disordered_receipt: float = 0.03

    @classmethod
    def none(cls) -> SmsFaults:
        """A provider that never fails; every receipt once."""
        return cls(
            landline=0.0,
            opted_out=0.0,
            unreachable=0.0,
            delayed=0.0,
            lost_answer=0.0,
            silent=0.0,
            unavailable=0.0,
            throttled=0.0,
            sent_receipt=1.0,
            repeated_receipt=0.0,
            disordered_receipt=0.0,
        )


@dataclass(frozen=True, slots=True)
class SmsAccount:
    """The credentials our side must know, and the sustained rate above which 20429 is answered (0 = no limit)."""

    sid: str
    token: str
    rate_per_second: float = 0.0
    burst: int = 100


class Bucket:
    """Admits a sustained rate and a burst, by simulated time."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = float(burst)
        self._since: datetime | None = None

    def admits(self, now: datetime) -> bool:
        """Whether one more message may come now; takes its place if so."""
        if self._per_second <= 0:
            return True
        passed = (now - self._since).total_seconds() if self._since else 0.0
        self._left = min(self._burst, self._left + passed * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
