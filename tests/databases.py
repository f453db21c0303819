"""PostgreSQL databases that are one test's own, copied from one that is ready, and dropped when it is done with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from naming import own_name
from sqlalchemy import create_engine, make_url, text


@contextmanager
def own_database(admin_url: str, kind: str, *, like: str = "template1") -> Iterator[str]:
    """SQLAlchemy URL of a new database with everything that `like` holds, to which nobody may be connected."""
    name = own_name(kind)
    _administer(admin_url, f'CREATE DATABASE "{name}" TEMPLATE "{like}"')
    yield make_url(admin_url).set(database=name).render_as_string(hide_password=False)
    _administer(admin_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def name_of(url: str) -> str:
    """The database a URL leads to."""
    name = make_url(url).database
    assert name
    return name


def _administer(admin_url: str, statement: str) -> None:
    engine = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as conn:
            conn.execute(text(statement))
    finally:
        engine.dispose()
