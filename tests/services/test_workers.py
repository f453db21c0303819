"""A run that several processes share: one server of each kind, nothing on it in common, and none left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from naming import WORKER, own_name
from processes import working_in
from sharing_out import _WANT_BOTH_CORES, share_of
from waiting import wait_until

_ROOT = Path(__file__).parents[2]

#: What every worker runs at the same time as the others: it shows what it was given, and what it finds there.
_SHOW = """
import json, os
from pathlib import Path
import redis
from sqlalchemy import create_engine, make_url, text
from waiting import wait_until

def test_show(postgres_url, redis_url, redis_prefix):
    engine = create_engine(postgres_url)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE mine (worker text)"))
        conn.execute(text("INSERT INTO mine VALUES (:it)"), {"it": os.environ["PYTEST_XDIST_WORKER"]})
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{redis_prefix}mine", os.environ["PYTEST_XDIST_WORKER"])
        stored = client.get(f"{redis_prefix}mine").decode()
    with engine.begin() as conn:
        rows = conn.scalars(text("SELECT worker FROM mine")).all()
    engine.dispose()
    here = Path(__file__).parent
    database = make_url(postgres_url)
    told = here / f"told-{os.environ['PYTEST_XDIST_WORKER']}"
    told.write_text(json.dumps({
        "servers": [database.port, redis_url],
        "own": [database.database, redis_prefix],
        "found": [*rows, stored],
    }))
    wait_until(lambda: len(list(here.glob("told-*"))) == 2)
"""

#: Wants a server, then tells that it runs and waits for its end.
_WAIT = """
import os, threading
from pathlib import Path

def test_wait(redis_url):
    (Path(__file__).parent / f"told-{os.getpid()}").write_text(os.environ["PYTEST_XDIST_WORKER"])
    threading.Event().wait(120)
"""
#: Tests of which one ends its process as a crash would; the others want the server it had asked for first.
_DIE = """
import os, signal
import redis

def test_die(redis_url):
    os.kill(os.getpid(), signal.SIGKILL)

def test_live(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.ping()

def test_live_on(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.ping()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the run keeps its tests and its servers: reachable for the servers' own users."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        yield Path(made)


def test_names_tell_whose_they_are_and_are_never_the_same() -> None:
    names = [own_name("test", worker) for worker in ("gw0", "gw1") for _ in range(100)]

    assert len(set(names)) == 200
    assert all(name.startswith(("reactivate_test_gw0_", "reactivate_test_gw1_")) for name in names)
    # the longest name PostgreSQL keeps whole
    assert max(map(len, names)) < 64


def test_a_module_stays_together_and_what_wants_both_cores_too() -> None:
    here = [share_of(f"tests/web/test_spool.py::{name}") for name in ("test_a", "test_b[x::y]")]
    heavy = {share_of(f"tests/{name}::test_a") for name in ("demo/test_story.py", "web/test_spool_process.py")}

    assert here == ["tests/web/test_spool.py"] * 2
    assert len(heavy) == 1
    assert all((_ROOT / module).is_file() for module in _WANT_BOTH_CORES)


def test_a_virtual_host_is_its_workers_own(amqp_url: str) -> None:
    assert f"/reactivate_test_{WORKER}_" in amqp_url


def test_workers_share_the_servers_and_nothing_on_them(directory: Path) -> None:
    (directory / "test_show.py").write_text(_SHOW)

    with _run(directory, "--dist", "each") as run:
        output, _ = run.communicate(timeout=120)

    assert run.returncode == 0, output
    one, other = (json.loads(path.read_text()) for path in sorted(directory.glob("told-*")))
    assert one["servers"] == other["servers"]
    assert not set(one["own"]) & set(other["own"])
    assert all("gw0" in name for name in one["own"])
    assert all("gw1" in name for name in other["own"])
    assert (set(one["found"]), set(other["found"])) == ({"gw0"}, {"gw1"})
    wait_until(lambda: working_in(directory) == set())


def test_a_worker_that_dies_is_told_with_its_test_and_takes_no_server_along(directory: Path) -> None:
    (directory / "test_die.py").write_text(_DIE)

    with _run(directory, "--dist", "loadscope", "--max-worker-restart", "0") as run:
        output, _ = run.communicate(timeout=120)

    assert run.returncode == 1, output
    assert re.search(r"worker 'gw[01]' crashed while running 'test_die.py::test_die'", output), output
    wait_until(lambda: working_in(directory) == set())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux shows where processes are, and tells of a parent's death"
)
def test_a_run_that_is_broken_off_leaves_no_server(directory: Path, ending: signal.Signals) -> None:
    (directory / "test_wait.py").write_text(_WAIT)
    with _run(directory, "--dist", "each") as run:
        wait_until(lambda: len(list(directory.glob("told-*"))) == 2, 120)
        servers = working_in(directory)

        # Ctrl-C reaches every process of the terminal, a kill only one
        os.killpg(run.pid, ending) if ending is signal.SIGINT else run.kill()

        run.communicate(timeout=120)
    assert len(servers) == 1
    wait_until(lambda: not working_in(directory))


@contextmanager
def _run(directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A run of its own, by two workers, with the fixtures of this suite; its temporary files are in `directory`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "REACTIVATE"))}
    environ |= {"TMPDIR": str(directory), "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'tests'}"}
    argv = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-n", "2", *options]
    with subprocess.Popen(
        [*argv, "-c", str(_ROOT / "pyproject.toml"), "--rootdir", str(directory), str(directory)],
        cwd=_ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            yield run
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
