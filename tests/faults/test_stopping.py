"""SIGTERM: each process of the fleet ends in order within seconds, also while a server it speaks to hangs."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pika
import pytest
from relay import Relay
from waiting import wait_until

from domain.jobs import INTAKE
from domain.ledger import heartbeat
from domain.ledger.store import open_ledger, reading
from domain.ledger.vault import Vault
from ops.cli.base import Exit
from ops.services.process import free_port
from producers.clock import CLOCK

ROOT = Path(__file__).parents[2]

#: Seconds in which a process ends that has nothing in hand. A machine may be busy; what hangs does so for a minute.
AT_ONCE = 25.0
COMMANDS = {
    "web": ["web"],
    "clock": ["clock", "--pause", "0.1"],
    "sms": ["worker", "sms"],
    "receipts": ["worker", "receipts"],
    "intake": ["worker", "intake"],
}
#: The command line, with a second instead of most of a minute until a process is ended that will not end.
IMPATIENT = """
import sys
from ops.cli import fleet
fleet.OVERDUE = 1.0
from ops.cli.main import main
main(sys.argv[1:], prog_name="reactivate")
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def relays(postgres_url: str, amqp_url: str, redis_url: str) -> Iterator[dict[str, Relay]]:
    """Every server behind a relay."""
    made = {name: Relay(*_place(url)) for name, url in _urls(postgres_url, amqp_url, redis_url).items()}
    for relay in made.values():
        relay.__enter__()
    yield made
    for relay in made.values():
        relay.mend()
        relay.__exit__(None, None, None)


@pytest.fixture
def web_port() -> int:
    return free_port()


@pytest.fixture
def start(
    relays: dict[str, Relay],
    postgres_url: str,
    amqp_url: str,
    redis_url: str,
    web_port: int,
    vault: Vault,
    tmp_path: Path,
) -> Iterator[Start]:
    """Starts a process whose servers are behind the relays."""
    through = {
        name: url.replace(urlsplit(url).netloc.rpartition("@")[2], f"127.0.0.1:{relays[name].port}")
        for name, url in _urls(postgres_url, amqp_url, redis_url).items()
    }
    environ = {
        "PATH": os.environ["PATH"],
        "REACTIVATE_HOME": str(tmp_path / "home"),
        "REACTIVATE_DATABASE_URL": through["postgres"],
        "REACTIVATE_AMQP_URL": through["rabbitmq"],
        "REACTIVATE_REDIS_URL": through["redis"],
        "REACTIVATE_WEB_PORT": str(web_port),
        "REACTIVATE_VAULT_KEYS": "1:" + base64.b64encode(vault.keys[1]).decode(),
        "REACTIVATE_INDEX_KEY": base64.b64encode(vault.index_key).decode(),
        "REACTIVATE_SMS_URL": "http://127.0.0.1:9",
        "REACTIVATE_SMS_ACCOUNT_SID": "AC" + "0" * 32,
        "REACTIVATE_SMS_AUTH_TOKEN": "secret",
        "REACTIVATE_SMS_FROM": "+13035550100",
    }
    running: list[subprocess.Popen[bytes]] = []

    def one(name: str, *, code: str | None = None) -> subprocess.Popen[bytes]:
        how = ["-c", code] if code else ["-m", "ops.cli.main"]
        with (tmp_path / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *how, *COMMANDS[name]],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        running.append(process)
        return process

    yield one
    for process in running:
        process.kill()
        process.wait(10)


def _urls(postgres_url: str, amqp_url: str, redis_url: str) -> dict[str, str]:
    return {"postgres": postgres_url, "rabbitmq": amqp_url, "redis": redis_url}


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@pytest.fixture
def work(postgres_url: str, amqp_url: str, web_port: int) -> Iterator[Callable[[], bool]]:
    """Whether all five are at work: one leads, the web process answers, and each worker has its queue."""
    engine = open_ledger(postgres_url)
    management = pika.BlockingConnection(pika.URLParameters(amqp_url))

    def consumers(queue: str) -> int:
        channel = management.channel()
        try:
            return channel.queue_declare(queue, passive=True).method.consumer_count
        except pika.exceptions.ChannelClosedByBroker:
            return 0

    def is_so() -> bool:
        with reading(engine) as conn:
            leads = heartbeat.last(conn, CLOCK) is not None
        return leads and all(map(consumers, ("sms", "receipts", INTAKE))) and _answers(web_port)

    yield is_so
    management.close()
    engine.dispose()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _ends(processes: dict[str, subprocess.Popen[bytes]]) -> dict[str, int]:
    """The exit code of each, after SIGTERM to all; those that take too long are left out."""
    for process in processes.values():
        process.send_signal(signal.SIGTERM)
    deadline, codes = time.monotonic() + AT_ONCE, {}
    for name, process in processes.items():
        with suppress(subprocess.TimeoutExpired):
            codes[name] = process.wait(max(0.1, deadline - time.monotonic()))
    return codes


def test_every_process_ends_in_order_within_seconds(start: Start, work: Callable[[], bool]) -> None:
    processes = {name: start(name) for name in COMMANDS}
    wait_until(work, 120)

    codes = _ends(processes)

    assert codes == dict.fromkeys(COMMANDS, 0)


def test_workers_end_within_seconds_while_every_server_hangs(
    start: Start, work: Callable[[], bool], relays: dict[str, Relay]
) -> None:
    processes = {name: start(name) for name in COMMANDS}
    wait_until(work, 120)
    for relay in relays.values():
        relay.silence()
    idle = {name: process for name, process in processes.items() if name != "clock"}

    codes = _ends(idle)

    assert codes == dict.fromkeys(idle, 0)


def test_a_process_whose_statement_hangs_is_ended_all_the_same(
    start: Start, relays: dict[str, Relay], postgres_url: str
) -> None:
    clock = start("clock", code=IMPATIENT)
    engine = open_ledger(postgres_url)

    def leads() -> bool:
        with reading(engine) as conn:
            return heartbeat.last(conn, CLOCK) is not None

    wait_until(leads, 120)
    engine.dispose()
    relays["postgres"].silence()

    codes = _ends({"clock": clock})

    assert codes["clock"] in (0, Exit.UNAVAILABLE)
