"""Real web processes that are killed, started again and share a home: nothing they answered for is lost."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from household import count, rows, settle_in
from outage import sid
from relay import Relay
from sqlalchemy import Engine
from waiting import wait_until
from webserver import NOBODY, PUBLIC_URL, SMS_ENVIRON, Web

from domain.ledger.choice_history import suppression
from domain.ledger.inbound import receipt, reply
from domain.ledger.store import open_ledger
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.services.process import free_port

ROOT = Path(__file__).parents[2]


class _Process:
    """`reactivate web`, as its supervisor runs it."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self._log = log.open("ab")
        port = free_port()
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "ops.cli.main", "web"],
            cwd=ROOT,
            env={**environ, "REACTIVATE_WEB_PORT": str(port)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self.web = Web(client=client, household=NOBODY)

    def wait(self) -> _Process:
        """Wait until it serves, which it must without the ledger, too."""
        wait_until(self._is_live, 60)
        return self

    def kill(self) -> None:
        """As a power cut, or the kernel short of memory, would."""
        self._popen.send_signal(signal.SIGKILL)
        self._popen.wait(30)

    def close(self) -> None:
        """End it in order."""
        self._popen.terminate()
        self._popen.wait(60)
        self.web.client.close()
        self._log.close()

    def _is_live(self) -> bool:
        assert self._popen.poll() is None, "it ended before it served"
        try:
            return self.web.client.get("/live").status_code == 200
        except httpx.TransportError:
            return False


Start = Callable[[], _Process]


@pytest.fixture
def engine(postgres_url: str, vault: Vault) -> Iterator[Engine]:
    """The ledger as others see it, with the household in it."""
    engine = open_ledger(postgres_url)
    settle_in(engine, vault)
    yield engine
    engine.dispose()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of all processes of a test."""
    return tmp_path / "home"


@pytest.fixture
def start(relay: tuple[Relay, str], engine: Engine, vault: Vault, home: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts web processes in one home."""
    environ = {
        "PATH": os.environ["PATH"],
        "REACTIVATE_HOME": str(home),
        "REACTIVATE_DATABASE_URL": relay[1],
        "REACTIVATE_PUBLIC_URL": PUBLIC_URL,
        "REACTIVATE_VAULT_KEYS": "1:" + base64.b64encode(vault.keys[1]).decode(),
        "REACTIVATE_INDEX_KEY": base64.b64encode(vault.index_key).decode(),
        **SMS_ENVIRON,
    }
    running: list[_Process] = []

    def one() -> _Process:
        process = _Process(environ, tmp_path / "web.log")
        running.append(process)
        return process.wait()

    yield one
    for process in running:
        process.close()


def _files(home: Path) -> list[Path]:
    return sorted([*(home / "spool").glob("*.spool"), *(home / "spool" / "receipts").glob("*.spool")])


def test_a_web_process_that_is_killed_with_a_full_spool_loses_nothing_it_answered_for(
    start: Start, relay: tuple[Relay, str], engine: Engine, home: Path
) -> None:
    relay[0].cut()
    first = start()
    answers = [first.web.inbound("STOP", sid=sid(1)), first.web.inbound("my knee hurts", sid=sid(2))]
    answers += [first.web.status("sent", sid=sid(number)) for number in range(3, 30)]
    first.kill()
    second = start()
    answers.append(second.web.inbound("START", sid=sid(30)))

    relay[0].mend()

    wait_until(lambda: not _files(home), 60)
    assert {each.status_code for each in answers} == {200, 204}
    assert [each["provider_id"] for each in rows(engine, reply)] == [sid(1), sid(2), sid(30)]
    assert count(engine, receipt) == 27
    assert rows(engine, suppression, lifted_at=None) == []


def test_a_process_that_is_killed_between_storing_and_its_mark_stores_nothing_twice(
    start: Start, relay: tuple[Relay, str], engine: Engine, home: Path, tmp_path: Path
) -> None:
    relay[0].cut()
    first = start()
    for number, text in enumerate(("STOP", "hello", "START")):
        first.web.inbound(text, sid=sid(number))
    first.web.status("sent", sid=sid(9))
    first.kill()
    # one of each lane
    left = _files(home)
    copies = [shutil.copy(each, tmp_path / f"copy-{number}") for number, each in enumerate(left)]
    relay[0].mend()
    second = start()
    wait_until(lambda: not _files(home), 60)
    second.kill()

    # as if the kill had come right before anything of it was marked
    for copy, each in zip(copies, left, strict=True):
        shutil.copy(copy, each)
    start()

    wait_until(lambda: not _files(home), 60)
    assert (count(engine, reply), count(engine, receipt)) == (3, 1)
    assert len(rows(engine, touch, kind="answer")) == 2
    assert rows(engine, suppression, lifted_at=None) == []
    assert len(left) == 2
    assert not list((home / "spool").rglob("failed/*"))


def test_processes_that_share_a_home_keep_apart_and_a_survivor_takes_what_the_dead_one_left(
    start: Start, relay: tuple[Relay, str], engine: Engine, home: Path
) -> None:
    relay[0].cut()
    dies, lives = start(), start()
    for number in range(10):
        assert dies.web.inbound("hello", sid=sid(number)).status_code == 200
        assert lives.web.inbound("hello", sid=sid(100 + number)).status_code == 200
    assert len(_files(home)) == 2
    dies.kill()

    relay[0].mend()

    wait_until(lambda: not _files(home), 60)
    assert count(engine, reply) == 20
    assert {each["provider_id"] for each in rows(engine, reply)} == {
        sid(number) for base in (0, 100) for number in range(base, base + 10)
    }


def test_a_thousand_stops_at_the_same_instant_before_a_locked_ledger_are_each_answered_and_each_taken(
    start: Start, engine: Engine, home: Path
) -> None:
    web = start().web

    async def all_at_once() -> list[int]:
        limits = httpx.Limits(max_connections=1000)
        async with httpx.AsyncClient(base_url=web.client.base_url, timeout=120, limits=limits) as client:
            requests = [web.inbound_request(sid=sid(number), sender=f"+1303555{number:04d}") for number in range(1000)]
            answers = await asyncio.gather(*(client.post(path, **given) for path, given in requests))
        return [each.status_code for each in answers]

    with engine.begin() as conn:
        conn.exec_driver_sql("LOCK TABLE reply")
        answers = asyncio.run(all_at_once())

    assert answers == [200] * 1000
    wait_until(lambda: not _files(home), 200)
    # what a request left behind may still be committing
    wait_until(lambda: count(engine, reply) == 1000, 60)
    assert {each["intent"] for each in rows(engine, reply)} == {"opt_out"}
