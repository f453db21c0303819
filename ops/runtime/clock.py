"""Time as an argument: the system's clock, or one shared simulated instant that a conductor steps."""

from __future__ import annotations

import mmap
from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

#: Where in the file: the instant, then the last round of the clock process that may begin at it.
_INSTANT, _ROUND = 0, 1
_WORD, _WORDS = 8, 2


class Clock(Protocol):
    """Says what time it is; always aware, always UTC."""

    def now(self) -> datetime:
        """The current instant (UTC)."""
        ...

    def allows(self, number: int) -> bool:
        """Whether the clock process may begin its round of this number; 1 is its first."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant (UTC)."""
        return datetime.now(UTC)

    def allows(self, number: int) -> bool:  # noqa: ARG002 - time waits for nobody
        """Every round, as it comes."""
        return True


class SharedClock:
    """Simulated time: two words in a file that every process of one machine maps; only a conductor sets them.

    It also says which round of the clock process may begin: rounds that ran whenever they could would hand out in
    portions that depend on how fast the machine is.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _WORDS * _WORD)
        # one aligned store and one load of eight bytes each; struct clears its buffer first, and a reader sees 1970
        self._words = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, path: Path, start: datetime) -> SharedClock:
        """Make the file and set it to `start`."""
        path.write_bytes(array("q", (_micros(start), 0)).tobytes())
        return cls(path)

    def now(self) -> datetime:
        """The simulated instant (UTC)."""
        micros = self._words[_INSTANT]
        return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)

    def set(self, instant: datetime) -> None:
        """Step to `instant`: readers see the old one or the new one, and nothing else.

        Raises:
            ValueError: time would run backwards.
        """
        if instant < self.now():
            raise ValueError("simulated time cannot run backwards")
        self._words[_INSTANT] = _micros(instant)

    def allows(self, number: int) -> bool:
        """Whether the conductor let this round begin."""
        return number <= self._words[_ROUND]

    def allow(self, number: int) -> None:
        """Let the clock process run its rounds up to this number."""
        self._words[_ROUND] = number

    def close(self) -> None:
        """Unmap the file."""
        self._words.release()
        self._map.close()


def open_clock(spec: str) -> Clock:
    """`system`, or `shared:PATH` for a simulation's clock file."""
    if spec == "system":
        return SystemClock()
    kind, _, path = spec.partition(":")
    if kind != "shared" or not path:
        raise ValueError(f"unknown clock {spec!r}: use 'system' or 'shared:PATH'")
    return SharedClock(Path(path))


def _micros(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000 + instant.microsecond
