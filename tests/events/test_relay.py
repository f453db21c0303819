"""The relay: everything the outbox committed is published in order, and again if nobody confirmed it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from domain.events.codec import SOURCE, decode
from domain.ledger import outbox
from domain.ledger.store import open_ledger
from ops.runtime.bus import AmqpBus, BusError, BusMessage
from producers.relay import relay

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)


class Recorder:
    """A bus that remembers, and refuses the first publishes when told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.sent: list[BusMessage] = []
        self._refusals = refusals

    def publish(self, messages: Sequence[BusMessage]) -> None:
        self.sent += messages
        if self._refusals:
            self._refusals -= 1
            raise BusError("no confirm")


def opted_out(engine: Engine, *patients: str) -> None:
    with engine.begin() as conn:
        outbox.add_many(
            conn, "patient.opted_out", [{"patient": p, "source": "reply", "at": NOW} for p in patients], NOW
        )


def test_events_go_out_in_order_in_portions_and_once(ledger: Engine) -> None:
    bus = Recorder()
    opted_out(ledger, "P1", "P2", "P3")

    counts = [relay(ledger, bus, NOW, limit=2) for _ in range(3)]  # type: ignore[arg-type] # publishes is all it does

    assert counts == [2, 1, 0]
    events = [decode(message.headers, message.content_type, message.body) for message in bus.sent]
    assert [event.data.model_dump()["patient"] for event in events] == ["P1", "P2", "P3"]
    assert {(event.source, event.time) for event in events} == {(SOURCE, NOW)}
    assert [message.routing_key for message in bus.sent] == ["patient.opted_out"] * 3


def test_what_was_not_confirmed_goes_out_again_with_the_same_id(ledger: Engine) -> None:
    bus = Recorder(refusals=1)
    opted_out(ledger, "P1")

    with pytest.raises(BusError):
        relay(ledger, bus, NOW)  # type: ignore[arg-type] # as above
    with ledger.connect() as conn:
        assert outbox.waiting(conn) == (1, NOW)
    relay(ledger, bus, NOW)  # type: ignore[arg-type] # as above

    first, second = (decode(message.headers, message.content_type, message.body) for message in bus.sent)
    assert first.id == second.id
    with ledger.connect() as conn:
        assert outbox.waiting(conn) == (0, None)


def test_rolled_back_facts_are_never_told(ledger: Engine) -> None:
    with ledger.connect() as conn, conn.begin() as transaction:
        outbox.add(conn, "patient.opted_out", {"patient": "P1", "source": "reply", "at": NOW}, NOW)
        transaction.rollback()

    assert relay(ledger, Recorder(), NOW) == 0  # type: ignore[arg-type] # as above


def test_events_reach_a_queue_of_rabbitmq(ledger: Engine, amqp_url: str) -> None:
    bus = AmqpBus(amqp_url, {"listener": ("patient.*",)})
    opted_out(ledger, "P1", "P2")

    relay(ledger, bus, NOW)

    assert bus.depth("listener") == 2
    bus.close()


def test_the_next_events_are_found_by_their_index_however_many_were_published(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)
    opted_out(engine, *(f"P{number}" for number in range(3000)))
    relay(engine, Recorder(), NOW, limit=2990)  # type: ignore[arg-type] # as above
    with engine.begin() as conn:
        conn.execute(text("ANALYZE outbox"))

    with engine.connect() as conn:
        plan = "\n".join(
            conn.scalars(
                text("EXPLAIN SELECT id, data FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 500")
            ).all()
        )

    assert "ix_outbox_unpublished" in plan
    engine.dispose()
