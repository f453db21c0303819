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
from waiting import wait_until
from webserver import Serve

from domain.jobs import send_answers
from domain.ledger.choice_history import suppression
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
    wait_until(lambda: is_drained(directory), 60)
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
    wait_until(lambda: is_drained(directory))
    assert (count(ledger, reply), count(ledger, suppression)) == (1, 3)
    assert len(rows(ledger, touch, kind="answer")) == 1
    (planned,) = rows(ledger, touch, kind="answer")
    wait_until(lambda: web.jobs)
    assert web.jobs == [send_answers("sms", (planned["id"],))]


def test_an_embedded_ledger_that_another_process_has_locked_is_waited_for_on_disk(
    sqlite_url: str, vault: Vault, serve: Serve, directory: Path
) -> None:
    engine = open_ledger(f"{sqlite_url}?timeout=0.2")
    web = start_before(engine, vault, serve, directory)
    foreign = open_ledger(sqlite_url)
    with foreign.begin():
        answers = [web.inbound("STOP"), web.status("sent")]
        assert [each.status_code for each in answers] == [200, 204]
        assert not is_drained(directory)

    wait_until(lambda: is_drained(directory))
    assert (count(engine, reply), count(engine, receipt)) == (1, 1)
    for each in (foreign, engine):
        each.dispose()


def test_before_there_is_an_organisation_messages_wait_for_it_however_long(
    sqlite_url: str, vault: Vault, serve: Serve, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Exception] = []

    def is_away(error: Exception) -> bool:
        asked.append(error)
        return outage.is_away(error)

    monkeypatch.setattr("producers.webhooks.replay.is_away", is_away)
    monkeypatch.setattr("producers.webhooks.replay._FIRST_PAUSE", 0.001)
    engine = open_ledger(sqlite_url)
    web = start_before(engine, vault, serve, directory, settles=False)

    assert web.inbound("STOP").status_code == 200
    wait_until(lambda: len(asked) > 5)

    with engine.begin() as conn:
        conn.execute(
            organisation.insert().values(key="lakeside", name="Lakeside", phone="+1 303 555 0100", postal_address="x")
        )
    wait_until(lambda: is_drained(directory))
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

    wait_until(lambda: is_drained(directory))
    assert len(rows(engine, suppression, lifted_at=None)) == 3
    (kept,) = (directory / "failed").glob("*.spool")
    assert _TEXT.encode() not in kept.read_bytes()
    wait_until(lambda: metrics.spool_failed.labels("choices")._value.get() == 1)
    assert metrics.spool.labels("choices")._value.get() == 0


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        (
            "ALTER TABLE choice_event RENAME TO choice_event_moving",
            "ALTER TABLE choice_event_moving RENAME TO choice_event",
        ),
        (
            "CREATE TRIGGER broken BEFORE INSERT ON reply EXECUTE FUNCTION fails('53100')",
            "DROP TRIGGER broken ON reply",
        ),
        (
            "CREATE TRIGGER broken BEFORE INSERT ON reply EXECUTE FUNCTION fails('25006')",
            "DROP TRIGGER broken ON reply",
        ),
        (
            "CREATE TRIGGER broken BEFORE INSERT ON reply EXECUTE FUNCTION fails('42501')",
            "DROP TRIGGER broken ON reply",
        ),
        (
            "CREATE TRIGGER broken BEFORE INSERT ON reply EXECUTE FUNCTION fails('55P03')",
            "DROP TRIGGER broken ON reply",
        ),
        (
            "CREATE TRIGGER broken BEFORE INSERT ON reply EXECUTE FUNCTION fails('57014')",
            "DROP TRIGGER broken ON reply",
        ),
        (
            "CREATE TRIGGER broken BEFORE INSERT ON reply EXECUTE FUNCTION fails('40P01')",
            "DROP TRIGGER broken ON reply",
        ),
    ],
    ids=["no table", "disk full", "read only", "no permission", "locked", "too slow", "deadlock"],
)
def test_trouble_of_the_ledger_is_waited_for_in_order_however_long_and_nothing_is_set_aside(
    postgres_url: str, vault: Vault, directory: Path, monkeypatch: pytest.MonkeyPatch, breaks: str, mends: str
) -> None:
    engine = open_ledger(postgres_url)
    settle_in(engine, vault)
    with engine.begin() as conn:
        conn.exec_driver_sql(
            "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = TG_ARGV[0]; END$$"
        )
        conn.exec_driver_sql(breaks)
    tried: list[str] = []
    clock, spool = StoppedClock(), Spool(directory, vault)
    store = ArrivalStore(
        engine=engine, vault=vault, clock=clock, handover=Handover(lambda _: None), observe_opt_out=lambda _: None
    )
    take = store.take

    def watched(arrival: ReplyArrival) -> object:
        tried.append(arrival.provider_id)
        return take(arrival)

    monkeypatch.setattr(store, "take", watched)
    replay = Replay(spool, store, clock, longest_pause=0.01)
    spool.start()
    for number in (1, 2):
        spool.append([ReplyArrival("sms", "phone", sid(number), PHONE, "STOP", NOW)]).result(timeout=30)

    replay.start()
    wait_until(lambda: len(tried) > 40)

    assert set(tried) == {sid(1)}
    assert (spool.waiting, spool.aside) == (2, 0)
    with engine.begin() as conn:
        conn.exec_driver_sql(mends)
    wait_until(lambda: not spool.waiting)
    replay.close()
    spool.close()
    assert [each["provider_id"] for each in rows(engine, reply)] == [sid(1), sid(2)]
    assert len(rows(engine, suppression, lifted_at=None)) == 3
    engine.dispose()


def test_what_was_set_aside_is_tried_again_by_the_next_process_once(
    away: tuple[Relay, Engine], vault: Vault, serve: Serve, directory: Path
) -> None:
    _, engine = away
    web = start_before(engine, vault, serve, directory)
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply ADD CONSTRAINT bad CHECK (id < 0)")
    # a refusal that is no outage is kept as well: nobody writes twice
    assert web.inbound("STOP").status_code == 200
    wait_until(lambda: list((directory / "failed").glob("*.spool")))
    wait_until(lambda: is_drained(directory))
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply DROP CONSTRAINT bad")

    start_before(engine, vault, serve, directory, settles=False)

    wait_until(lambda: rows(engine, suppression, lifted_at=None))
    wait_until(lambda: is_drained(directory))
    assert list(directory.rglob("*.spool")) == []


def test_what_was_set_aside_is_taken_once_it_is_moved_back(
    away: tuple[Relay, Engine], vault: Vault, serve: Serve, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine = away
    monkeypatch.setattr("producers.webhooks.replay._LOOK_ROUND", 0.05)
    web = start_before(engine, vault, serve, directory)
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply ADD CONSTRAINT bad CHECK (id < 0)")
    # a refusal that is no outage is kept as well: nobody writes twice
    assert web.inbound("STOP").status_code == 200
    wait_until(lambda: list((directory / "failed").glob("*.spool")))
    wait_until(lambda: is_drained(directory))
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply DROP CONSTRAINT bad")

    (kept,) = (directory / "failed").glob("*.spool")
    kept.rename(directory / kept.name)

    wait_until(lambda: is_drained(directory))
    assert len(rows(engine, suppression, lifted_at=None)) == 3
    assert web.opt_out_seconds


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

    wait_until(lambda: is_drained(directory))
    assert answers == [204] * 20
    assert {each["provider_ref"] for each in rows(engine, receipt)} == {sid(each) for each in range(20)} - {sid(7)}
    assert len(list((directory / "receipts" / "failed").glob("*.spool"))) == 1


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
        wait_until(lambda: sum(each.done() for each in events) == 12)
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
    wait_until(lambda: count(ledger, reply) == 1000, 120)
    assert {each["intent"] for each in rows(ledger, reply)} == {"opt_out"}
