"""The command line on a home of the test's own, with a small ledger where it wants one."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli.base import Exit
from ops.cli.main import main

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; no setting of the machine's own reaches the command."""
    for name in (
        "DATABASE_URL",
        "AMQP_URL",
        "REDIS_URL",
        "CLOCK",
        "METRICS_PORT",
        "SMS_URL",
        "SMTP_HOST",
        "PUBLIC_URL",
        "RULES",
    ):
        monkeypatch.delenv(f"REACTIVATE_{name}", raising=False)
    key = base64.b64encode(bytes(32)).decode()
    monkeypatch.setenv("REACTIVATE_VAULT_KEYS", f"1:{key}")
    monkeypatch.setenv("REACTIVATE_INDEX_KEY", key)
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("REACTIVATE_HOME", str(place))
    return place


@pytest.fixture
def run(home: Path) -> Run:
    """Runs a command; an error that is a bug, not a user's mistake, fails the test."""

    def command(*arguments: str, stdin: str | bytes = "") -> Result:
        result = CliRunner().invoke(main, list(arguments), input=stdin, catch_exceptions=False)
        assert result.exit_code != Exit.FAILED, result.output
        return result

    return command


@pytest.fixture
def ledger_file(home: Path, sqlite_template: Path) -> Path:
    """A migrated ledger in the home."""
    path = home / "ledger.db"
    shutil.copyfile(sqlite_template, path)
    return path
