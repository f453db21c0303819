"""Fixtures: a fresh ledger, virtual host and Redis prefix for every test, on servers private to the run.

Run by several processes, the tests share one server of each kind, and nothing on it (`tests/lending.py`).
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from databases import name_of, own_database
from hypothesis import HealthCheck, settings
from lending import Borrowed, Lender
from naming import own_name
from sqlalchemy import Engine

from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from ops.migrations.run import upgrade
from ops.services.process import ServiceError
from ops.services.start import Services

# how long an example takes says how busy the machine is, not whether the code is right
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow], stateful_step_count=30
)
# for a night, with `--hypothesis-profile=thorough`
settings.register_profile("thorough", settings.get_profile("unhurried"), max_examples=4000, stateful_step_count=100)
settings.load_profile("unhurried")

_LENDER = pytest.StashKey[Lender]()
#: More would want more connections than the one PostgreSQL takes.
_MOST_WORKERS = 6


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """How many processes `-n auto` means: one for each core; where there is one core, none but this."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None  # xdist reads it
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_WORKERS) if cores > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Who does which tests, where `--dist loadscope` is wanted."""
    if config.getvalue("dist") != "loadscope":
        return None
    # without xdist nobody asks, and there is nothing to import
    from sharing_out import Shares

    return Shares(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where it can borrow servers; runs where the tests are handed out."""
    if _LENDER not in node.config.stash:
        lender = node.config.stash[_LENDER] = Lender()
        node.config.add_cleanup(lender.close)
    node.workerinput["lender"] = node.config.stash[_LENDER].address


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> Iterator[None]:
    """What a test, or a command it ran, made of logging ends with it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Iterator[Services | Borrowed]:
    """The run's servers, each started when first wanted; or those that REACTIVATE_TEST_*_URL name."""
    lender = getattr(request.config, "workerinput", {}).get("lender")
    if lender:
        yield Borrowed(lender)
        return
    with Services(environ=os.environ) as started:
        yield started


@pytest.fixture(scope="session")
def postgres_template(services: Services | Borrowed) -> Iterator[tuple[str, str]]:
    """The administrator's URL, and the name of a migrated database to clone."""
    admin_url = _wanted(lambda: services.postgres_admin_url)
    with own_database(admin_url, "template") as url:
        upgrade(url)
        yield admin_url, name_of(url)


@pytest.fixture
def postgres_url(postgres_template: tuple[str, str]) -> Iterator[str]:
    """SQLAlchemy URL of a database of this test's own, already migrated."""
    admin_url, template = postgres_template
    with own_database(admin_url, "test", like=template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("ledger") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """SQLAlchemy URL of a SQLite file of this test's own, already migrated."""
    path = tmp_path / "ledger.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """URL of a fresh, migrated ledger: the test runs once on each store."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Engine]:
    """An open engine on a fresh, migrated ledger: the test runs once on each store."""
    engine = open_ledger(ledger_url)
    yield engine
    engine.dispose()


@pytest.fixture
def amqp_url(services: Services | Borrowed) -> Iterator[str]:
    """URL of a virtual host of this test's own."""
    vhost = own_name("test")
    url = _wanted(lambda: services.amqp_url(vhost))
    yield url
    services.drop_vhost(vhost)


@pytest.fixture(scope="session")
def redis_url(services: Services | Borrowed) -> str:
    """URL of the run's Redis; use `redis_prefix` for every key."""
    return _wanted(lambda: services.redis_url)


@pytest.fixture
def redis_prefix(redis_url: str) -> Iterator[str]:
    """A prefix of this test's own; what was stored under it is removed afterwards."""
    prefix = own_name("test") + ":"
    yield prefix
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{prefix}*", count=1000):
            client.delete(key)


@pytest.fixture(scope="session")
def vault() -> Vault:
    """A vault whose keys are the same in every test."""
    return Vault(
        keys={1: b"sealing-key-of-the-tests-32bytes"}, current=1, index_key=b"an-index-key-of-the-tests-32byte"
    )


def _wanted(url: Callable[[], str]) -> str:
    """The URL of a server; without the server skip the test, but fail where everything must be there."""
    try:
        return url()
    except ServiceError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
