"""Time as an argument: the system's clock, or one shared simulated instant."""

from __future__ import annotations

import mmap
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_FORMAT = struct.Struct("<q")


class Clock(Protocol):
    """Says what time it is; always aware, always UTC."""

    def now(self) -> datetime:
        """The current instant (UTC)."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant (UTC)."""
        return datetime.now(UTC)


class SharedClock:
    """Simulated time: eight bytes in a file that every process of one machine maps; only a conductor sets it."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FORMAT.size)

    @classmethod
    def create(cls, path: Path, start: datetime) -> SharedClock:
        """Make the file and set it to `start`."""
        path.write_bytes(_FORMAT.pack(_micros(start)))
        return cls(path)

    def now(self) -> datetime:
        """The simulated instant (UTC)."""
        (micros,) = _FORMAT.unpack_from(self._map)
        return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)

    def set(self, instant: datetime) -> None:
        """Step to `instant`. An aligned 8-byte store: readers see the old or the new value, never a mixture.

        Raises:
            ValueError: time would run backwards.
        """
        if instant < self.now():
            raise ValueError("simulated time cannot run backwards")
        _FORMAT.pack_into(self._map, 0, _micros(instant))

    def close(self) -> None:
        """Unmap the file."""
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
