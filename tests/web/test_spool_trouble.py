"""A ledger that hangs, is locked, is not set up or refuses; one bad arrival among good ones; and a thousand at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from household import count, rows, settle_in
from outage import Outage, is_drained, sid, start_before
from spools import keep, opened, replaying, stop
from sqlalchemy import Engine
from waiting import wait_until
from webserver import Serve, Web

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

_TEXT = "my knee hurts so much"


def test_a_ledger_that_hangs_is_given_its_time_and_then_the_disk_takes_over(outage: Outage) -> None:
    web = outage.start(store_seconds=0.3)
    outage.relay.silence()

    answers = [web.inbound("STOP"), web.status("sent")]

    assert [each.status_code for each in answers] == [200, 204]
    outage.relay.mend()
    wait_until(lambda: is_drained(outage.directory), 60)
    assert (count(outage.ledger, reply), count(outage.ledger, receipt)) == (1, 1)
    assert len(rows(outage.ledger, suppression, lifted_at=None)) == 3


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


def test_what_the_ledger_refuses_is_set_aside_and_those_behind_it_go_on(outage: Outage) -> None:
    web = outage.start()
    with outage.ledger.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply ADD CONSTRAINT bad CHECK (provider_id <> 'SM" + "a" * 32 + "')")
    outage.begin()
    web.inbound(_TEXT)
    web.inbound("STOP", sid=sid(2))

    outage.end()

    assert len(rows(outage.ledger, suppression, lifted_at=None)) == 3
    (kept,) = (outage.directory / "failed").glob("*.spool")
    assert _TEXT.encode() not in kept.read_bytes()
    wait_until(lambda: metrics.spool_failed.labels("choices")._value.get() == 1)
    assert metrics.spool.labels("choices")._value.get() == 0


def refusing(code: str) -> tuple[str, str]:
    """Statements that make the ledger fail at a reply with this SQLSTATE, and that put it right."""
    trigger = f"CREATE TRIGGER broken BEFORE INSERT ON reply EXECUTE FUNCTION fails('{code}')"
    return trigger, "DROP TRIGGER broken ON reply"


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        pytest.param(
            "ALTER TABLE choice_event RENAME TO choice_event_moving",
            "ALTER TABLE choice_event_moving RENAME TO choice_event",
            id="no table",
        ),
        pytest.param(*refusing("53100"), id="disk full"),
        pytest.param(*refusing("25006"), id="read only"),
        pytest.param(*refusing("42501"), id="no permission"),
        pytest.param(*refusing("55P03"), id="locked"),
        pytest.param(*refusing("57014"), id="too slow"),
        pytest.param(*refusing("40P01"), id="deadlock"),
    ],
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
    take = ArrivalStore.take

    def watched(self: ArrivalStore, arrival: ReplyArrival) -> object:
        tried.append(arrival.provider_id)
        return take(self, arrival)

    monkeypatch.setattr(ArrivalStore, "take", watched)
    with opened(directory, vault) as spool:
        keep(spool, stop(1), stop(2))

        with replaying(spool, engine, vault):
            wait_until(lambda: len(tried) > 40)

            assert set(tried) == {sid(1)}
            assert (spool.waiting, spool.aside) == (2, 0)
            with engine.begin() as conn:
                conn.exec_driver_sql(mends)
            wait_until(lambda: not spool.waiting)
    assert [each["provider_id"] for each in rows(engine, reply)] == [sid(1), sid(2)]
    assert len(rows(engine, suppression, lifted_at=None)) == 3
    engine.dispose()


def a_stop_set_aside(outage: Outage) -> Web:
    """A process that took a STOP, and set it aside since the ledger refused it; now it would be taken."""
    web = outage.start()
    with outage.ledger.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply ADD CONSTRAINT bad CHECK (id < 0)")
    # a refusal that is no outage is kept as well: nobody writes twice
    assert web.inbound("STOP").status_code == 200
    wait_until(lambda: list((outage.directory / "failed").glob("*.spool")))
    wait_until(lambda: is_drained(outage.directory))
    with outage.ledger.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE reply DROP CONSTRAINT bad")
    return web


def test_what_was_set_aside_is_tried_again_by_the_next_process_once(outage: Outage) -> None:
    a_stop_set_aside(outage)

    outage.start(settles=False)

    wait_until(lambda: rows(outage.ledger, suppression, lifted_at=None))
    wait_until(lambda: is_drained(outage.directory))
    assert list(outage.directory.rglob("*.spool")) == []


def test_what_was_set_aside_is_taken_once_it_is_moved_back(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.webhooks.replay._LOOK_ROUND", 0.05)
    web = a_stop_set_aside(outage)

    (kept,) = (outage.directory / "failed").glob("*.spool")
    kept.rename(outage.directory / kept.name)

    wait_until(lambda: is_drained(outage.directory))
    assert len(rows(outage.ledger, suppression, lifted_at=None)) == 3
    assert web.opt_out_seconds


def test_one_bad_receipt_does_not_take_its_neighbours_with_it(outage: Outage) -> None:
    web = outage.start()
    with outage.ledger.begin() as conn:
        conn.exec_driver_sql(f"ALTER TABLE receipt ADD CONSTRAINT bad CHECK (provider_ref <> '{sid(7)}')")
    outage.begin()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: web.status("sent", sid=sid(number)).status_code, range(20)))

    outage.end()

    assert answers == [204] * 20
    stored = {each["provider_ref"] for each in rows(outage.ledger, receipt)}
    assert stored == {sid(each) for each in range(20)} - {sid(7)}
    assert len(list((outage.directory / "receipts" / "failed").glob("*.spool"))) == 1


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
