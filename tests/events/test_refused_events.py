"""What cannot be taken in is kept, sealed, with its reason; it is answered, and can be replayed or dismissed."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from intake_house import NOW, PATIENT, PREFIX, House, appointment_data, event, open_site
from sqlalchemy import select
from sqlalchemy.exc import PendingRollbackError, ResourceClosedError

from domain.events.codec import SOURCE
from domain.events.envelope import STRUCTURED, EventProblem
from domain.ledger import intake as ledger_intake
from domain.ledger import quarantine
from domain.ledger.intake_log import event_seen
from domain.ledger.outbox import outbox
from domain.ledger.patients import patient
from domain.ledger.vault import Vault
from ops.runtime.bus import BusMessage

TOUCH_SENT = {"touch": 1, "channel": "sms", "kind": "outreach", "step": 0}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (BusMessage("appointment.booked", b"\x00\xff\xfe", "application/octet-stream"), "not a CloudEvent"),
        (BusMessage("x", b"{", STRUCTURED), "body: not JSON"),
        (event("appointment.eaten", appointment_data()), "type: unknown"),
        (event("appointment.booked", appointment_data(site=7)), "site: "),
        (event("touch.sent", TOUCH_SENT, "x", source=SOURCE), None),
        (event("touch.sent", TOUCH_SENT, "x"), "type: one that only"),
        (event("patient.opted_out", {}, "x", type=PREFIX + "touch.sent"), "touch: is required"),
        (BusMessage("touch.sent", b"{", STRUCTURED), "body: not JSON"),
        (
            BusMessage("touch.sent", event("patient.registered", PATIENT | {"mrn": "M-8"}, "x").body, STRUCTURED),
            "routing key: one that only",
        ),
        (
            BusMessage("odd.key", event("touch.sent", TOUCH_SENT).body, STRUCTURED),
            "type: one that only",
        ),
        (event("appointment.booked", appointment_data(site="nowhere")), ""),
        (event("patient.registered", PATIENT, organisation="somebody-else"), "organisation: unknown"),
    ],
    ids=[
        *("bytes", "json", "unknown", "invalid", "ours", "forged", "forged data", "forged bytes", "our key"),
        *("odd key", "site", "organisation"),
    ],
)
def test_what_cannot_be_taken_in_is_held_with_its_reason_and_answered(
    house: House, vault: Vault, message: BusMessage, reason: str | None
) -> None:
    house.intake.take([message, event("patient.registered", PATIENT | {"mrn": "M-9"}, "good")])

    assert house.count(patient) == 1
    if reason is None:
        assert house.count(quarantine.quarantine) == 0
        return
    with house.engine.begin() as conn:
        (row,) = quarantine.list_held(conn)
        held = quarantine.open_held(conn, vault, row.id)
    assert row.reason.startswith(reason)
    assert row.source == f"amqp:{message.routing_key}"
    assert held is not None
    assert (held.body, held.content_type) == (message.body, message.content_type)
    ((kind, data),) = house.all(outbox.c.type, outbox.c.data)
    assert (kind, data["quarantine_id"], data["reason"]) == ("rejected.event", row.id, row.reason)


def test_what_is_held_is_encrypted(small_house: House) -> None:
    small_house.intake.take([event("patient.registered", PATIENT | {"site": "nowhere"})])

    with small_house.engine.connect() as conn:
        row = conn.execute(select(quarantine.quarantine)).one()
    assert b"Ana" not in row.body
    assert b"Ana" not in row.headers
    assert "Ana" not in row.reason


def test_a_redelivered_refusal_is_held_once(house: House) -> None:
    messages = [BusMessage("x", b"{", STRUCTURED), event("appointment.eaten", appointment_data())]

    house.intake.take(messages)
    house.intake.take(messages)

    assert house.count(quarantine.quarantine) == 2
    assert house.count(outbox) == 2


def test_one_event_that_cannot_be_applied_never_stops_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = ledger_intake.take_patients

    def fragile(conn: Any, vault: Any, news: Any, now: Any) -> Any:
        if any(each.mrn == "M-5" for each in news):
            raise ValueError("Ana Example broke it")
        return real(conn, vault, news, now)

    monkeypatch.setattr(ledger_intake, "take_patients", fragile)
    with caplog.at_level(logging.DEBUG):
        house.intake.take([event("patient.registered", PATIENT | {"mrn": f"M-{n}"}, f"p-{n}") for n in range(10)])

    assert house.count(patient) == 9
    with house.engine.connect() as conn:
        (row,) = quarantine.list_held(conn)
    assert row.reason == "could not be applied (ValueError)"
    results = dict(house.all(event_seen.c.event_id, event_seen.c.result))
    assert [number for number, result in results.items() if result == "quarantined"] == ["p-5"]
    assert len(results) == 10
    assert "Ana" not in caplog.text


def test_an_event_that_fails_once_is_taken_and_not_held(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = ledger_intake.take_patients, iter([ValueError("a connection going away")])

    def fragile(conn: Any, vault: Any, news: Any, now: Any) -> Any:
        for error in failures:
            raise error
        return real(conn, vault, news, now)

    monkeypatch.setattr(ledger_intake, "take_patients", fragile)

    house.intake.take([event("patient.registered", PATIENT, "p-1")])

    assert (house.count(patient), house.count(quarantine.quarantine)) == (1, 0)


@pytest.mark.parametrize("outage", [PendingRollbackError("lost amidst it"), ResourceClosedError("closed")], ids=repr)
def test_a_connection_that_went_away_amidst_an_event_is_not_the_events_fault(
    house: House, monkeypatch: pytest.MonkeyPatch, outage: Exception
) -> None:
    def away(*_: Any) -> Any:
        raise outage

    monkeypatch.setattr(ledger_intake, "take_patients", away)

    with pytest.raises(type(outage)):
        house.intake.take([event("patient.registered", PATIENT, "p-1")])

    assert (house.count(event_seen), house.count(quarantine.quarantine)) == (0, 0)


def test_a_held_event_is_replayed_once_its_site_exists(house: House) -> None:
    house.intake.take([event("patient.registered", PATIENT | {"site": "yuma"})])
    with house.engine.connect() as conn:
        (held,) = quarantine.list_held(conn)

    (still,) = house.intake.replay([held.id])
    with house.engine.begin() as conn:
        open_site(conn, "yuma")
    (replayed,) = house.intake.replay([held.id])
    (again,) = house.intake.replay([held.id])

    assert still.problem is not None
    assert replayed.problem is None
    assert again.problem == "not held: no such message, or it was settled"
    assert house.count(patient) == 1
    assert house.all(quarantine.quarantine.c.state) == [("replayed",)]
    assert house.all(event_seen.c.event_id, event_seen.c.result) == [("patient.registered--1", "applied")]
    assert house.count(outbox) == 1


def test_a_replay_that_fails_stays_held_with_its_new_reason_and_stays_noted(house: House) -> None:
    house.intake.take([BusMessage("x", b"{", STRUCTURED), event("appointment.booked", appointment_data())])
    with house.engine.connect() as conn:
        numbers = [row.id for row in quarantine.list_held(conn)]

    replayed = house.intake.replay(numbers)

    assert all(each.problem for each in replayed)
    assert house.count(quarantine.quarantine, quarantine.quarantine.c.state == "held") == 2
    assert {row[1] for row in house.all(event_seen.c.event_id, event_seen.c.result)} == {"quarantined"}


def test_a_dismissed_message_is_held_no_more(small_house: House) -> None:
    small_house.intake.take([BusMessage("x", b"{", STRUCTURED)])

    with small_house.engine.begin() as conn:
        (row,) = quarantine.list_held(conn)
        settled = quarantine.settle(conn, [row.id], "dismissed", NOW)
        left = quarantine.list_held(conn)

    assert (settled, list(left)) == (1, [])


def test_over_http_the_publisher_hears_what_is_wrong_also_when_it_repeats_itself(house: House) -> None:
    headers = {"content-type": STRUCTURED}
    bad = event("patient.registered", PATIENT | {"site": "nowhere"}).body
    good = event("patient.registered", PATIENT, "good").body

    for _ in range(2):
        with pytest.raises(EventProblem):
            house.intake.take_posted("http:/events", headers, bad)
    for _ in range(2):
        house.intake.take_posted("http:/events", headers, good)

    assert house.count(patient) == 1
    assert house.count(quarantine.quarantine) == 1
