"""Intake: what publishers send becomes facts of the ledger, once; what cannot is kept and answered."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pika
import pytest
from sqlalchemy import Engine, func, insert, select, update
from sqlalchemy.exc import OperationalError
from waiting import wait_until

from domain.events.codec import SOURCE
from domain.events.envelope import STRUCTURED, EventProblem
from domain.events.topology import TOPOLOGY
from domain.jobs import INTAKE
from domain.ledger import intake as ledger_intake
from domain.ledger import quarantine
from domain.ledger.appointments import appointment, care_gap
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.consents import consent
from domain.ledger.inbound import receipt, reply
from domain.ledger.intake_log import event_seen
from domain.ledger.organisations import organisation, site, site_line
from domain.ledger.outbox import outbox
from domain.ledger.patients import patient
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from ops.runtime.bus import EXCHANGE, AmqpBus, BusMessage
from workers.intake import Intake
from workers.intake_items import parts, read

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PREFIX = "org.reactivation."


class StoppedClock:
    at = NOW

    def now(self) -> datetime:
        return self.at


@dataclass
class House:
    """An intake on a fresh ledger with one site, and what it hinted at."""

    intake: Intake
    engine: Engine
    clock: StoppedClock
    replies: list[int]
    receipts: list[int]

    def count(self, table: Any, *where: Any) -> int:
        with self.engine.connect() as conn:
            return conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one()

    def all(self, *columns: Any) -> list[Any]:
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(select(*columns).order_by(columns[0]))]


def furnish(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(
            insert(organisation).values(
                id=1, key="ponderosa", name="Ponderosa Health", phone="+15555550100", postal_address="1 Example Way"
            )
        )
        conn.execute(
            insert(site).values(organisation_id=1, key="tucson", name="Tucson", zone="America/Phoenix", state="AZ")
        )
        number = conn.scalars(select(site.c.id)).one()
        conn.execute(insert(site_line).values(site_id=number, service_line="primary_care"))


def house_on(engine: Engine, vault: Vault) -> House:
    furnish(engine)
    replies: list[int] = []
    receipts: list[int] = []
    clock = StoppedClock()
    intake = Intake(engine, vault, clock, on_replies=replies.extend, on_receipts=receipts.extend)
    return House(intake, engine, clock, replies, receipts)


@pytest.fixture
def house(ledger: Engine, vault: Vault) -> House:
    return house_on(ledger, vault)


@pytest.fixture
def small_house(sqlite_url: str, vault: Vault) -> Iterator[House]:
    """On SQLite only: where the store makes no difference."""
    engine = open_ledger(sqlite_url)
    yield house_on(engine, vault)
    engine.dispose()


PATIENT = {
    "site": "tucson",
    "mrn": "M-1",
    "name": {"given": "Ana", "family": "Example"},
    "contact_points": [{"system": "phone", "value": "+15205550123"}, {"system": "email", "value": "ana@example.com"}],
    "language": "es",
    "address": {"state": "AZ"},
    "version": 1,
}


TOUCH_SENT = {"touch": 1, "channel": "sms", "kind": "outreach", "step": 0}


def appointment_data(number: str = "A-1", version: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "site": "tucson",
        "appointment_id": number,
        "version": version,
        "patient": {"mrn": "M-1", "site": "tucson"},
        "service_line": "primary_care",
        "starts_at": "2026-04-01T16:00:00Z",
    } | changes


def event(name: str, data: dict[str, Any], number: str | None = None, **attributes: Any) -> BusMessage:
    document = {
        "specversion": "1.0",
        "id": number or f"{name}-{data.get('appointment_id', '')}-{data.get('version', '')}",
        "source": "urn:example:ehr",
        "type": PREFIX + name,
        "data": data,
    } | attributes
    return BusMessage(name, orjson.dumps(document), STRUCTURED)


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


def test_a_held_event_is_replayed_once_its_site_exists(house: House) -> None:
    house.intake.take([event("patient.registered", PATIENT | {"site": "yuma"})])
    with house.engine.connect() as conn:
        (held,) = quarantine.list_held(conn)

    (still,) = house.intake.replay([held.id])
    with house.engine.begin() as conn:
        conn.execute(
            insert(site).values(organisation_id=1, key="yuma", name="Yuma", zone="America/Phoenix", state="AZ")
        )
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


def choice(name: str, number: str, **changes: Any) -> BusMessage:
    data = {
        "contact_point": {"system": "phone", "value": "(520) 555-0123"},
        "source": "portal",
        "at": "2026-02-20T10:00:00Z",
    }
    return event(name, data | changes, number)


def test_a_revocation_stops_everything_and_a_later_grant_does_not_lift_it(house: House) -> None:
    house.intake.take([event("patient.registered", PATIENT)])

    house.intake.take([choice("consent.revoked", "c1")])
    house.intake.take([choice("consent.granted", "c2", channel="sms", at="2026-02-21T10:00:00Z")])

    assert house.count(suppression, suppression.c.lifted_at.is_(None)) == 2
    assert house.all(consent.c.channel, consent.c.status) == [("sms", "granted")]
    assert "patient.opted_out" in {row[1] for row in house.all(outbox.c.id, outbox.c.type)}


def test_a_revocation_of_a_number_nobody_knows_yet_is_kept(house: House) -> None:
    house.intake.take([choice("consent.revoked", "c1")])

    assert house.count(suppression) == 1


def test_the_newest_choice_about_a_channel_counts_and_all_are_kept(house: House) -> None:
    revoked = choice("consent.revoked", "c2", channel="sms", scope="channel", at="2026-02-22T10:00:00Z")
    granted = choice("consent.granted", "c1", channel="sms")

    house.intake.take([revoked, granted])

    assert house.all(consent.c.channel, consent.c.status) == [("sms", "revoked")]
    assert sorted(row[1] for row in house.all(choice_event.c.id, choice_event.c.kind)) == ["granted", "revoked"]
    assert house.count(suppression) == 0


@pytest.mark.parametrize("is_grant_first", [True, False])
def test_of_a_grant_and_a_revocation_at_one_instant_the_revocation_counts(house: House, is_grant_first: bool) -> None:
    told = [
        choice("consent.granted", "c1", channel="sms"),
        choice("consent.revoked", "c2", channel="sms", scope="channel"),
    ]

    house.intake.take(told if is_grant_first else told[::-1])

    assert house.all(consent.c.channel, consent.c.status) == [("sms", "revoked")]


def test_a_newer_grant_outlives_a_revocation_that_comes_late(house: House) -> None:
    house.intake.take([choice("consent.granted", "c2", channel="sms", at="2026-02-22T10:00:00Z")])

    house.intake.take([choice("consent.revoked", "c1", channel="sms", scope="channel")])

    assert house.all(consent.c.channel, consent.c.status) == [("sms", "granted")]


def test_a_choice_dated_in_the_future_counts_from_when_we_heard_of_it(house: House) -> None:
    house.intake.take([choice("consent.granted", "c1", channel="sms", at="2099-01-01T00:00:00Z")])
    (told,) = house.all(consent.c.since)

    house.intake.take([choice("consent.revoked", "c2", channel="sms", scope="channel", at="2099-01-02T00:00:00Z")])

    assert told == (NOW,)
    assert house.all(consent.c.status, consent.c.since) == [("revoked", NOW)]


def wrote(text: str, number: str, at: datetime | None, **attributes: Any) -> BusMessage:
    data = {
        "channel": "sms",
        "provider_id": f"SM{number}",
        "sender": {"system": "phone", "value": "+15205550123"},
        "text": text,
    }
    dated = {} if at is None else {"time": at.isoformat()}
    return event("reply.received", data, number, **dated, **attributes)


def test_a_start_that_a_gateway_delivers_late_does_not_lift_the_stop_written_after_it(house: House) -> None:
    house.intake.take([event("patient.registered", PATIENT), wrote("STOP", "r2", NOW - HOUR)])
    house.clock.at = NOW + HOUR

    house.intake.take([wrote("START", "r1", NOW - 2 * HOUR)])

    assert house.count(suppression, suppression.c.lifted_at.is_(None)) == 2
    assert house.all(reply.c.id, reply.c.received_at) == [(1, NOW - HOUR), (2, NOW - 2 * HOUR)]


def test_a_start_posted_over_http_is_dated_by_its_event_as_well(house: House) -> None:
    house.intake.take([event("patient.registered", PATIENT), wrote("STOP", "r2", NOW - HOUR)])

    house.clock.at = NOW + HOUR
    late = wrote("START", "r1", NOW - 2 * HOUR)
    house.intake.take_posted("http:/events", {"content-type": STRUCTURED}, late.body)

    assert house.count(suppression, suppression.c.lifted_at.is_(None)) == 2


def test_a_gateways_clock_that_is_ahead_makes_no_future(house: House) -> None:
    house.intake.take([event("patient.registered", PATIENT), wrote("START", "r1", NOW + 9 * HOUR)])
    house.clock.at = NOW + HOUR

    house.intake.take([wrote("STOP", "r2", None)])

    assert house.count(suppression, suppression.c.lifted_at.is_(None)) == 2
    assert {row[1] for row in house.all(choice_event.c.id, choice_event.c.at)} == {NOW, NOW + HOUR}


@pytest.mark.parametrize("told_at", [None, NOW + timedelta(days=300)])
def test_a_start_replayed_from_quarantine_is_dated_no_later_than_it_came(
    house: House, told_at: datetime | None
) -> None:
    house.intake.take([event("patient.registered", PATIENT, organisation="ponderosa")])
    house.intake.take([wrote("START", "r1", told_at, organisation="mesa")])
    with house.engine.begin() as conn:
        conn.execute(update(quarantine.quarantine).values(received_at=NOW - 2 * HOUR))
        conn.execute(
            insert(organisation).values(id=2, key="mesa", name="Mesa", phone="+15555550101", postal_address="2 Way")
        )
        conn.execute(
            insert(site).values(organisation_id=2, key="mesa", name="Mesa", zone="America/Phoenix", state="AZ")
        )
    house.intake.take([event("patient.registered", PATIENT | {"site": "mesa"}, "p2", organisation="mesa")])
    house.intake.take([wrote("STOP", "r2", NOW - HOUR, organisation="mesa")])

    (replayed,) = house.intake.replay([1])

    assert replayed.problem is None
    assert house.count(reply) == 2
    assert house.count(suppression, suppression.c.lifted_at.is_(None)) == 2


def test_a_choice_about_something_that_is_no_number_is_refused_without_repeating_it(house: House) -> None:
    house.intake.take([choice("consent.revoked", "c1", contact_point={"system": "phone", "value": "not a number"})])

    with house.engine.connect() as conn:
        (row,) = quarantine.list_held(conn)
    assert row.reason == "contact_point.value: no phone number or mail address that can be used"


def test_replies_and_receipts_of_a_gateway_are_stored_once_and_hinted_at(house: House) -> None:
    sender = {"system": "phone", "value": "+15205550123"}
    nonsense = {"channel": "sms", "provider_id": "SM1", "sender": sender, "text": "my cat ate my phone"}
    stop = {"channel": "sms", "provider_id": "SM2", "sender": sender, "text": "STOP"}
    delivered = {"channel": "sms", "provider_ref": "SM0", "status": "delivered"}
    messages = [
        event("patient.registered", PATIENT),
        event("reply.received", nonsense, "r1"),
        event("reply.received", stop, "r2"),
        event("receipt.received", delivered, "r3"),
    ]

    house.intake.take(messages * 2)

    assert house.count(reply) == 2
    assert house.count(receipt) == 1
    assert house.count(suppression) == 2
    assert (len(house.replies), len(house.receipts)) == (1, 1)


def test_a_reply_is_for_the_organisation_its_event_names(house: House) -> None:
    with house.engine.begin() as conn:
        conn.execute(
            insert(organisation).values(id=2, key="mesa", name="Mesa", phone="+15555550101", postal_address="2 Way")
        )
        conn.execute(
            insert(site).values(organisation_id=2, key="mesa", name="Mesa", zone="America/Phoenix", state="AZ")
        )
    sender = {"system": "phone", "value": "+15205550123"}
    stop = {"channel": "sms", "provider_id": "SM2", "sender": sender, "text": "STOP"}
    house.intake.take([event("patient.registered", PATIENT, "p1", organisation="ponderosa")])
    house.intake.take([event("patient.registered", PATIENT | {"site": "mesa"}, "p2", organisation="mesa")])

    house.intake.take([event("reply.received", stop, "r1", organisation="mesa")])

    assert house.all(reply.c.organisation_id, reply.c.intent) == [(2, "opt_out")]
    assert {row[0] for row in house.all(suppression.c.organisation_id)} == {2}


@pytest.mark.parametrize(
    ("channel", "code", "effect"),
    [
        ("sms", "21610", "opted_out"),
        ("sms", "30006", "bad_address"),
        ("sms", "30007", None),
        ("sms", None, None),
        ("email", "5.1.1", "bad_address"),
        ("email", "5.7.26", "pause_channel"),
        ("pigeon", "21610", None),
    ],
)
def test_an_error_code_of_a_gateway_means_what_it_means_to_its_channel(
    small_house: House, channel: str, code: str | None, effect: str | None
) -> None:
    report = {"channel": channel, "provider_ref": "SM0", "status": "undelivered", "error_code": code}

    small_house.intake.take([event("receipt.received", report, "r1")])

    assert small_house.all(receipt.c.error_code, receipt.c.effect) == [(code, effect)]


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
