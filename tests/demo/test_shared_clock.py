"""The clock of a simulation: whoever reads it while it is stepped sees one of its instants, and never time run back."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.runtime.clock import SharedClock

START = datetime(2025, 3, 4, 12, tzinfo=UTC)
STEPS = 200_000
_STEPPING = f"""
import sys
from datetime import timedelta
from pathlib import Path
from ops.runtime.clock import SharedClock

clock = SharedClock(Path(sys.argv[1]))
for number in range({STEPS}):
    clock.set(clock.now() + timedelta(microseconds=977))
    clock.allow(number + 1)
"""


def test_whoever_reads_it_while_another_process_steps_it_sees_time_go_forward_only(tmp_path: Path) -> None:
    clock = SharedClock.create(tmp_path / "clock", START)
    latest, backwards = START, 0

    with subprocess.Popen([sys.executable, "-c", _STEPPING, str(tmp_path / "clock")]) as stepping:
        while stepping.poll() is None:
            for _ in range(1_000):
                seen = clock.now()
                backwards += seen < latest
                latest = max(latest, seen)

    assert (stepping.returncode, backwards) == (0, 0)
    assert clock.allows(STEPS)
    assert not clock.allows(STEPS + 1)
    clock.close()


def test_it_is_never_set_back(tmp_path: Path) -> None:
    clock = SharedClock.create(tmp_path / "clock", START)

    with pytest.raises(ValueError, match="backwards"):
        clock.set(START.replace(hour=11))

    assert clock.now() == START
    clock.close()
