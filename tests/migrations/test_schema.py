"""The migrated ledger is the ledger that the tables in code describe, on both stores."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from domain.ledger.store import open_ledger, reading
from domain.ledger.tables import metadata
from ops.migrations.run import current, differences, downgrade, newest, upgrade

_ROOT = Path(__file__).parents[2]
#: As the store itself tells them: name -> definition, with uniqueness, columns and the condition of partial ones.
_INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}


def test_alembic_finds_no_difference_between_migrated_and_declared(ledger: Engine) -> None:
    with ledger.connect() as conn:
        assert differences(conn) == []


def test_every_index_is_the_same_migrated_or_declared(ledger: Engine) -> None:
    migrated = _indexes(ledger)

    downgrade(ledger, "base")
    metadata.create_all(ledger)

    assert migrated == _indexes(ledger)


def test_partial_indexes_are_partial_on_both_stores(ledger: Engine) -> None:
    partial = {
        index.name
        for table in metadata.tables.values()
        for index in table.indexes
        if index.dialect_options[ledger.dialect.name]["where"] is not None
    }

    with_condition = {name for name, definition in _indexes(ledger).items() if " WHERE " in definition}

    assert partial
    assert with_condition == partial


def test_a_missing_column_is_told_as_a_difference(ledger: Engine) -> None:
    with ledger.begin() as conn:
        conn.execute(text("ALTER TABLE outbox DROP COLUMN data"))

    with ledger.connect() as conn:
        assert [(what, column.name) for what, _, _, column in differences(conn)] == [("add_column", "data")]


def test_downgrading_to_the_base_leaves_no_table_of_ours(ledger: Engine) -> None:
    downgrade(ledger, "base")

    with reading(ledger) as conn:
        assert current(conn) is None
        assert set(metadata.tables) & _tables(conn) == set()


def test_upgrading_twice_changes_nothing(ledger: Engine) -> None:
    upgrade(ledger)

    with reading(ledger) as conn:
        assert current(conn) == newest()


def test_two_processes_that_migrate_at_once_take_turns(postgres_url: str) -> None:
    downgrade(postgres_url, "base")

    with ThreadPoolExecutor(2) as both:
        # Alembic keeps its context in a global: one of the two must be a process of its own
        other = both.submit(_upgrade_elsewhere, postgres_url)
        upgrade(postgres_url)

    assert other.result() == 0
    engine = open_ledger(postgres_url)
    with reading(engine) as conn:
        assert current(conn) == newest()
    engine.dispose()


def test_a_url_is_migrated_as_well_as_an_engine(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('100%')}/ledger.db"

    upgrade(url)

    engine = open_ledger(url)
    with reading(engine) as conn:
        assert current(conn) == newest()
    engine.dispose()


def test_a_migration_gives_up_rather_than_block_the_fleet(postgres_url: str) -> None:
    reader = create_engine(postgres_url)
    with reader.begin() as busy:
        busy.execute(text("SELECT count(*) FROM touch"))  # holds a shared lock until its transaction ends

        with pytest.raises(OperationalError, match="lock timeout"):
            downgrade(postgres_url, "base", lock_timeout=timedelta(milliseconds=50))

        assert current(busy) == newest()
    reader.dispose()


def _upgrade_elsewhere(url: str) -> int:
    code = f"from ops.migrations.run import upgrade; upgrade({url!r})"
    return subprocess.run([sys.executable, "-c", code], cwd=_ROOT, timeout=120, check=False).returncode


def _indexes(engine: Engine) -> dict[str, str]:
    with reading(engine) as conn:
        rows = conn.execute(text(_INDEXES[engine.dialect.name])).all()
    return {name: definition for name, definition in rows if not name.startswith("alembic_version")}


def _tables(conn: Connection) -> set[str]:
    return set(conn.dialect.get_table_names(conn))
