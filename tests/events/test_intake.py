"""Intake: what publishers send becomes facts of the ledger, once and in whatever order and mode it comes."""

from __future__ import annotations

import json
import random
import threading
from datetime import UTC, datetime
from typing import Any

import orjson
import pika
import pytest
from intake_house import PATIENT, PREFIX, House, appointment_data, event, house_on
from sqlalchemy.exc import OperationalError
from waiting import wait_until

from domain.events.envelope import STRUCTURED
from domain.events.topology import TOPOLOGY
from domain.jobs import INTAKE
from domain.ledger import intake as ledger_intake
from domain.ledger import quarantine
from domain.ledger.appointments import appointment, care_gap
from domain.ledger.intake_log import event_seen
from domain.ledger.outbox import outbox
from domain.ledger.patients import patient
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from ops.runtime.bus import EXCHANGE, AmqpBus
from workers.intake_items import parts, read


def test_a_patient_and_an_appointment_of_one_batch_go_in_whatever_their_order(house: House) -> None:
    house.intake.take([event("appointment.booked", appointment_data()), event("patient.registered", PATIENT)])

    assert house.count(patient) == 1
    assert house.all(appointment.c.source_id, appointment.c.status) == [("A-1", "booked")]
    assert {row[1] for row in house.all(event_seen.c.event_id, event_seen.c.result)} == {"applied"}


def test_a_repeat_changes_nothing_in_the_same_batch_or_later(house: House) -> None:
    messages = [event("patient.registered", PATIENT), event("appointment.booked", appointment_data())]

    house.intake.take(messages * 3)
    before = house.all(appointment.c.id, appointment.c.version)
    house.intake.take(messages)

    assert house.all(appointment.c.id, appointment.c.version) == before
    assert house.count(event_seen) == 2
    assert house.count(outbox) == 0


def test_what_a_batch_comes_to_does_not_depend_on_where_the_transport_cut_it() -> None:
    told = [
        event("appointment.booked", appointment_data("A-1", 1)),
        event("appointment.booked", appointment_data("A-2", 1)),
        event("appointment.cancelled", appointment_data("A-1", 2)),
    ]
    items = [read("amqp", "amqp:test", each.headers, each.content_type, each.body) for each in told]

    by_transaction = [[item.key.id for item in part] for part in parts(items)]

    assert by_transaction == [["appointment.booked-A-1-1", "appointment.booked-A-2-1"], ["appointment.cancelled-A-1-2"]]


def test_news_in_any_order_ends_with_the_newest(house: House) -> None:
    steps = [
        event("appointment.booked", appointment_data(version=1)),
        event("appointment.rescheduled", appointment_data(version=2, starts_at="2026-04-02T16:00:00Z")),
        event("appointment.cancelled", appointment_data(version=3, starts_at="2026-04-02T16:00:00Z")),
    ]
    house.intake.take([event("patient.registered", PATIENT)])

    random.Random(7).shuffle(steps)  # noqa: S311 - any order will do
    steps.sort(key=lambda message: b"cancelled" not in message.body)
    for step in steps:
        house.intake.take([step])

    assert house.all(appointment.c.status, appointment.c.version) == [("cancelled", 3)]
    results = dict(house.all(event_seen.c.event_id, event_seen.c.result))
    assert sorted(results.values()) == ["applied", "applied", "stale", "stale"]


def test_while_the_ledger_is_away_nothing_is_acknowledged_or_quarantined(
    small_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("select 1", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(ledger_intake, "take_patients", away)
        with pytest.raises(OperationalError):
            small_house.intake.take([event("patient.registered", PATIENT)])

    assert small_house.count(quarantine.quarantine) == 0
    small_house.intake.take([event("patient.registered", PATIENT)])
    assert small_house.count(patient) == 1


def test_over_http_binary_mode_is_understood(small_house: House) -> None:
    headers = {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "urn:example:ehr",
        "ce-type": PREFIX + "patient.registered",
    }

    small_house.intake.take_posted("http:/events", headers, orjson.dumps(PATIENT))

    assert small_house.count(patient) == 1


def test_a_death_and_a_merge_arrive_as_events(house: House) -> None:
    house.intake.take([event("patient.registered", PATIENT | {"mrn": f"M-{n}"}, f"p-{n}") for n in (1, 2)])

    house.intake.take(
        [
            event(
                "patient.deceased",
                {"site": "tucson", "mrn": "M-1", "version": 5, "deceased_at": "2026-02-01T00:00:00Z"},
                "d",
            ),
            event(
                "patient.merged",
                {"site": "tucson", "mrn": "M-2", "version": 5, "into": {"site": "tucson", "mrn": "M-1"}},
                "m",
            ),
        ]
    )

    assert house.count(patient, patient.c.deceased_at.is_not(None)) >= 1
    assert house.count(quarantine.quarantine) == 0


def test_care_gaps_open_and_close_and_store_no_record_number(house: House) -> None:
    gap = {"site": "tucson", "mrn": "M-1", "measure": "a1c", "due_on": "2026-02-01", "version": 1}
    house.intake.take([event("patient.registered", PATIENT), event("caregap.opened", gap, "g1")])
    opened = house.all(care_gap.c.source_id, care_gap.c.closed_at)

    house.intake.take([event("caregap.closed", gap | {"version": 2}, "g2", time="2026-02-20T10:00:00Z")])

    ((source_id, closed_at),) = house.all(care_gap.c.source_id, care_gap.c.closed_at)
    assert opened == [(source_id, None)]
    assert closed_at == datetime(2026, 2, 20, 10, tzinfo=UTC)
    assert "M-1" not in source_id


def test_plain_clients_publish_in_both_modes_and_everything_ends_in_the_ledger(
    amqp_url: str, postgres_url: str, vault: Vault
) -> None:
    engine = open_ledger(postgres_url)
    house = house_on(engine, vault)
    bus, stop = AmqpBus(amqp_url), threading.Event()
    consumer = threading.Thread(target=bus.consume, args=(INTAKE, TOPOLOGY[INTAKE], house.intake.take, stop))
    client = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = client.channel()
    consumer.start()
    wait_until(lambda: has_consumer(client, INTAKE))
    attributes = {"specversion": "1.0", "source": "urn:example:ehr", "type": PREFIX + "appointment.booked"}

    channel.basic_publish(
        EXCHANGE,
        "patient.registered",
        event("patient.registered", PATIENT).body,
        pika.BasicProperties(content_type=STRUCTURED),
    )
    wait_until(lambda: house.count(patient) == 1)
    for prefix in ("cloudEvents_", "cloudEvents:"):
        headers = {prefix + name: value for name, value in (attributes | {"id": prefix}).items()}
        body = json.dumps(appointment_data(number=prefix)).encode()
        properties = pika.BasicProperties(content_type="application/json", headers=headers)
        channel.basic_publish(EXCHANGE, "appointment.booked", body, properties)
    channel.basic_publish(EXCHANGE, PREFIX + "wrong.key", b"\x00\xff\x00")
    wait_until(lambda: house.count(appointment) == 2 and house.count(quarantine.quarantine) == 1)

    stop.set()
    consumer.join(60)
    assert not consumer.is_alive()
    assert bus.depth(INTAKE) == 0
    client.close()
    bus.close()
    engine.dispose()


def has_consumer(client: pika.BlockingConnection, queue: str) -> bool:
    channel = client.channel()
    try:
        return channel.queue_declare(queue, passive=True).method.consumer_count > 0
    except pika.exceptions.ChannelClosedByBroker:
        return False
