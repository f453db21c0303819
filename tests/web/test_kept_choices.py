"""What a web process keeps on its disk stops outreach until the ledger knows it: nobody is written to after a STOP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from household import NOW, StoppedClock, row, rows
from outage import sid
from practice import Desk, Elapsed, Practice, Provider, Unpaced, a_desk
from spools import keep, opened, stop
from sqlalchemy import Engine, update
from waiting import wait_until
from webserver import Serve, start_web

from domain.ledger import listeners
from domain.ledger.listeners import GIVEN_UP_AFTER, SILENT_AFTER, Standing, listener
from domain.ledger.store import open_ledger, reading
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.migrations.run import upgrade
from ops.services.postgres import Postgres
from ops.services.start import Services
from producers.webhooks import replay
from producers.webhooks.replay import Replay
from workers import send

SECOND = timedelta(seconds=1)


@pytest.fixture
def server(postgres_template: object) -> Iterator[Postgres]:
    """A PostgreSQL of this test's own, to be stopped and started; skipped where there is none."""
    with Services() as services:
        services.start("postgres")
        found = services._servers["postgres"]
        assert isinstance(found, Postgres)
        upgrade(found.url)
        yield found


@pytest.fixture
def restarted(server: Postgres) -> Iterator[Engine]:
    """The ledger on it."""
    engine = open_ledger(server.url)
    yield engine
    engine.dispose()


@pytest.fixture
def practice(ledger: Engine, vault: Vault) -> Practice:
    return Practice(ledger, vault)


@pytest.fixture
def desk(practice: Practice) -> Iterator[Desk]:
    with a_desk(practice, StoppedClock()) as opened_:
        yield opened_


def beat(ledger: Engine, id_: str = "a", *, is_behind: bool = False) -> None:
    with ledger.begin() as conn:
        listeners.beat(conn, id_, is_behind=is_behind)


def turn_back(ledger: Engine, **ago: timedelta) -> None:
    """As if these instants lay so far back."""
    with ledger.begin() as conn:
        conn.execute(update(listener).values({name: datetime.now(UTC) - span for name, span in ago.items()}))


def standings(ledger: Engine) -> list[str]:
    with reading(ledger) as conn:
        return [each.standing.value for each in listeners.look(conn)]


def waits(ledger: Engine) -> bool:
    with reading(ledger) as conn:
        return listeners.may_keep_choices(conn)


def note_silence(ledger: Engine) -> None:
    with ledger.begin() as conn:
        listeners.note_silence(conn)


def test_a_stop_kept_while_postgresql_is_down_is_in_force_before_anything_is_sent(
    server: Postgres,
    restarted: Engine,
    vault: Vault,
    serve: Serve,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the web process has just tried, and sleeps on while the senders are back already
    monkeypatch.setattr(replay, "_FIRST_PAUSE", 5.0)
    monkeypatch.setitem(Replay.__init__.__kwdefaults__, "longest_pause", 5.0)
    ledger = restarted
    practice, provider = Practice(ledger, vault), Provider()
    who = practice.person()
    web = start_web(ledger, vault, serve, settles=False, spool_directory=directory, is_heard=True)
    wait_until(lambda: standings(ledger) == ["well"])

    server.stop()
    answer = web.inbound("STOP", sid=sid(1), sender=who.number)
    server.start()
    server.wait()
    with a_desk(practice, StoppedClock()) as desk:
        worker = desk.worker(provider)
        worker.send([who.touch])
        wait_until(lambda: row(ledger, touch, who.touch)["state"] != "planned")
        worker.send([who.touch])

    assert answer.status_code == 200
    assert provider.calls == []
    assert row(ledger, touch, who.touch)["reason"] == "opted_out"


def test_a_restart_of_postgresql_is_noticed_however_short_it_was(server: Postgres, restarted: Engine) -> None:
    ledger = restarted
    beat(ledger)
    server.stop()
    server.start()
    server.wait()

    is_waiting = waits(ledger)
    beat(ledger)

    assert is_waiting
    # for some seconds yet, a process that was never heard of may be on its way
    assert waits(ledger)
    assert standings(ledger) == ["well"]


def test_outreach_waits_for_a_dead_process_until_a_successor_has_taken_over_what_its_disk_kept(
    ledger: Engine, vault: Vault, practice: Practice, desk: Desk, serve: Serve, directory: Path
) -> None:
    stops, free = practice.person(), practice.person()
    provider = Provider()
    worker = desk.worker(provider)
    dead = "d" * 32
    with opened(directory, vault) as spool:
        keep(spool, stop(1))
    (directory / f"{dead}.listener").touch()
    beat(ledger, dead)
    turn_back(ledger, beat_at=2 * SILENT_AFTER)

    worker.send([stops.touch, free.touch])
    before = list(provider.calls), [each["reason"] for each in rows(ledger, touch)]
    web = start_web(ledger, vault, serve, settles=False, spool_directory=directory, is_heard=True)
    wait_until(lambda: standings(ledger) == ["well"])
    desk.clock.at = NOW + timedelta(minutes=1)
    worker.send([stops.touch, free.touch])

    assert before == ([], ["choices_kept", "choices_kept"])
    assert provider.called == {free.number: 1}
    assert row(ledger, touch, stops.touch)["reason"] == "opted_out"
    assert not (directory / f"{dead}.listener").exists()
    assert web.client


def test_a_process_that_ends_in_order_is_not_waited_for(
    ledger: Engine, vault: Vault, practice: Practice, directory: Path
) -> None:
    beat(ledger)
    with ledger.begin() as conn:
        listeners.close(conn, ["a"])

    assert (standings(ledger), waits(ledger)) == ([], False)


@pytest.mark.parametrize(
    ("is_behind", "standing", "is_waiting"), [(False, Standing.GIVEN_UP, False), (True, Standing.SILENT, True)]
)
def test_a_silent_process_is_given_up_after_an_hour_of_a_ledger_that_is_up_unless_it_kept_something(
    ledger: Engine, is_behind: bool, standing: Standing, is_waiting: bool
) -> None:
    beat(ledger, is_behind=is_behind)
    turn_back(ledger, beat_at=timedelta(days=1))
    silent = standings(ledger), waits(ledger)

    note_silence(ledger)
    noted = standings(ledger), waits(ledger)
    turn_back(ledger, silent_since=GIVEN_UP_AFTER + SECOND)

    # a day of outage is no day of silence
    assert silent == noted == (["silent"], True)
    assert (standings(ledger), waits(ledger)) == ([standing.value], is_waiting)


def test_a_person_may_forget_a_silent_process_and_no_other_and_it_counts_once_it_is_heard_again(ledger: Engine) -> None:
    beat(ledger, is_behind=True)
    with ledger.begin() as conn:
        alive = listeners.forget(conn, "a", by="Maya Ortiz", why=b"sealed")
    turn_back(ledger, beat_at=timedelta(days=1))

    with ledger.begin() as conn:
        gone = listeners.forget(conn, "a", by="Maya Ortiz", why=b"sealed")
    forgotten = waits(ledger)
    beat(ledger, is_behind=True)

    assert alive is None
    assert gone is not None
    assert not forgotten
    assert waits(ledger)


def test_without_a_web_process_and_with_those_that_are_well_nobody_waits(ledger: Engine) -> None:
    nobody = waits(ledger)
    beat(ledger, "a")
    well = waits(ledger)
    beat(ledger, "b", is_behind=True)

    assert (nobody, well, waits(ledger)) == (False, False, True)


def test_a_claim_that_is_a_second_old_asks_again_whether_choices_are_kept(
    ledger: Engine, practice: Practice, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, provider = practice.person(), Provider()
    monkeypatch.setattr(send, "time", Elapsed(2.0))

    desk.worker(provider, Unpaced(before=lambda: beat(ledger, is_behind=True))).send([who.touch])

    assert provider.calls == []
    assert (row(ledger, touch, who.touch)["state"], row(ledger, touch, who.touch)["reason"]) == (
        "planned",
        "choices_kept",
    )
