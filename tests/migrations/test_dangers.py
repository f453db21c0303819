"""No migration does what would stop a fleet at work, or break code one release behind, without saying so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dangers import dangers
from databases import own_database
from sqlalchemy import Engine, event, inspect

from domain.ledger.schema_steps import Kind
from domain.ledger.store import open_ledger, reading
from ops.migrations.run import upgrade
from ops.migrations.steps import steps

AHEAD = Path(__file__).with_name("ahead")


def test_no_migration_is_dangerous(postgres_template: tuple[str, str]) -> None:
    statements: list[str] = []

    def hear(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    found = {}
    with own_database(postgres_template[0], "dangers") as url:
        engine = open_ledger(url)
        event.listen(Engine, "before_cursor_execute", hear)
        try:
            for step in steps(AHEAD):
                there = _tables(engine)
                statements.clear()
                # the test's own come along, so that what is heard of each kind is seen to be heard
                upgrade(url, to=step.revision, contract=True, beyond=AHEAD)
                assert any(each.lstrip().upper().startswith(("CREATE", "ALTER", "UPDATE")) for each in statements)
                found[step.revision] = dangers(statements, there, step.kind)
        finally:
            event.remove(Engine, "before_cursor_execute", hear)
            engine.dispose()

    assert found == {step.revision: [] for step in steps(AHEAD)}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX ix_touch_due ON touch (due_at)",
        "CREATE UNIQUE INDEX ix_touch_due ON touch (due_at)",
        "DROP INDEX ix_touch_due",
        "ALTER TABLE touch ADD COLUMN note VARCHAR(16) NOT NULL",
        "ALTER TABLE touch ADD COLUMN note UUID DEFAULT gen_random_uuid() NOT NULL",
        "ALTER TABLE touch ADD COLUMN number BIGSERIAL",
        "ALTER TABLE touch ALTER COLUMN channel TYPE VARCHAR(64)",
        "ALTER TABLE touch ADD CONSTRAINT fk_touch FOREIGN KEY(site_id) REFERENCES site (id)",
        "ALTER TABLE touch ADD CHECK (id > 0)",
        "ALTER TABLE touch ADD CONSTRAINT uq_touch UNIQUE (id, channel)",
        "UPDATE touch SET channel = 'sms'",
        "DELETE FROM touch WHERE channel = 'fax'",
        "TRUNCATE touch",
        "LOCK TABLE touch",
    ],
)
@pytest.mark.parametrize("kind", list(Kind))
def test_what_would_stop_the_fleet_is_found_in_any_step(statement: str, kind: Kind) -> None:
    assert len(dangers([statement], {"touch", "site"}, kind)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE touch RENAME note TO remark",
        "ALTER TABLE touch RENAME TO contact",
        "ALTER TABLE touch DROP COLUMN note",
        "ALTER TABLE touch ALTER COLUMN note SET NOT NULL",
        "DROP TABLE touch",
    ],
)
def test_what_breaks_older_code_is_for_a_contract_alone(statement: str) -> None:
    assert len(dangers([statement], {"touch"}, Kind.EXPAND)) == 1
    assert dangers([statement], {"touch"}, Kind.CONTRACT) == []


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX ix_new_at ON new (at)",
        "CREATE INDEX CONCURRENTLY ix_touch_due ON touch (due_at)",
        "ALTER TABLE touch ADD COLUMN note VARCHAR(16)",
        "ALTER TABLE touch ADD COLUMN note VARCHAR(16) DEFAULT '' NOT NULL",
        "ALTER TABLE touch ADD CONSTRAINT fk_touch FOREIGN KEY(site_id) REFERENCES site (id) NOT VALID",
        "UPDATE alembic_version SET version_num='0002'",
    ],
)
def test_what_harms_nobody_is_let_pass(statement: str) -> None:
    assert dangers([statement], {"touch"}, Kind.EXPAND) == []


def test_what_is_done_online_is_done_alone() -> None:
    both = ["ALTER TABLE touch ADD COLUMN note VARCHAR(16)", "CREATE INDEX CONCURRENTLY ix_note ON touch (note)"]

    assert "half done" in dangers(both, {"touch"}, Kind.EXPAND)[0]


def _tables(engine: Engine) -> set[str]:
    with reading(engine) as conn:
        return set(inspect(conn).get_table_names())
