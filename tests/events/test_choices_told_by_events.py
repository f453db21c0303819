"""Consents, replies and receipts that arrive as events: whose they are, when they count from, and what they do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from intake_house import NOW, PATIENT, House, event, settle
from sqlalchemy import update

from domain.events.envelope import STRUCTURED
from domain.ledger import quarantine
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.consents import consent
from domain.ledger.inbound import receipt, reply
from domain.ledger.outbox import outbox
from ops.runtime.bus import BusMessage

HOUR = timedelta(hours=1)


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
    settle(house.engine, 2, "mesa", "mesa")
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
    settle(house.engine, 2, "mesa", "mesa")
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
