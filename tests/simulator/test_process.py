"""The simulation as a process: started, driven over its control port, and gone when its parent is."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.runtime.clock import SharedClock
from ops.simulator.__main__ import main

START = datetime(2025, 1, 6, tzinfo=UTC)


@contextmanager
def simulator(directory: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    main(["--make", "--world", str(directory), "--patients", "60", "--sites", "2"])
    SharedClock.create(directory / "clock", START).close()
    command = [sys.executable, "-m", "ops.simulator", "--world", str(directory), "--clock", str(directory / "clock")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def ask(ready: dict[str, Any], method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", ready["control"], timeout=30)
    try:
        connection.request(method, path, json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_it_says_where_it_listens_and_how_to_log_in_and_speaks_the_protocol(tmp_path: Path) -> None:
    with simulator(tmp_path) as (_, ready):
        assert {"control", "sms", "smtp", "ca_file", "account_sid", "auth_token", "smtp_user"} < set(ready)
        assert Path(ready["ca_file"]).read_text().startswith("-----BEGIN CERTIFICATE")
        assert ask(ready, "POST", "/control/advance")[0] == 409
        assert ask(ready, "POST", "/control/begin", {"public_url": "http://x"})[0] == 400

        events = {"transport": "http", "token": "t"}
        status, begun = ask(ready, "POST", "/control/begin", {"public_url": "http://127.0.0.1:1", "events": events})
        assert status == 200
        assert datetime.fromisoformat(begun["next_at"]) >= START
        assert ask(ready, "POST", "/control/begin", {"public_url": "http://x", "events": events})[0] == 400

        status, step = ask(ready, "POST", "/control/advance")
        assert (status, step["did"], step["events"]) == (200, 0, 0)
        status, seen = ask(ready, "GET", "/control/witness")
        assert seen["accepted"] == {"sms": 0, "email": 0}
        assert set(seen["promises"].values()) == {0}
        assert seen["messages"] == []
        status, state = ask(ready, "GET", "/control/state")
        assert state["now"] == START.isoformat()
        assert state["planned"] > 0


@pytest.mark.parametrize("how", ["terminated", "left alone"])
def test_it_ends_when_told_to_or_when_its_parent_is_gone(tmp_path: Path, how: str) -> None:
    with simulator(tmp_path) as (process, _):
        if how == "terminated":
            process.send_signal(signal.SIGTERM)
        else:
            assert process.stdin is not None
            process.stdin.close()

        assert process.wait(timeout=60) == 0


def test_a_missing_world_and_a_missing_clock_are_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--world", str(tmp_path), "--clock", str(tmp_path / "clock")]) == 2
    assert "no world here" in capsys.readouterr().err

    with pytest.raises(SystemExit):
        main(["--world", str(tmp_path)])
    assert "--clock" in capsys.readouterr().err


def test_an_impossible_world_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--make", "--world", str(tmp_path), "--sites", "99"]) == 2
    assert "sites: expected 1 to" in capsys.readouterr().err
