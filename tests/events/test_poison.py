"""Whatever bytes a publisher puts on the exchange, or posts: they are held or taken, and what comes behind them is."""

from __future__ import annotations

import calendar
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson
import pika
import pytest
from intake_house import PATIENT, PREFIX, House, appointment_data, event, house_on
from sqlalchemy import Engine
from waiting import wait_until

from domain.events.envelope import STRUCTURED, EventProblem
from domain.events.topology import TOPOLOGY
from domain.jobs import INTAKE
from domain.ledger import quarantine
from domain.ledger.patients import patient
from domain.ledger.vault import Vault
from ops.runtime.bus_amqp import AmqpBus
from ops.runtime.bus_contract import EXCHANGE


class Poison(NamedTuple):
    """A message as it goes over the wire."""

    body: bytes
    content_type: str = STRUCTURED
    headers: Mapping[Any, Any] | None = None
    routing_key: Any = "patient.registered"


def told(**changes: Any) -> bytes:
    """A registration with changed data."""
    return event("patient.registered", PATIENT | {"mrn": "M-bad"} | changes, "bad").body


def written(value: bytes) -> bytes:
    """A registration whose version is written so."""
    return told().replace(b'"version":1', b'"version":' + value)


def nested(levels: int) -> dict[str, Any]:
    """A table in a table in a table."""
    table: dict[str, Any] = {}
    for _ in range(levels):
        table = {"a": table}
    return table


_BINARY = {
    "cloudEvents_specversion": "1.0",
    "cloudEvents_id": "b",
    "cloudEvents_source": "urn:example:ehr",
    "cloudEvents_type": PREFIX + "patient.registered",
}
POISONS = {
    "no bytes": Poison(b""),
    "any bytes": Poison(bytes(range(256))),
    "ten megabytes": Poison(b'{"a":"' + b"x" * 10_000_000 + b'"}'),
    "deep lists": Poison(b"[" * 100_000 + b"]" * 100_000),
    "deep objects": Poison(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "half a document": Poison(told()[:-1]),
    "two documents": Poison(told() * 2),
    "utf-16": Poison(told().decode().encode("utf-16")),
    "latin-1": Poison(told(name={"family": "Müller"}).decode().encode("latin-1")),
    "lone surrogate": Poison(told().replace(b"M-bad", b"M-\\ud800")),
    "nul": Poison(told().replace(b"M-bad", b"M-\\u0000")),
    "nul in a name": Poison(told(name={"family": "a\0b"})),
    "nul in an attribute": Poison(event("patient.registered", PATIENT, "bad", organisation="a\0b").body),
    "NaN": Poison(written(b"NaN")),
    "infinity": Poison(written(b"1e999")),
    "five thousand digits": Poison(written(b"9" * 5000)),
    "beyond 64 bits": Poison(written(str(2**64).encode())),
    "beyond the ledger's numbers": Poison(written(str(2**63).encode())),
    "below zero": Poison(written(b"-1")),
    "the same key twice": Poison(written(b'1,"version":"x"')),
    "a huge id": Poison(event("patient.registered", PATIENT, "x" * 100_000).body),
    "a version to come": Poison(told().replace(b'"1.0"', b'"2.0"')),
    "a version of old": Poison(told().replace(b'"1.0"', b'"0.3"')),
    "before all time": Poison(event("patient.registered", PATIENT, "bad", time="0001-01-01T00:00:00+23:59").body),
    "after all time": Poison(
        event("appointment.booked", appointment_data(starts_at="9999-12-31T23:59:59-23:59"), "bad").body
    ),
    "xml": Poison(b"<event/>", "application/cloudevents+xml"),
    "no content type": Poison(told(), ""),
    "a content type of any bytes": Poison(told(), b"application/\xff\xfe"),  # type: ignore[arg-type] # AMQP takes them
    "a routing key of any bytes": Poison(b"{", routing_key=b"patient.\xff\xfe"),
    "a routing key with nul": Poison(b"{", routing_key="patient.\0"),
    "a header of any bytes": Poison(b"{", headers={"h": b"\xff\x00"}),
    "a header's name of any bytes": Poison(b"{", headers={b"\xff": "x"}),
    "headers nested deep": Poison(b"{", headers={"h": nested(300)}),
    "a number of a header beyond 64 bits": Poison(b"{", headers={"h": 2**63 - 1}),
    "a header of milliseconds for seconds": Poison(b"{", headers={"h": datetime(2026, 1, 1, tzinfo=UTC)}),
    "an id that is no text": Poison(b"{}", "application/json", _BINARY | {"cloudEvents_id": 7}),
    "an id of any bytes": Poison(b"{}", "application/json", _BINARY | {"cloudEvents_id": b"\xff"}),
    "an extension of any bytes": Poison(b"{}", "application/json", _BINARY | {"cloudEvents_organisation": b"\xff"}),
    "an attribute that is a table": Poison(b"{}", "application/json", _BINARY | {"cloudEvents_id": {"a": 1}}),
}
# each by itself: what repeats another is held once
POISONS = {
    name: poison._replace(body=poison.body.replace(b'"bad"', f'"bad-{number}"'.encode()) + b" " * number)
    for number, (name, poison) in enumerate(POISONS.items())
}


@pytest.fixture
def listening(amqp_url: str, ledger: Engine, vault: Vault) -> Iterator[tuple[House, AmqpBus]]:
    """A house that takes in what is on the exchange, as the fleet does."""
    house = house_on(ledger, vault)
    bus, stop = AmqpBus(amqp_url, TOPOLOGY), threading.Event()
    bus.publish([])
    consumer = threading.Thread(target=bus.consume, args=(INTAKE, TOPOLOGY[INTAKE], house.intake.take, stop))
    consumer.start()
    yield house, bus
    stop.set()
    consumer.join(60)
    assert not consumer.is_alive()
    assert bus.depth(INTAKE) == 0
    bus.close()


def test_no_message_keeps_those_behind_it_from_being_taken_in(
    listening: tuple[House, AmqpBus], amqp_url: str, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, _ = listening
    # a publisher's mistake that pika would not make: milliseconds where AMQP has seconds
    monkeypatch.setattr("pika.data.calendar", SimpleNamespace(timegm=lambda parts: calendar.timegm(parts) * 1000))
    client = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = client.channel()
    channel.queue_declare(INTAKE, passive=True)

    for number, poison in enumerate(POISONS.values(), 1):
        properties = pika.BasicProperties(content_type=poison.content_type or None, headers=poison.headers)
        channel.basic_publish(EXCHANGE, poison.routing_key, poison.body, properties)
        good = event("patient.registered", PATIENT | {"mrn": f"M-{number}", "contact_points": []}, f"good-{number}")
        channel.basic_publish(EXCHANGE, "patient.registered", good.body, pika.BasicProperties(content_type=STRUCTURED))
        wait_until(lambda number=number: house.count(patient) >= number)

    # the last poison may be put aside after the event behind it was taken in
    wait_until(lambda: house.count(quarantine.quarantine) >= len(POISONS))
    with house.engine.begin() as conn:
        held = quarantine.list_held(conn, limit=1000)
        opened = [quarantine.open_held(conn, vault, each.id) for each in held]
    client.close()
    assert house.count(patient) == len(POISONS)
    assert {each.body for each in opened if each} == {each.body for each in POISONS.values()}


@pytest.mark.parametrize(
    "name", [each for each, poison in POISONS.items() if not isinstance(poison.content_type, bytes)]
)
def test_over_http_it_is_refused_and_what_is_posted_next_is_taken(small_house: House, name: str) -> None:
    poison = POISONS[name]
    headers = {
        str(key).lower().replace("cloudevents_", "ce-"): str(value) for key, value in (poison.headers or {}).items()
    }

    with pytest.raises(EventProblem):
        small_house.intake.take_posted("http:/events", headers | {"content-type": poison.content_type}, poison.body)
    small_house.intake.take_posted("http:/events", {"content-type": STRUCTURED}, orjson.dumps(_good()))

    assert small_house.count(patient) == 1
    assert small_house.count(quarantine.quarantine) == 1


def _good() -> Any:
    return orjson.loads(event("patient.registered", PATIENT, "good").body)
