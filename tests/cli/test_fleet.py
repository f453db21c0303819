"""Processes of the fleet, as their supervisor sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ops.migrations.run import newest


def test_a_worker_of_a_channel_that_is_not_set_up_says_so_and_waits_to_be_stopped(
    home: object, ledger_file: object, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REACTIVATE_AMQP_URL", amqp_url)
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", "worker", "sms"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
        text=True,
    )
    try:
        assert process.stderr is not None
        told = process.stderr.readline()
        # it would be started again for ever if it ended
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        _, more = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert "the channel of queue sms is not configured" in told
    assert (process.returncode, more) == (0, "")


def test_up_says_in_a_line_what_became_of_the_schema_and_nothing_of_how(
    home: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REACTIVATE_WEB_PORT", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", "up"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
        text=True,
    )
    with process:
        assert process.stderr is not None
        told: list[str] = []
        for line in process.stderr:
            told.append(line)
            if "Ctrl-C ends it" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert [line for line in told if "revision" in line] == [f"the ledger was brought to revision {newest()}\n"]
    assert not [line for line in told if "alembic" in line]
