"""A test whose server is missing skips on a developer's machine, and fails where everything must be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ops.services.process import LOOPBACK, free_port
from ops.services.start import MANAGEMENT_VARIABLE

_ROOT = Path(__file__).parents[2]


def test_locally_it_skips_and_says_why() -> None:
    outcome = _run_without_rabbitmq(ci="")

    assert outcome.returncode == 0, outcome.stdout
    assert "1 skipped" in outcome.stdout
    assert "management interface does not answer" in outcome.stdout


def test_in_continuous_integration_it_fails_and_says_why() -> None:
    outcome = _run_without_rabbitmq(ci="true")

    assert outcome.returncode == 1, outcome.stdout
    assert "1 error" in outcome.stdout
    assert "management interface does not answer" in outcome.stdout


def _run_without_rabbitmq(ci: str) -> subprocess.CompletedProcess[str]:
    nowhere = f"{LOOPBACK}:{free_port()}"
    environ = {
        **os.environ,
        "CI": ci,
        "REACTIVATE_TEST_AMQP_URL": f"amqp://{nowhere}/",
        MANAGEMENT_VARIABLE: f"http://{nowhere}",
    }
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "tests/services/test_fixtures.py",
        "-k",
        "virtual_host",
        "-p",
        "no:cacheprovider",
    ]
    return subprocess.run(argv, cwd=_ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
