"""The commands about web processes that outreach waits for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import Engine, select, update

from domain.ledger import listeners
from domain.ledger.listeners import SILENT_AFTER, listener
from domain.ledger.store import open_ledger

Run = Callable[..., Result]
FORGET = ("listener", "forget", "lost", "--as", "Maya Ortiz", "--why", "its disk is lost")


@pytest.fixture
def ledger(ledger_file: Path) -> Iterator[Engine]:
    engine = open_ledger(f"sqlite:///{ledger_file}")
    yield engine
    engine.dispose()


@pytest.fixture
def lost(ledger: Engine) -> Engine:
    """One web process that kept something and is silent, and one that is well an hour from now, too."""
    with ledger.begin() as conn:
        for id_ in ("lost", "well"):
            listeners.beat(conn, id_, is_behind=id_ == "lost")
        at = {"lost": datetime.now(UTC) - 2 * SILENT_AFTER, "well": datetime.now(UTC) + timedelta(hours=1)}
        for id_, beat_at in at.items():
            conn.execute(update(listener).where(listener.c.id == id_).values(beat_at=beat_at))
    return ledger


def test_the_list_says_which_web_process_outreach_waits_for(run: Run, lost: Engine) -> None:
    told, found = run("listener", "list"), json.loads(run("listener", "list", "--json").output)

    assert "lost  silent" in told.output
    assert "outreach waits" in told.output
    assert {each["id"]: each["standing"] for each in found} == {"lost": "silent", "well": "well"}


def test_what_is_forgotten_is_on_record_sealed_and_no_longer_waited_for(run: Run, lost: Engine) -> None:
    result = run(*FORGET)

    assert result.exit_code == 0
    with lost.connect() as conn:
        stored = conn.execute(select(listener).where(listener.c.id == "lost")).one()
        is_waiting = listeners.may_keep_choices(conn)
    assert stored.forgotten_by == "Maya Ortiz"
    assert stored.forgotten_at is not None
    assert b"disk" not in stored.why
    assert not is_waiting


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*FORGET[:2], "well", *FORGET[3:]), "stop it first"),
        ((*FORGET[:2], "nobody", *FORGET[3:]), "`reactivate listener list` names them"),
        ((*FORGET[:6], ""), "--why: say it in 1 to 300 characters"),
        ((*FORGET[:3], "--as", "M", "--why", "lost"), "--as: give your name"),
    ],
    ids=["alive", "unknown", "no reason", "no name"],
)
def test_a_mistake_is_told_and_forgets_nothing(
    run: Run, lost: Engine, arguments: tuple[str, ...], sentence: str
) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert sentence in result.output
    with lost.connect() as conn:
        assert listeners.may_keep_choices(conn)
