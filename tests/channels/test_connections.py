"""Connections are kept, bounded, proven and replaced, so that the network's habits cost no message."""

from __future__ import annotations

import asyncio
from pathlib import Path

import cases_email
import cases_sms
import pytest
from certificates import ca_file, server_context
from channel_harness import Provider, outgoing, sender_of
from scripted_relay import HANG, Relay

from channels.email import CHANNEL as EMAIL
from channels.kit.contract import Outcome, OutcomeKind, SideEffect

ENCRYPTED = {"REACTIVATE_SMTP_TLS": "starttls"}
LOGIN = {"REACTIVATE_SMTP_USERNAME": "care", "REACTIVATE_SMTP_PASSWORD": "open-sesame"}


async def mail(relay: Relay, number: int, environ: dict[str, str]) -> tuple[list[Outcome], Provider]:
    """Send so many mails at once over a relay."""
    async with cases_email.provider(relay) as up, sender_of("email", up, environ) as sender:
        messages = [outgoing(to=f"pat{n}@example.com", reference=f"r{n}") for n in range(number)]
        return list(await asyncio.gather(*map(sender.send, messages))), up


async def mail_one_by_one(relay: Relay, number: int) -> tuple[list[Outcome], Provider]:
    """Send so many mails, each after the last."""
    async with cases_email.provider(relay) as up, sender_of("email", up) as sender:
        return [await sender.send(outgoing(to="pat@example.com", reference=f"r{n}")) for n in range(number)], up


def taken(number: int) -> list[Outcome]:
    return [Outcome(OutcomeKind.ACCEPTED, f"r{n}@example.org") for n in range(number)]


def test_mails_share_a_bounded_number_of_connections() -> None:
    outcomes, relay = asyncio.run(mail(Relay(), 40, {"REACTIVATE_SMTP_CONNECTIONS": "3"}))

    assert outcomes == taken(40)
    assert relay.connections == 3
    assert {content.recipients[0] for content in relay.received} == {f"pat{n}@example.com" for n in range(40)}


def test_a_relay_that_ends_a_connection_between_mails_costs_none() -> None:
    outcomes, relay = asyncio.run(mail_one_by_one(Relay(messages_per_connection=2), 5))

    assert outcomes == taken(5)
    assert relay.connections == 3


def test_a_refused_mail_leaves_the_connection_usable() -> None:
    refusal = Relay({"dot": "552 5.3.4 too big"})

    outcomes, relay = asyncio.run(mail_one_by_one(refusal, 3))

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.REJECTED] * 3
    assert relay.connections == 1


def test_a_refused_recipient_leaves_the_connection_usable() -> None:
    outcomes, relay = asyncio.run(mail_one_by_one(Relay({"RCPT": "550 5.1.1 who"}), 3))

    assert [outcome.effect for outcome in outcomes] == [SideEffect.BAD_ADDRESS] * 3
    assert relay.connections == 1


def test_a_mail_goes_out_encrypted_and_proven(tmp_path: Path) -> None:
    relay = Relay(tls=server_context(), password="open-sesame")
    environ = {**ENCRYPTED, **LOGIN, "REACTIVATE_SMTP_CA_FILE": str(ca_file(tmp_path))}

    outcomes, up = asyncio.run(mail(relay, 1, environ))

    assert outcomes == taken(1)
    assert up.received[0].tls


def test_a_relay_with_an_unknown_certificate_gets_nothing() -> None:
    relay = Relay(tls=server_context())

    outcomes, up = asyncio.run(mail(relay, 1, ENCRYPTED))

    assert outcomes == [Outcome(OutcomeKind.RETRY, code="tls_failed", effect=SideEffect.PAUSE_CHANNEL)]
    assert up.received == []


def test_a_wrong_password_pauses_the_channel(tmp_path: Path) -> None:
    relay = Relay(tls=server_context(), password="open-sesame")
    environ = {**ENCRYPTED, **LOGIN, "REACTIVATE_SMTP_PASSWORD": "wrong"}
    environ["REACTIVATE_SMTP_CA_FILE"] = str(ca_file(tmp_path))

    (outcome,), up = asyncio.run(mail(relay, 1, environ))

    assert (outcome.kind, outcome.effect) == (OutcomeKind.RETRY, SideEffect.PAUSE_CHANNEL)
    assert outcome.code == "5.7.8"
    assert up.received == []


def test_mails_that_wait_too_long_for_a_connection_were_not_sent() -> None:
    slow = Relay({"dot": HANG})
    environ = {"REACTIVATE_SMTP_CONNECTIONS": "1", **cases_email.REACHING}

    outcomes, up = asyncio.run(mail(slow, 3, environ))

    kinds = [outcome.kind for outcome in outcomes]
    # the second may get the connection in the last instant and be written; whatever was, is uncertain
    assert kinds.count(OutcomeKind.UNCERTAIN) == len(up.received) >= 1
    assert kinds.count(OutcomeKind.RETRY) == 3 - len(up.received) >= 1


@pytest.mark.parametrize("number", [50])
def test_texts_go_out_concurrently_and_each_gets_its_own_answer(number: int) -> None:
    async def text() -> tuple[list[Outcome], Provider]:
        async with cases_sms.provider(cases_sms.created()) as up, sender_of("sms", up) as sender:
            messages = [outgoing(to=f"+1212555{n:04}", reference=f"r{n}") for n in range(100, 100 + number)]
            return list(await asyncio.gather(*map(sender.send, messages))), up

    outcomes, up = asyncio.run(text())

    assert outcomes == [Outcome(OutcomeKind.ACCEPTED, cases_sms.SID)] * number
    assert {call.form["StatusCallback"][0].rpartition("=")[2] for call in up.received} == {
        f"r{n}" for n in range(100, 100 + number)
    }


def test_no_more_mails_are_begun_at_once_than_there_are_connections() -> None:
    environ = {
        "REACTIVATE_SMTP_HOST": "localhost",
        "REACTIVATE_SMTP_TLS": "none",
        "REACTIVATE_SMTP_FROM": "care@example.org",
        "REACTIVATE_SMTP_CONNECTIONS": "3",
    }

    config = EMAIL.configure(environ, "https://reach.example.org")

    assert config is not None
    assert EMAIL.concurrency(config) == 3
