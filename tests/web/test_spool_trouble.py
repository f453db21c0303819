"""A ledger that hangs, is locked, is not set up or refuses; one bad arrival among good ones; and a thousand at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from household import NOW, PHONE, StoppedClock, count, rows, settle_in
from outage import is_drained, sid, start_before
from relay import Relay
from sqlalchemy import Engine
from webserver import Serve, wait_for

from domain.jobs import send_answers
from domain.ledger.choices import suppression
from domain.ledger.inbound import receipt, reply
from domain.ledger.organisations import organisation
from domain.ledger.store import open_ledger
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.runtime import metrics
from producers.webhooks import outage
from producers.webhooks.arrival_store import ArrivalStore
from producers.webhooks.arrivals import ReplyArrival
from producers.webhooks.handover import Handover
from producers.webhooks.replay import Replay
from producers.webhooks.spool import Spool

_TEXT = "my knee hurts so much"


def test_a_ledger_that_hangs_is_given_its_time_and_then_the_disk_takes_over(
    away: tuple[Relay, Engine], vault: Vault, serve: Serve, directory: Path
) -> None:
    relay, engine = away
    web = start_before(engine, vault, serve, directory, store_seconds=0.3)
    relay.silence()

    answers = [web.inbound("STOP"), web.status("sent")]

    assert [each.status_code for each in answers] == [200, 204]
    relay.mend()
    wait_for(lambda: is_drained(directory), 60)
    assert (count(engine, reply), count(engine, receipt)) == (1, 1)
    assert len(rows(engine, suppression, lifted_at=None)) == 3


def test_storing_that_was_given_up_may_still_end_and_taking_it_again_changes_nothing(
    ledger: Engine, vault: Vault, serve: Serve, directory: Path
) -> None:
    web = start_before(ledger, vault, serve, directory, store_seconds=0.3)
    with ledger.begin() as conn:
        conn.execute(organisation.update().values(name="Lakeside"))
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql("LOCK TABLE reply")

        answer = web.inbound("STOP")

        assert answer.status_code == 200

    # the thread left behind commits, and the replay finds it done; or the other way round
    wait_for(lambda: is_drained(directory))
    assert (count(ledger, reply), count(ledger, suppression)) == (1, 3)
    assert len(rows(ledger, touch, kind="answer")) == 1
    (planned,) = rows(ledger, touch, kind="answer")
    wait_for(lambda: web.jobs)
    assert web.jobs == [send_answers("sms", (planned["id"],))]


def test_an_embedded_ledger_that_another_process_has_locked_is_waited_foron_disk(
    sqlite_url: str, vault: Vault, serve: Serve, directory: Path
) -> None:
    engine = open_ledger(f"{sqlite_url}?timeout=0.2")
    web = start_before(engine, vault, serve, directory)
    foreign = open_ledger(sqlite_url)
    with foreign.begin():
        answers = [web.inbound("STOP"), web.status("sent")]
        assert [each.status_code for each in answers] == [200, 204]
        assert not is_drained(directory)

    wait_for(lambda: is_drained(directory))
    assert (count(engine, reply), count(engine, receipt)) == (1, 1)
    for each in (foreign, engine):
        each.dispose()


def test_before_there_is_an_organisation_messages_wait_for_it_however_long(
    sqlite_url: str, vault: Vault, serve: Serve, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Engine] = []

    def is_ready(engine: Engine) -> bool:
        asked.append(engine)
        return outage.is_ready(engine)

    monkeypatch.setattr("producers.webhooks.replay.is_ready", is_ready)
    monkeypatch.setattr("producers.webhooks.replay._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("producers.webhooks.replay.TRIES", 3)
    engine = open_ledger(sqlite_url)
    web = start_before(engine, vault, serve, directory, settles=False)

    assert web.inbound("STOP").status_code == 200
    wait_for(lambda: len(asked) > 5)

    with engine.begin() as conn:
        conn.execute(
            organisation.insert().values(key="lakeside", name="Lakeside", phone="+1 303 555 0100", postal_address="x")
        )
    wait_for(lambda: is_drained(directory))
    assert len(rows(engine, suppression, lifted_at=None)) == 1
    engine.dispose()


def test_what_the_ledger_refuses_is_set_aside_and_those_behind_it_go_on(
    away: tuple[Relay, Engine], vault: Vault, serve: Serve, directory: Path
) -> None:
    relay, engine = away
    web = start_before(engine, vault, serve, directory)
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply ADD CONSTRAINT bad CHECK (provider_id <> 'SM" + "a" * 32 + "')")
    relay.cut()
    web.inbound(_TEXT)
    web.inbound("STOP", sid=sid(2))

    relay.mend()

    wait_for(lambda: is_drained(directory))
    assert len(rows(engine, suppression, lifted_at=None)) == 3
    (kept,) = (directory / "failed").glob("*.spool")
    assert _TEXT.encode() not in kept.read_bytes()
    wait_for(lambda: metrics.spool_failed._value.get() == 1)
    assert metrics.spool._value.get() == 0


def test_what_fails_again_and_again_while_the_ledger_takes_others_is_set_aside(
    postgres_url: str, vault: Vault, directory: Path
) -> None:
    engine = open_ledger(postgres_url)
    settle_in(engine, vault)
    with engine.begin() as conn:
        conn.exec_driver_sql(
            "CREATE FUNCTION locked() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'locked' USING ERRCODE = '55P03'; END$$"
        )
        conn.exec_driver_sql(
            "CREATE TRIGGER locked BEFORE INSERT ON reply FOR EACH ROW "
            f"WHEN (NEW.provider_id = '{sid(1)}') EXECUTE FUNCTION locked()"
        )
    clock, spool = StoppedClock(), Spool(directory, vault)
    handover = Handover(lambda _: None)
    store = ArrivalStore(engine=engine, vault=vault, clock=clock, handover=handover, observe_opt_out=lambda _: None)
    replay = Replay(spool, store, engine, clock, longest_pause=0.01)
    spool.start()
    for number in (1, 2):
        spool.append([ReplyArrival("sms", "phone", sid(number), PHONE, "STOP", NOW)]).result(timeout=30)

    replay.start()

    wait_for(lambda: not spool.waiting, 60)
    replay.close()
    spool.close()
    assert spool.aside == 1
    assert [each["provider_id"] for each in rows(engine, reply)] == [sid(2)]
    engine.dispose()


def test_what_was_set_aside_is_taken_once_it_is_moved_back(
    away: tuple[Relay, Engine], vault: Vault, serve: Serve, directory: Path
) -> None:
    _, engine = away
    web = start_before(engine, vault, serve, directory)
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply ADD CONSTRAINT bad CHECK (id < 0)")
    # a refusal that is no outage is kept as well: nobody writes twice
    assert web.inbound("STOP").status_code == 200
    wait_for(lambda: list((directory / "failed").glob("*.spool")))
    wait_for(lambda: is_drained(directory))
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply DROP CONSTRAINT bad")

    (kept,) = (directory / "failed").glob("*.spool")
    kept.rename(directory / kept.name)
    again = start_before(engine, vault, serve, directory, settles=False)

    wait_for(lambda: is_drained(directory))
    assert len(rows(engine, suppression, lifted_at=None)) == 3
    assert again.opt_out_seconds or web.opt_out_seconds


def test_one_bad_receipt_does_not_take_its_neighbours_with_it(
    away: tuple[Relay, Engine], vault: Vault, serve: Serve, directory: Path
) -> None:
    relay, engine = away
    web = start_before(engine, vault, serve, directory)
    with engine.begin() as conn:
        conn.exec_driver_sql(f"ALTER TABLE receipt ADD CONSTRAINT bad CHECK (provider_ref <> '{sid(7)}')")
    relay.cut()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: web.status("sent", sid=sid(number)).status_code, range(20)))

    relay.mend()

    wait_for(lambda: is_drained(directory))
    assert answers == [204] * 20
    assert {each["provider_ref"] for each in rows(engine, receipt)} == {sid(each) for each in range(20)} - {sid(7)}
    assert len(list((directory / "failed").glob("*.spool"))) == 1


def test_a_thousand_stops_at_once_are_all_taken_and_only_others_are_turned_away(
    ledger: Engine, vault: Vault, serve: Serve, directory: Path
) -> None:
    gate = threading.Event()

    def wait(*_: object) -> None:
        gate.wait(30)

    web = start_before(ledger, vault, serve, directory, others_at_once=4, take_event=wait, request_seconds=120)
    bearer = {"authorization": "Bearer a-token-of-a-publisher"}
    with ThreadPoolExecutor(16) as pool:
        events = [pool.submit(web.client.post, "/events", content=b"{}", headers=bearer) for _ in range(16)]
        wait_for(lambda: sum(each.done() for each in events) == 12)
        with ThreadPoolExecutor(64) as patients:
            answers = list(
                patients.map(
                    lambda number: (
                        web.inbound("STOP", sid=sid(number), sender=f"+1303555{number % 100:04d}").status_code
                    ),
                    range(1000),
                )
            )
        probes = [web.client.get(path).status_code for path in ("/live", "/ready", "/metrics")]
        gate.set()

    assert answers == [200] * 1000
    assert sorted(each.result().status_code for each in events) == [202] * 4 + [503] * 12
    assert probes == [200] * 3
    wait_for(lambda: count(ledger, reply) == 1000, 120)
    assert {each["intent"] for each in rows(ledger, reply)} == {"opt_out"}
