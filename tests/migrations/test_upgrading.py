"""Upgrading: how a migration waits and gives way, what it leaves behind, and which code may run beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from household import StoppedClock
from practice import Practice, Provider, a_desk
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from domain.ledger.schema_steps import Kind, Step
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from ops.migrations.fit import misfit
from ops.migrations.run import current, downgrade, newest, upgrade
from ops.migrations.session import MIGRATING, MigrationBlockedError, MigrationError, Patience
from ops.migrations.steps import steps

AHEAD = Path(__file__).with_name("ahead")
BRIEF = Patience(timedelta(milliseconds=50), tries=3, first_pause=0.01, turn=timedelta(milliseconds=50))


def test_an_upgrade_tells_each_step_and_stops_before_a_contract(ledger: Engine) -> None:
    told: list[str] = []

    came = upgrade(ledger, tell=told.append, beyond=AHEAD)

    assert list(came.done) == ["ahead1", "ahead2", "ahead3"]
    assert came.waiting is not None
    assert came.waiting.revision == "ahead4"
    assert told[0] == "revision ahead1 (expand): Touches have a note, which only newer code writes"
    assert "ahead1: done in" in told[1]


def test_a_contract_is_taken_when_it_is_asked_for(ledger: Engine) -> None:
    upgrade(ledger, beyond=AHEAD)

    came = upgrade(ledger, contract=True, beyond=AHEAD)

    assert list(came.done) == ["ahead4"]
    assert _misfit(ledger, _until("ahead4")) is None


def test_a_backfill_fills_every_row_once_and_again_nothing(ledger: Engine, vault: Vault) -> None:
    practice = Practice(ledger, vault)
    for _ in range(120):
        practice.person()
    with ledger.begin() as conn:
        conn.execute(text("DELETE FROM touch WHERE id % 7 = 0"))

    upgrade(ledger, beyond=AHEAD)

    with reading(ledger) as conn:
        assert conn.scalar(text("SELECT count(*) FROM touch WHERE note IS NULL")) == 0
        assert conn.scalar(text("SELECT count(*) FROM touch WHERE note = 'old'")) > 100


def test_code_one_expansion_behind_sends_as_before(ledger: Engine, vault: Vault) -> None:
    upgrade(ledger, beyond=AHEAD)
    practice, provider = Practice(ledger, vault), Provider()
    people = [practice.person() for _ in range(3)]
    practice.stop(people[0])

    with a_desk(practice, StoppedClock()) as desk:
        desk.worker(provider).send([each.touch for each in people])

    assert _misfit(ledger, steps()) is None
    assert sorted(provider.called.values()) == [1, 1]
    with reading(ledger) as conn:
        assert conn.scalar(text("SELECT count(*) FROM touch WHERE state = 'accepted' AND note IS NULL")) == 2


def test_code_a_contract_behind_refuses_unless_the_contract_spares_it(ledger: Engine) -> None:
    upgrade(ledger, beyond=AHEAD)
    upgrade(ledger, contract=True, beyond=AHEAD)

    old = _misfit(ledger, steps())

    assert old is not None
    assert "ahead4 took away what this one uses" in str(old)
    assert not old.is_behind
    assert _misfit(ledger, _until("ahead3")) is None


def test_code_ahead_of_the_ledger_refuses_until_it_is_expanded_and_may_wait_for_a_contract(ledger: Engine) -> None:
    behind = _misfit(ledger, _until("ahead4"))
    upgrade(ledger, beyond=AHEAD)

    assert behind is not None
    assert behind.is_behind
    assert str(behind).endswith("needs revision ahead3: run `reactivate migrate`")
    assert _misfit(ledger, _until("ahead4")) is None


def test_older_code_has_nothing_to_migrate_on_a_newer_ledger(ledger: Engine) -> None:
    upgrade(ledger, beyond=AHEAD)
    assert list(upgrade(ledger).done) == []
    upgrade(ledger, contract=True, beyond=AHEAD)

    with pytest.raises(MigrationError, match="of a newer release"):
        upgrade(ledger)


def test_going_back_forgets_the_steps(ledger: Engine) -> None:
    upgrade(ledger, beyond=AHEAD)

    downgrade(ledger, newest(), beyond=AHEAD)

    with reading(ledger) as conn:
        assert current(conn) == newest()
        assert conn.scalar(text("SELECT count(*) FROM schema_step WHERE revision LIKE 'ahead%'")) == 0
        assert "note" not in {each["name"] for each in inspect(conn).get_columns("touch")}


def test_a_lock_that_is_not_to_be_had_is_asked_for_a_few_times_and_nothing_is_half_done(postgres_url: str) -> None:
    told: list[str] = []
    with _holding(postgres_url, "SELECT count(*) FROM touch") as busy:
        with pytest.raises(MigrationBlockedError, match=r"lock in 3 tries.*oldest open transaction is session \d+'s"):
            upgrade(postgres_url, patience=BRIEF, tell=told.append, beyond=AHEAD)

        assert current(busy) == newest()
    assert [line for line in told if "no lock after" in line][-1].startswith("revision ahead1: no lock after")
    assert "ahead1" in upgrade(postgres_url, beyond=AHEAD).done


def test_two_that_upgrade_at_once_take_turns_and_the_second_says_why_it_waits(postgres_url: str) -> None:
    told: list[str] = []
    with (
        _holding(postgres_url, f"SELECT pg_advisory_lock({MIGRATING})"),
        pytest.raises(MigrationBlockedError, match="another process is migrating"),
    ):
        upgrade(postgres_url, patience=BRIEF, tell=told.append, beyond=AHEAD)

    assert told == ["another process is migrating this ledger: waiting for it"]


def test_an_index_whose_build_was_cut_off_is_dropped_and_built_again(postgres_url: str) -> None:
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    upgrade(postgres_url, beyond=AHEAD)
    with engine.connect() as conn:
        # as a build leaves it that was killed between its two scans
        conn.execute(text("DELETE FROM schema_step WHERE revision = 'ahead3'"))
        conn.execute(text("UPDATE alembic_version SET version_num = 'ahead2'"))
        conn.execute(text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_touch_note'::regclass"))

        came = upgrade(postgres_url, beyond=AHEAD)

        valid = conn.scalar(text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_touch_note'::regclass"))
    engine.dispose()
    assert list(came.done) == ["ahead3"]
    assert valid is True


def test_a_statement_that_takes_too_long_under_its_locks_is_taken_back(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        '"""Slow."""\nfrom alembic import op\nfrom ops.migrations.steps import steps\n'
        'revision, down_revision, kind = "slow", steps()[-1].revision, "expand"\n'
        'def upgrade():\n    op.execute("CREATE TABLE slow (id int)")\n    op.execute("SELECT pg_sleep(60)")\n'
    )

    with pytest.raises(MigrationError, match="cannot be done while the fleet works"):
        upgrade(postgres_url, patience=replace(BRIEF, statement=timedelta(milliseconds=50)), beyond=tmp_path)

    engine = create_engine(postgres_url)
    with engine.connect() as conn:
        assert not inspect(conn).has_table("slow")
        assert current(conn) == newest()
    engine.dispose()


@pytest.mark.parametrize("said", ["", 'kind = "grow"', 'kind = "contract"', 'kind = "expand"\nneeds = "0001"'])
def test_a_migration_that_does_not_say_what_it_does_to_older_code_is_none(tmp_path: Path, said: str) -> None:
    (tmp_path / "mute.py").write_text(
        '"""Mute."""\nfrom ops.migrations.steps import steps\n'
        f'revision, down_revision = "mute", steps()[-1].revision\n{said}\n'
    )

    with pytest.raises(RuntimeError, match="migration mute: "):
        steps(tmp_path)


def test_there_is_a_first_step_and_each_says_its_kind() -> None:
    assert steps()[0] == Step("0001", Kind.EXPAND, None, steps()[0].title)


def _until(revision: str) -> list[Step]:
    """What a release knows whose newest revision is this one."""
    known = list(steps(AHEAD))
    return known[: [step.revision for step in known].index(revision) + 1]


def _misfit(ledger: Engine, known: object) -> object:
    with reading(ledger) as conn:
        return misfit(conn, known)  # type: ignore[arg-type]


@contextmanager
def _holding(url: str, statement: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.begin() as conn:
        conn.execute(text(statement))
        yield conn
    engine.dispose()
