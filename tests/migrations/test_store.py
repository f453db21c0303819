"""How the ledger is opened: who waits for it does not wait for ever, and what it committed is on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from domain.ledger.store import open_ledger, reading
from ops.migrations.run import downgrade, upgrade

SETTINGS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
IMPATIENT = "options=-c%20statement_timeout%3D100"


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


def test_what_the_url_says_of_time_outs_wins(postgres_url: str) -> None:
    engine = open_ledger(f"{postgres_url}?{IMPATIENT}")

    with pytest.raises(OperationalError, match="statement timeout"), engine.begin() as conn:
        conn.execute(text("SELECT pg_sleep(5)"))
    with reading(engine, patient=True) as conn:
        conn.execute(text("SELECT pg_sleep(0.2)"))
    engine.dispose()


def test_a_migration_takes_the_time_it_needs(postgres_url: str) -> None:
    engine = open_ledger(f"{postgres_url}?options=-c%20statement_timeout%3D1")

    downgrade(engine, "base")
    upgrade(engine)

    with reading(engine, patient=True) as conn:
        tables = conn.scalar(text("SELECT count(*) FROM pg_tables WHERE tablename = 'patient'"))
    engine.dispose()
    assert tables == 1


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_a_commit_on_sqlite_waits_for_the_disk_except_in_a_simulation(
    tmp_path: Path, durable: bool, level: int
) -> None:
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=durable)

    with reading(engine) as conn:
        synchronous = conn.scalar(text("PRAGMA synchronous"))
    engine.dispose()

    assert synchronous == level
