"""The two workers behind the webhooks, run by a real broker's worker; each survives running twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from household import NOW, PHONE, Household, StoppedClock, count, row, rows, send
from sqlalchemy import Engine, update

from domain.jobs import Job, apply_receipts, read_replies, send_answers
from domain.ledger import receipts, replies
from domain.ledger.inbound import receipt, reply
from domain.ledger.outbox import outbox
from domain.ledger.receipts import ReceiptNews
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.runtime.broker import enqueue, open_broker, working
from ops.runtime.broker_local import InProcessBroker
from workers import receipts as receipts_worker
from workers import replies as replies_worker


@pytest.fixture
def broker(ledger: Engine, vault: Vault, handed: list[Job]) -> Iterator[InProcessBroker]:
    """A broker whose workers serve both queues."""
    broker = open_broker("")
    assert isinstance(broker, InProcessBroker)
    receipts_worker.register(broker, ledger, StoppedClock())
    replies_worker.register(broker, ledger, vault, StoppedClock(), handed.append)
    with working(broker, ["receipts", "replies"], 2):
        yield broker
    broker.close()


@pytest.fixture
def handed() -> list[Job]:
    """The jobs the replies worker handed on."""
    return []


def _stored(ledger: Engine, vault: Vault, text: str, *, as_if_unread: bool = False) -> int:
    with ledger.begin() as conn:
        taken = replies.take(
            conn, vault, channel="sms", system="phone", provider_id=text, sender=PHONE, text=text, now=NOW
        )
        if as_if_unread:
            conn.execute(update(reply).values(state="new", intent=None))
            conn.execute(touch.delete().where(touch.c.kind == "answer"))
    return taken.reply_id or 0


def test_free_text_goes_to_a_person_and_is_told_outside_once(
    ledger: Engine, vault: Vault, household: Household, broker: InProcessBroker
) -> None:
    asked = _stored(ledger, vault, "is parking free?")

    for _ in range(2):
        enqueue(broker, read_replies((asked,)))
        broker.join_all()

    stored = row(ledger, reply, asked)
    assert (stored["state"], stored["intent"]) == ("human", "question")
    (told,) = rows(ledger, outbox)
    assert told["type"] == "reply.escalated"
    assert told["data"]["reply_id"] == asked
    assert told["data"]["patients"] == ["PTEST0", "PTEST1"]
    assert "parking" not in str(told["data"])


def test_a_keyword_that_was_stored_unread_still_takes_effect_and_is_answered(
    ledger: Engine, vault: Vault, household: Household, broker: InProcessBroker, handed: list[Job]
) -> None:
    # as after a change of the rules, or where another process stored it
    asked = _stored(ledger, vault, "C", as_if_unread=True)

    enqueue(broker, read_replies((asked,)))
    broker.join_all()

    (answer,) = rows(ledger, touch, kind="answer")
    assert row(ledger, reply, asked)["intent"] == "book"
    assert handed == [send_answers("sms", (answer["id"],))]


def test_a_reply_whose_key_is_lost_still_reaches_a_person(
    ledger: Engine, vault: Vault, household: Household, broker: InProcessBroker
) -> None:
    asked = _stored(ledger, vault, "is parking free?")
    with ledger.begin() as conn:
        conn.execute(update(reply).values(body=b"\x09" + b"lost" * 8))

    enqueue(broker, read_replies((asked,)))
    broker.join_all()

    assert row(ledger, reply, asked)["state"] == "human"


def test_receipts_are_applied_however_often_the_broker_says_so(
    ledger: Engine, vault: Vault, household: Household, broker: InProcessBroker
) -> None:
    with ledger.begin() as conn:
        _, token = send(conn, household, state="uncertain")
        ids = receipts.take(conn, [ReceiptNews("sms", "SM9", "delivered", token)], NOW)

    for _ in range(3):
        enqueue(broker, apply_receipts(tuple(ids)))
    broker.join_all()

    assert row(ledger, touch, household.touches[0])["delivery"] == "delivered"
    assert count(ledger, outbox) == 1


def test_receipts_stored_since_are_applied_along_and_older_ones_left_to_the_sweep(
    ledger: Engine, household: Household, broker: InProcessBroker
) -> None:
    with ledger.begin() as conn:
        tokens = [send(conn, household, state="accepted")[1] for _ in range(3)]
        first, second, third = (
            receipts.take(conn, [ReceiptNews("sms", f"SM{nth}", "delivered", token)], NOW)[0]
            for nth, token in enumerate(tokens)
        )

    enqueue(broker, apply_receipts((second,)))
    broker.join_all()

    applied = {each: row(ledger, receipt, each)["result"] for each in (first, second, third)}
    assert applied == {first: None, second: "applied", third: "applied"}
