"""Private servers: they start, are nobody else's, and leave nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pika
import psycopg
import pytest
from processes import working_in
from waiting import wait_until

from ops.services import binaries
from ops.services.binaries import POSTGRES, REDIS, Program, find, install_missing, look_for
from ops.services.process import LOOPBACK, Account, Process, ServiceError, clean_environ, free_port
from ops.services.rabbitmq import RabbitMQ
from ops.services.start import MANAGEMENT_VARIABLE, Services, start

_ROOT = Path(__file__).parents[2]
_NOWHERE = Program("Nosuch", "nosuch-server", "REACTIVATE_TEST_NOSUCH_URL", ("nosuch-server",), ("/nonexistent",))


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    missing = [program.title for program in (POSTGRES, REDIS, binaries.RABBITMQ) if look_for(program) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not installed here: {', '.join(missing)}")


def test_all_three_start_together_and_leave_no_process_and_no_file() -> None:
    with start() as services:
        server = services.server("rabbitmq")
        assert isinstance(server, RabbitMQ)
        vhost = services.amqp_url("a vhost/of ours")
        channel = pika.BlockingConnection(pika.URLParameters(vhost)).channel()
        channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
        channel.connection.close()
        home = _home(services)
        pids = services.pids
        assert len(pids) == 4  # with epmd
        assert all(_is_running(pid) for pid in pids)
        assert working_in(home) >= set(pids)

    assert not any(_is_running(pid) for pid in pids)
    wait_until(lambda: working_in(home) == set())
    assert not home.exists()


def test_a_durable_postgres_that_is_killed_keeps_what_was_committed() -> None:
    with start(["postgres"], durable=True) as services:
        server = services.server("postgres")
        url = services.postgres_admin_url.replace("+psycopg", "")
        with psycopg.connect(url) as conn:
            conn.execute("CREATE TABLE kept (id int)")

        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url).close()
        server.start()
        server.wait()

        with psycopg.connect(url) as conn:
            assert conn.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent was killed")
def test_servers_end_when_whoever_started_them_is_killed() -> None:
    with tempfile.TemporaryDirectory() as directory:
        code = f"""
import pathlib, sys
from ops.services.start import start
with start(["redis"], pathlib.Path({directory!r})) as services:
    print(*services.pids, flush=True)
    sys.stdin.read()
"""
        parent = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT, text=True
        )
        with parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            assert _is_running(pid)

            parent.kill()
            parent.wait()

            wait_until(lambda: not _is_running(pid))


def test_a_failing_block_leaves_no_process() -> None:
    pids: list[int] = []

    with pytest.raises(ZeroDivisionError):
        _start_and_fail(pids)

    assert pids
    assert not any(_is_running(pid) for pid in pids)


def test_a_server_is_started_when_first_wanted_and_only_once() -> None:
    with Services() as services:
        assert services.pids == []

        assert services.redis_url == services.redis_url

        assert len(services.pids) == 1


def test_a_named_server_is_used_instead_of_a_private_one() -> None:
    environ = {"REACTIVATE_TEST_REDIS_URL": "redis://example.org/3", "REACTIVATE_TEST_DATABASE_URL": "postgres://h/db"}

    with Services(environ=environ) as services:
        services.start("redis", "postgres")

        assert services.redis_url == "redis://example.org/3"
        assert services.postgres_admin_url == "postgresql+psycopg://h/db"
        assert services.pids == []
        with pytest.raises(ServiceError, match="REACTIVATE_TEST_REDIS_URL names a server that is not ours to stop"):
            services.server("redis")


def test_a_named_rabbitmq_without_its_management_interface_is_told_clearly() -> None:
    management = f"http://{LOOPBACK}:{free_port()}"
    environ = {"REACTIVATE_TEST_AMQP_URL": f"amqp://{LOOPBACK}/", MANAGEMENT_VARIABLE: management}

    with (
        Services(environ=environ) as services,
        pytest.raises(ServiceError, match="management interface does not answer"),
    ):
        services.amqp_url("v")


def test_an_unknown_service_is_told_with_those_there_are() -> None:
    with (
        Services() as services,
        pytest.raises(ServiceError, match="no service kafka; there are postgres, rabbitmq, redis"),
    ):
        services.start("kafka")


def test_a_missing_program_is_told_with_its_package_and_its_variable() -> None:
    with pytest.raises(ServiceError) as told:
        find(_NOWHERE)

    assert str(told.value) == (
        "Nosuch is not installed here: install it (Debian, Ubuntu: `apt-get install nosuch-server`) "
        "or set REACTIVATE_TEST_NOSUCH_URL to a running server"
    )


def test_the_newest_version_wins_and_half_an_installation_does_not_count(tmp_path: Path) -> None:
    for version, names in {"9": ["a", "b"], "15": ["a", "b"], "16": ["a"]}.items():
        (tmp_path / version / "bin").mkdir(parents=True)
        for name in names:
            (tmp_path / version / "bin" / name).touch()

    found = look_for(Program("A", "a", "A_URL", ("a", "b"), (f"{tmp_path}/*/bin",)))

    assert found == tmp_path / "15" / "bin"


def test_root_installs_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _fake_apt_get(tmp_path, monkeypatch, status=0)

    install_missing([_NOWHERE, *([REDIS] if look_for(REDIS) else [])])

    assert [line.split()[-1] for line in calls.read_text().splitlines()] == ["update", "nosuch-server"]


def test_a_failing_installation_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_apt_get(tmp_path, monkeypatch, status=100)

    with pytest.raises(ServiceError, match="could not install nosuch-server:\n  E: no route"):
        install_missing([_NOWHERE])


def test_only_root_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _fake_apt_get(tmp_path, monkeypatch, status=0)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    install_missing([_NOWHERE])

    assert not calls.exists()


def test_a_server_that_ends_at_once_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    argv = ["/bin/sh", "-c", "echo the disk is full; exit 3"]
    process = Process("server", argv, directory=tmp_path, account=Account(), environ=clean_environ())

    with pytest.raises(ServiceError, match=r"server ended before it served \(status 3\)[^|]*the disk is full"):
        process.wait_until(lambda: False, seconds=60)


def test_a_server_deaf_to_the_request_to_end_is_killed(tmp_path: Path) -> None:
    argv = ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do read -r line; done < /dev/zero"]
    process = Process("server", argv, directory=tmp_path, account=Account(), environ=clean_environ())
    process.wait_until(lambda: "ready" in process.log.read_text(), seconds=60)

    process.stop(seconds=0.2)

    assert not process.is_running()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops rights")
def test_as_root_a_directory_the_server_cannot_reach_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)

    with pytest.raises(ServiceError, match="cannot pass through"):
        Account.of("postgres").give(tmp_path / "closed" / "data")


def test_a_port_is_never_handed_out_twice() -> None:
    ports = [free_port() for _ in range(50)]

    assert len(set(ports)) == 50
    with socket.socket() as free:
        free.bind((LOOPBACK, ports[0]))


def test_a_port_is_not_handed_out_to_another_process_before_its_server_listens() -> None:
    port = free_port()

    code = f"""
from ops.services import process
process._PORTS = range({port}, {port + 200})
for _ in range(200):
    print(process.free_port(), flush=True)
"""
    other = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=False)

    assert "no free port" in other.stderr
    assert len(other.stdout.split()) > 1
    assert str(port) not in other.stdout.split()


def _start_and_fail(pids: list[int]) -> None:
    with start(["redis"]) as services:
        pids += services.pids
        raise ZeroDivisionError


def _fake_apt_get(directory: Path, monkeypatch: pytest.MonkeyPatch, *, status: int) -> Path:
    """An apt-get that notes how it was called and ends with `status`."""
    calls = directory / "calls"
    program = directory / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$*" >> {calls}\necho "E: no route"\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return calls


def _home(services: Services) -> Path:
    assert services._directory is not None
    return services._directory


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(") ")[2][0] != "Z"
