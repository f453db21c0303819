"""Open slots told by events: the newest news of a site's weeks counts, in whatever order and mode it comes."""

from __future__ import annotations

import threading
from datetime import date
from typing import Any

import pika
import pytest
from intake_house import NOW, House, event, house_on
from sqlalchemy import select
from waiting import wait_until

from domain.events.envelope import STRUCTURED
from domain.events.topology import TOPOLOGY
from domain.jobs import INTAKE
from domain.ledger.intake_log import event_seen
from domain.ledger.quarantine import quarantine
from domain.ledger.slots import SlotNews, open_slots, tell
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from ops.runtime.bus import EXCHANGE, AmqpBus

MONDAY = date(2026, 3, 2)


def slots_data(version: int = 1, open_: int = 12, **changes: Any) -> dict[str, Any]:
    told = {"service_line": "primary_care", "week": "2026-03-04", "open": open_}
    return {"site": "tucson", "version": version, "slots": [told]} | changes


def told(house: House) -> list[Any]:
    return house.all(open_slots.c.week, open_slots.c.service_line, open_slots.c.open)


def results(house: House) -> list[str]:
    with house.engine.connect() as conn:
        return list(conn.scalars(select(event_seen.c.result).order_by(event_seen.c.event_id)))


def test_a_site_tells_its_weeks_by_any_day_of_them_and_a_later_word_replaces_the_earlier(house: House) -> None:
    both = [
        {"service_line": "primary_care", "week": "2026-03-04", "open": 12},
        {"service_line": "dental", "week": "2026-03-09", "open": 3},
    ]

    house.intake.take([event("slots.published", slots_data(slots=both))])
    house.intake.take([event("slots.published", slots_data(2, 7))])

    assert told(house) == [(MONDAY, "primary_care", 7), (date(2026, 3, 9), "dental", 3)]


def test_news_in_any_order_ends_with_the_newest_and_the_older_is_counted_as_stale(house: House) -> None:
    for version, open_ in ((2, 7), (1, 12), (3, 5)):
        house.intake.take([event("slots.published", slots_data(version, open_))])

    assert told(house) == [(MONDAY, "primary_care", 5)]
    assert results(house) == ["stale", "applied", "applied"]


def test_within_one_batch_the_newest_counts_as_well(house: House) -> None:
    house.intake.take([event("slots.published", slots_data(version, version)) for version in (2, 3, 1)])

    assert told(house) == [(MONDAY, "primary_care", 3)]


def test_a_file_that_is_imported_later_replaces_what_an_event_told_with_the_time_of_its_change(house: House) -> None:
    timed = slots_data(updated_at="2026-03-01T08:00:00Z") | {"version": None}
    house.intake.take([event("slots.published", timed)])
    with house.engine.begin() as conn:
        tell(conn, [SlotNews(1, "primary_care", MONDAY, 40)], NOW)

    house.intake.take([event("slots.published", timed, number="again")])

    assert told(house) == [(MONDAY, "primary_care", 40)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (slots_data(site="nowhere"), "site: no site of the organisation has this key"),
        (slots_data(open_=-1), "slots.0.open: Input should be greater than or equal to 0"),
        (slots_data(slots=slots_data()["slots"] * 2), "data: slots: one line and week is there twice"),
        (slots_data(version=None), "data: version or updated_at is required"),
    ],
    ids=["site", "number", "twice", "version"],
)
def test_what_cannot_be_taken_in_is_held_with_its_reason(house: House, data: dict[str, Any], reason: str) -> None:
    house.intake.take([event("slots.published", data)])

    assert told(house) == []
    assert house.all(quarantine.c.id, quarantine.c.reason) == [(1, reason)]


def test_a_plain_client_tells_them_over_rabbitmq(amqp_url: str, postgres_url: str, vault: Vault) -> None:
    engine = open_ledger(postgres_url)
    house = house_on(engine, vault)
    bus, stop = AmqpBus(amqp_url), threading.Event()
    consumer = threading.Thread(target=bus.consume, args=(INTAKE, TOPOLOGY[INTAKE], house.intake.take, stop))
    consumer.start()
    client = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = client.channel()
    wait_until(lambda: has_consumer(client))

    for version, open_ in ((2, 7), (1, 12)):
        body = event("slots.published", slots_data(version, open_)).body
        channel.basic_publish(EXCHANGE, "slots.published", body, pika.BasicProperties(content_type=STRUCTURED))
    wait_until(lambda: house.count(event_seen) == 2)

    assert told(house) == [(MONDAY, "primary_care", 7)]
    stop.set()
    consumer.join(60)
    assert not consumer.is_alive()
    client.close()
    bus.close()
    engine.dispose()


def has_consumer(client: pika.BlockingConnection) -> bool:
    try:
        return bool(client.channel().queue_declare(INTAKE, passive=True).method.consumer_count)
    except pika.exceptions.ChannelClosedByBroker:
        return False
