"""How the ledger is opened: who waits for it does not wait for ever, and what it committed is on the disk."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from interleaving import behind
from sqlalchemy import create_engine, text
from waiting import DEADLINE

from domain.ledger.store import open_ledger, reading
from ops.migrations.run import current, downgrade

SETTINGS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
MINUTE = timedelta(minutes=1)


def test_nothing_on_postgresql_waits_for_ever_but_an_audit_may_take_its_time(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)

    with engine.begin() as conn:
        usual = [conn.scalar(text(f"SHOW {name}")) for name in SETTINGS]
    with reading(engine, patient=True) as conn:
        patient = conn.scalar(text("SHOW statement_timeout"))
    with engine.begin() as conn:
        after = conn.scalar(text("SHOW statement_timeout"))
        driver = conn.connection.driver_connection
        assert driver is not None
        network = driver.info.get_parameters()
    engine.dispose()

    assert usual == ["1min", "10s", "1min"]
    assert (patient, after) == ("0", "1min")
    assert (network["connect_timeout"], network["keepalives_idle"], network["tcp_user_timeout"]) == ("5", "10", "20000")


def test_what_the_url_says_of_time_outs_wins_but_an_audit_still_takes_its_time(postgres_url: str) -> None:
    engine = open_ledger(f"{postgres_url}?options=-c%20statement_timeout%3D7000")

    with engine.begin() as conn:
        usual = conn.scalar(text("SHOW statement_timeout"))
    with reading(engine, patient=True) as conn:
        patient = conn.scalar(text("SHOW statement_timeout"))
    engine.dispose()

    assert (usual, patient) == ("7s", "0")


def test_a_migration_takes_the_time_it_needs(postgres_url: str) -> None:
    with ExitStack() as stack:
        engine, reader = open_ledger(postgres_url, pool_size=1), create_engine(postgres_url)
        stack.callback(engine.dispose)
        stack.callback(reader.dispose)
        with engine.begin() as conn:
            # on the pool's one connection, for good: what connecting itself asks is not under test
            conn.execute(text("SET statement_timeout = '2s'"))
        busy = stack.enter_context(reader.begin())
        busy.execute(text("LOCK TABLE patient IN ACCESS SHARE MODE"))

        with behind(reader, busy, lambda: downgrade(engine, "base", lock_timeout=MINUTE), for_seconds=3) as migrated:
            busy.commit()
            migrated.result(timeout=DEADLINE)

        with reading(engine) as conn:
            assert current(conn) is None
            assert conn.scalar(text("SHOW statement_timeout")) == "2s"


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 0)])
def test_a_commit_on_sqlite_waits_for_the_disk_except_in_a_simulation(
    tmp_path: Path, durable: bool, level: int
) -> None:
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=durable)

    with reading(engine) as conn:
        synchronous = conn.scalar(text("PRAGMA synchronous"))
    engine.dispose()

    assert synchronous == level
