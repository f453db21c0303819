"""Handing on: jobs are merged, none is lost at the end, a broken broker ends nothing; receipts commit in groups."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from household import NOW
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from domain.jobs import BATCH, Job, apply_receipts, read_replies
from domain.ledger.receipts import ReceiptNews
from domain.ledger.store import open_ledger
from domain.ledger.transactions import transact
from producers.webhooks.arrivals import ReceiptsArrival
from producers.webhooks.handover import Handover
from producers.webhooks.receipt_store import ReceiptStore


def test_jobs_of_one_actor_are_merged_and_none_exceeds_a_batch() -> None:
    handed: list[Job] = []
    handover = Handover(handed.append, linger=5)
    for number in range(250):
        handover.add(apply_receipts((number,)))

    handover.start()
    handover.close()

    assert [len(job.ids) for job in handed] == [BATCH, BATCH, 50]
    assert [number for job in handed for number in job.ids] == list(range(250))


def test_jobs_of_different_actors_stay_apart() -> None:
    handed: list[Job] = []
    handover = Handover(handed.append, linger=5)
    for job in (apply_receipts((1,)), read_replies((2,)), apply_receipts((3,))):
        handover.add(job)

    handover.start()
    handover.close()

    assert handed == [apply_receipts((1, 3)), read_replies((2,))]


def test_a_job_the_broker_refused_does_not_stop_the_next() -> None:
    handed: list[Job] = []

    def fail_first(job: Job) -> None:
        if job.actor == "apply_receipts":
            raise ConnectionError
        handed.append(job)

    handover = Handover(fail_first, linger=5)
    handover.add(apply_receipts((1,)))
    handover.add(read_replies((2,)))

    handover.start()
    handover.close()

    assert handed == [read_replies((2,))]


def test_one_that_was_never_started_can_be_closed() -> None:
    handed: list[Job] = []
    handover = Handover(handed.append)
    handover.add(read_replies((1,)))

    handover.close()

    assert handed == []


def _receipts(number: int) -> ReceiptsArrival:
    return ReceiptsArrival((ReceiptNews("sms", f"SM{number}", "sent"),), NOW)


def test_receipts_gather_while_a_group_is_being_committed() -> None:
    groups: list[int] = []

    async def write(group: Sequence[ReceiptsArrival]) -> None:
        groups.append(len(group))
        await asyncio.sleep(0)

    async def send_many() -> None:
        store = ReceiptStore(write)
        await asyncio.gather(*(store.add(_receipts(number)) for number in range(1200)))
        await store.close()

    asyncio.run(send_many())

    assert sum(groups) == 1200
    assert max(groups) <= 500
    assert len(groups) <= 5


def test_everyone_in_a_group_that_failed_is_told_and_the_next_group_is_tried() -> None:
    tries: list[int] = []

    async def write(group: Sequence[ReceiptsArrival]) -> None:
        tries.append(len(group))
        if len(tries) == 1:
            raise ConnectionError

    async def send_two_groups() -> list[BaseException | None]:
        store = ReceiptStore(write)
        failed = await asyncio.gather(store.add(_receipts(1)), store.add(_receipts(2)), return_exceptions=True)
        return [*failed, await store.add(_receipts(3))]

    results = asyncio.run(send_two_groups())

    assert [type(each) for each in results] == [ConnectionError, ConnectionError, type(None)]


def test_a_transaction_that_lost_a_deadlock_is_run_again(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE door (id int PRIMARY KEY)"))
        conn.execute(text("INSERT INTO door VALUES (1), (2)"))
    both_hold_one, one_is_through = threading.Barrier(2), threading.Event()
    tries: list[int] = []

    def walk(first: int, second: int) -> None:
        def through(conn: Connection) -> None:
            if first in tries:
                # the loser's lock goes to whoever asks first: let the winner have it, or the two meet again
                assert one_is_through.wait(timeout=60)
            tries.append(first)
            conn.execute(text("SELECT id FROM door WHERE id = :id FOR UPDATE"), {"id": first})
            if tries.count(first) == 1:
                both_hold_one.wait(timeout=60)
            conn.execute(text("SELECT id FROM door WHERE id = :id FOR UPDATE"), {"id": second})

        transact(engine, through)
        one_is_through.set()

    walkers = [threading.Thread(target=walk, args=way) for way in ((1, 2), (2, 1))]
    for each in walkers:
        each.start()
    for each in walkers:
        each.join(120)
    engine.dispose()

    assert not any(each.is_alive() for each in walkers)
    assert len(tries) == 3


def test_another_error_of_the_store_is_not_tried_again(sqlite_url: str) -> None:
    engine = open_ledger(sqlite_url)
    tries: list[Engine] = []

    def fail(conn: Connection) -> None:
        tries.append(engine)
        conn.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(OperationalError):
        transact(engine, fail)
    engine.dispose()

    assert len(tries) == 1
