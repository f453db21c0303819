"""What goes before what: choices before receipts, one sender's in their order, what was left before what comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from household import NOW, PHONE, StoppedClock, count, rows
from outage import Outage, is_drained, sid, start_before
from spools import keep, opened
from sqlalchemy import Engine
from waiting import DEADLINE, wait_until
from webserver import Serve

from domain.ledger.choice_history import suppression
from domain.ledger.inbound import receipt, reply
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from producers.webhooks import replay
from producers.webhooks.arrival_store import ArrivalStore
from producers.webhooks.arrivals import ReplyArrival
from producers.webhooks.handover import Handover
from producers.webhooks.spool_file import Record, SpoolFile


def test_no_stop_waits_behind_receipts(outage: Outage) -> None:
    web = outage.start()
    locker = open_ledger(str(outage.ledger.url.render_as_string(hide_password=False)))
    outage.begin()
    for number in range(3):
        assert web.status("sent", sid=sid(number)).status_code == 204
    assert web.inbound("STOP").status_code == 200
    outage.relay.mend()
    with locker.begin() as conn:
        # no receipt can be stored for as long as this lasts
        conn.exec_driver_sql("LOCK TABLE receipt")

        wait_until(lambda: rows(outage.ledger, suppression, lifted_at=None))

        assert not is_drained(outage.directory)

    wait_until(lambda: is_drained(outage.directory))
    locker.dispose()
    assert count(outage.ledger, receipt) == 3


def test_a_message_does_not_overtake_the_one_of_the_same_sender_that_hangs(
    postgres_url: str, vault: Vault, serve: Serve, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_ledger(postgres_url)
    web = start_before(engine, vault, serve, directory, store_seconds=2.0)
    hangs, may_go_on, stored = threading.Event(), threading.Event(), []
    ended: list[str] = []
    take = ArrivalStore.take

    def one_hangs(self: ArrivalStore, arrival: ReplyArrival, *given: Callable[[], float]) -> object:
        if arrival.provider_id == sid(1) and not hangs.is_set():
            hangs.set()
            may_go_on.wait(60)
        stored.append(arrival.provider_id)
        target = take(self, arrival, *given)
        ended.append(arrival.provider_id)
        return target

    monkeypatch.setattr(ArrivalStore, "take", one_hangs)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(web.inbound, "START", sid=sid(1))
        hangs.wait(60)
        other = web.inbound("hello", sid=sid(3), sender="+13035550177")
        second = web.inbound("STOP", sid=sid(2))

        assert {first.result().status_code, second.status_code, other.status_code} == {200}
    wait_until(lambda: is_drained(directory))
    may_go_on.set()
    # what the first request left behind commits at last, and changes nothing
    wait_until(lambda: len(ended) == 4)

    assert stored[:3] == [sid(3), sid(1), sid(2)]
    assert len(rows(engine, suppression, lifted_at=None)) == 3
    engine.dispose()


def test_the_port_opens_before_what_was_left_is_read_and_what_comes_goes_behind_it(
    ledger: Engine, vault: Vault, serve: Serve, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(directory, vault) as dead:
        keep(dead, ReplyArrival("sms", "phone", sid(1), PHONE, "STOP", NOW - timedelta(minutes=1)))
    adopt, may_read = SpoolFile.adopt, threading.Event()

    def slow(path: Path, opens: Callable[[Record], bool]) -> SpoolFile | None:
        assert may_read.wait(60)
        return adopt(path, opens)

    monkeypatch.setattr(SpoolFile, "adopt", slow)

    web = start_before(ledger, vault, serve, directory)
    answers = [web.client.get("/live").status_code, web.inbound("START", sid=sid(2)).status_code]

    assert answers == [200, 200]
    assert rows(ledger, reply) == []
    may_read.set()
    wait_until(lambda: is_drained(directory))
    assert [each["intent"] for each in rows(ledger, reply)] == ["opt_out", "opt_in"]


def test_a_replay_that_waits_for_arrivals_ends_when_it_is_told(
    sqlite_url: str, vault: Vault, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_IDLE_PAUSE", 3600.0)
    engine = open_ledger(sqlite_url)
    store = ArrivalStore(
        engine=engine,
        vault=vault,
        clock=StoppedClock(),
        handover=Handover(lambda _: None),
        observe_opt_out=lambda _: None,
    )

    with opened(directory, vault) as spool:
        waits, wait = threading.Event(), spool.wait
        monkeypatch.setattr(spool, "wait", lambda *given: (waits.set(), wait(*given)))
        idle = replay.Replay(spool, store, StoppedClock())
        idle.start()
        assert waits.wait(DEADLINE)
        idle.close(DEADLINE)

        assert not idle._thread.is_alive()
    engine.dispose()
