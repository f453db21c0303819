"""News on the wire: what the record system publishes is what the event contract reads, over HTTP and AMQP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from domain.events.codec import decode
from domain.events.envelope import BATCHED, split_batch
from ops.simulator.ehr import World
from ops.simulator.news import EXCHANGE, STRUCTURED, AmqpPublisher, News, is_binary
from tests.simulator.conftest import on_stage, run


def news(number: int, name: str = "appointment.booked") -> News:
    data = {
        "site": "harbor",
        "appointment_id": f"a{number}",
        "patient": {"site": "harbor", "mrn": "MRN1"},
        "service_line": "dental",
        "starts_at": "2025-02-03T16:00:00+00:00",
        "version": number,
    }
    return News(name, f"a{number}-booked", datetime(2025, 1, 8, 16, tzinfo=UTC), "p1", data)


def test_a_day_of_the_record_system_is_told_in_events_the_contract_accepts(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            scene.clock.pass_by(days=200)
            await scene.stage.advance()

            told = [call for call in scene.ours.calls if call[1] == "/events"]
            events = [event for _, _, _, body in told for event in split_batch(body)]
            names = {decode({}, STRUCTURED, event).kind.name for event in events}

            assert all(headers["Authorization"] == "Bearer let-me-in" for _, _, headers, _ in told)
            assert all(headers["Content-Type"] == BATCHED for _, _, headers, _ in told)
            assert {"appointment.booked", "appointment.fulfilled", "caregap.closed"} <= names

    run(scenario())


def test_an_event_refused_for_good_is_given_up_and_another_failure_is_repeated(
    tmp_path: Path, small_world: World
) -> None:
    async def scenario(status: int) -> tuple[int, int]:
        async with on_stage(tmp_path, small_world) as scene:
            scene.ours.status = status
            scene.clock.pass_by(days=20)
            await scene.stage.advance()
            scene.ours.status = 202
            await scene.stage.advance()
            return scene.stage.caller.given_up["event"], scene.stage.caller.answered["event"]

    given_up, answered = run(scenario(400))
    assert given_up > 0
    assert answered == 0
    kept, later = run(scenario(500))
    assert kept == 0
    assert later == given_up


@pytest.fixture
def channel(amqp_url: str) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    opened = connection.channel()
    opened.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    opened.queue_declare("heard", durable=True)
    opened.queue_bind("heard", EXCHANGE, "#")
    yield opened
    connection.close()


def test_amqp_carries_both_modes_and_the_contract_reads_both(amqp_url: str, channel: BlockingChannel) -> None:
    sent = [news(number) for number in range(40)]
    publisher = AmqpPublisher(amqp_url)

    async def publish() -> None:
        await publisher.publish(sent)
        await publisher.close()

    asyncio.run(publish())

    heard = []
    for item in sent:
        method, properties, body = channel.basic_get("heard", auto_ack=True)
        assert method is not None
        assert body is not None
        assert method.routing_key == "appointment.booked"
        event = decode(dict(properties.headers or {}), properties.content_type, body)
        heard.append((event.id, event.source, properties.content_type == STRUCTURED))
        assert orjson.loads(item.structured())["source"] == event.source
    assert [(item.id, not is_binary(item)) for item in sent] == [(id_, mode) for id_, _, mode in heard]
    assert {mode for _, _, mode in heard} == {True, False}
    assert publisher.confirmed == {"appointment.booked": 40}


def test_without_a_broker_news_waits_and_is_published_once_it_is_back(amqp_url: str, channel: BlockingChannel) -> None:
    publisher = AmqpPublisher("amqp://127.0.0.1:1/%2F?connection_attempts=1")

    async def scenario() -> None:
        await publisher.publish([news(1), news(2)])
        assert publisher.unconfirmed == 2
        assert publisher.failures == 1

        publisher._url = amqp_url
        await publisher.publish(())

        assert publisher.unconfirmed == 0
        await publisher.close()

    asyncio.run(scenario())

    assert [channel.basic_get("heard", auto_ack=True)[2] is not None for _ in range(3)] == [True, True, False]
