"""Fixtures: a fresh ledger, virtual host and Redis prefix for every test, on servers private to the session."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import structlog
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, create_engine, make_url, text

from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from ops.migrations.run import upgrade
from ops.services.process import ServiceError
from ops.services.start import Services

# how long an example takes says how busy the machine is, not whether the code is right
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


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
def services() -> Iterator[Services]:
    """The session's servers, each started when first wanted; or those that REACTIVATE_TEST_*_URL name."""
    with Services(environ=os.environ) as started:
        yield started


@pytest.fixture(scope="session")
def postgres_template(services: Services) -> Iterator[tuple[str, str]]:
    """The administrator's URL, and the name of a migrated database to clone."""
    admin_url = _wanted(lambda: services.postgres_admin_url)
    name = f"reactivate_template_{uuid.uuid4().hex[:12]}"
    _administer(admin_url, f'CREATE DATABASE "{name}"')
    upgrade(_at(admin_url, name))
    yield admin_url, name
    _administer(admin_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def postgres_url(postgres_template: tuple[str, str]) -> Iterator[str]:
    """SQLAlchemy URL of a database of this test's own, already migrated."""
    admin_url, template = postgres_template
    name = f"reactivate_test_{uuid.uuid4().hex[:12]}"
    _administer(admin_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield _at(admin_url, name)
    _administer(admin_url, f'DROP DATABASE "{name}" WITH (FORCE)')


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
def amqp_url(services: Services) -> Iterator[str]:
    """URL of a virtual host of this test's own."""
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    url = _wanted(lambda: services.amqp_url(vhost))
    yield url
    services.drop_vhost(vhost)


@pytest.fixture(scope="session")
def redis_url(services: Services) -> str:
    """URL of the session's Redis; use `redis_prefix` for every key."""
    return _wanted(lambda: services.redis_url)


@pytest.fixture
def redis_prefix(redis_url: str) -> Iterator[str]:
    """A prefix of this test's own; what was stored under it is removed afterwards."""
    prefix = f"test-{uuid.uuid4().hex[:12]}:"
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


def _administer(admin_url: str, statement: str) -> None:
    engine = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as conn:
            conn.execute(text(statement))
    finally:
        engine.dispose()


def _at(admin_url: str, database: str) -> str:
    return make_url(admin_url).set(database=database).render_as_string(hide_password=False)
