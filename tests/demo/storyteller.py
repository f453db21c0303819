"""Tells small stories through the command line, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

#: What differs between two tellings of one story: how long it took, and how often the conductor stepped.
INCIDENTAL = ("seconds", "steps")

#: Runs the command line with a guard that lets everything go that it does not refuse outright.
BROKEN_GUARD = """
import sys
from datetime import timedelta
from domain.rules import guard
from domain.rules.vocabulary import Send
guard._hours_and_caps = lambda facts, now: Send(valid_until=now + timedelta(hours=1))
from ops.cli.main import main
main(sys.argv[1:], prog_name="reactivate")
"""


def run(*arguments: str, timeout: float = 280, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `reactivate` (or `code`, with the arguments) and wait for it."""
    command = ["-c", code] if code else ["-m", "ops.cli.main"]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def report_of(directory: Path) -> dict[str, Any]:
    """The report a story left."""
    report: dict[str, Any] = json.loads((directory / "report.json").read_text())
    return report


def essence(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what may differ between two tellings."""
    return {name: value for name, value in report.items() if name not in INCIDENTAL}
