"""The points that no day of a campaign passes: a process by the system's clock dies at them when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.services.process import free_port
from tests.faults.points import BY_REAL_TIME

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", sorted(BY_REAL_TIME))
def test_a_process_by_the_systems_clock_passes_the_points_of_real_time(tmp_path: Path, name: str, when: str) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "REACTIVATE_HOME": str(tmp_path / "home"),
        "REACTIVATE_WEB_PORT": str(free_port()),
        "REACTIVATE_CRASH_AT": f"{name}.{when}:2",
    }

    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.shim", "up"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL, done.stderr
