"""Provider webhooks over a real socket: proven, stored, answered; and what happens when one of these fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from household import NOW, STRANGER, count, row, rows, send
from rulebooks import rules_from
from sqlalchemy import Engine
from waiting import wait_until
from webserver import AUTH_TOKEN, PUBLIC_URL, SMS_ENVIRON, Serve, Web, signed, start_web

from channels.kit import twilio_signature
from channels.kit.contract import WebhookRequest
from channels.kit.discovery import providers
from domain.jobs import Job, apply_receipts, read_replies, send_answers
from domain.ledger import settling
from domain.ledger.attempts import attempt
from domain.ledger.choice_history import suppression
from domain.ledger.inbound import receipt, reply
from domain.ledger.touches import touch
from domain.ledger.vault import Vault


def test_a_published_signature_of_the_provider_is_accepted() -> None:
    # the worked example of twilio.com/docs/usage/security
    request = WebhookRequest(
        method="POST",
        url="https://example.com/myapp.php?foo=1&bar=2",
        headers={
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": "L/OH5YylLD5NRKLltdqwSvS0BnU=",
        },
        body=b"CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212",
    )

    assert twilio_signature.is_valid("12345", request)


def test_the_rules_of_the_organisation_say_how_far_a_texted_stop_reaches(
    ledger: Engine, vault: Vault, serve: Serve, tmp_path: Path
) -> None:
    acknowledged = "acknowledged_by: Jo Doe, acknowledged_on: 2026-01-05, reason: patients ask for it"
    limit = f"{{row: opting_out.scope, {acknowledged}, limit: {{scope: calls_and_texts}}}}"
    web = start_web(ledger, vault, serve, rules=rules_from(tmp_path, f"override:\n  - {limit}\n"))

    web.inbound("STOP")

    assert {each["channel"] for each in rows(ledger, suppression) if each["patient_id"] is not None} == {"phone"}


def test_stop_is_in_force_before_it_is_answered(ledger: Engine, web: Web) -> None:
    answer = web.inbound("STOP")

    assert len(rows(ledger, suppression, lifted_at=None)) == 3
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    assert answer.text.endswith("<Response/>")
    (planned,) = rows(ledger, touch, kind="answer")
    wait_until(lambda: web.jobs)
    assert web.jobs == [send_answers("sms", (planned["id"],))]


def test_a_stop_that_the_provider_answered_is_in_force_and_not_answered_again(ledger: Engine, web: Web) -> None:
    sid = "SM" + "a" * 32
    web.provider("inbound", {"MessageSid": sid, "From": "+13035550101", "Body": "STOP", "OptOutType": "STOP"})

    assert len(rows(ledger, suppression, lifted_at=None)) == 3
    (answer,) = rows(ledger, touch, kind="answer")
    assert (answer["state"], answer["reason"]) == ("suppressed", "answered_by_network")


def test_the_time_from_arrival_to_commit_of_an_opt_out_is_measured(ledger: Engine, web: Web) -> None:
    web.inbound("STOP")
    web.inbound("hello", sid="SM" + "c" * 32)

    (seconds,) = web.opt_out_seconds
    assert 0 < seconds < 10


def test_free_text_is_stored_and_handed_to_the_replies_worker(ledger: Engine, web: Web) -> None:
    web.inbound("can I bring my dog?")

    (stored,) = rows(ledger, reply)
    assert stored["state"] == "new"
    wait_until(lambda: web.jobs)
    assert web.jobs == [read_replies((stored["id"],))]


def test_a_status_callback_is_stored_with_its_reference(ledger: Engine, web: Web) -> None:
    with ledger.begin() as conn:
        _, token = send(conn, web.household)

    answer = web.status("delivered", ref=token)

    (stored,) = rows(ledger, receipt)
    assert answer.status_code == 204
    assert (stored["reference"], stored["status"], stored["applied_at"]) == (token, "delivered", None)
    wait_until(lambda: web.jobs)
    assert web.jobs == [apply_receipts((stored["id"],))]


def test_what_a_provider_knows_of_an_opt_out_is_kept_with_the_receipt(ledger: Engine, web: Web) -> None:
    web.status("undelivered", code="21610")

    assert [each["effect"] for each in rows(ledger, receipt)] == ["opted_out"]


def test_receipts_that_come_together_are_handed_on_together(ledger: Engine, web: Web) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: web.status("sent", sid=f"SM{number:032x}"), range(64)))

    assert {each.status_code for each in answers} == {204}
    assert count(ledger, receipt) == 64
    wait_until(lambda: sum(len(job.ids) for job in web.jobs) == 64)
    assert len(web.jobs) < 40
    assert len({number for job in web.jobs for number in job.ids}) == 64


@pytest.mark.parametrize("token", ["", "another-token"])
def test_an_unproven_sender_is_refused_and_nothing_is_stored(ledger: Engine, web: Web, token: str) -> None:
    fields = {"MessageSid": "SM" + "a" * 32, "From": "+13035550101", "Body": "STOP"}

    answer = web.provider("inbound", fields, token=token)

    assert answer.status_code == 403
    assert (count(ledger, reply), count(ledger, suppression)) == (0, 0)


def test_a_signature_covers_the_query_too(ledger: Engine, web: Web) -> None:
    signed = web.client.build_request("POST", "/webhooks/sms/status?ref=a")
    proven = web.status("sent", ref="a" * 26)

    replayed = web.client.post(
        "/webhooks/sms/status?ref=" + "b" * 26,
        content=proven.request.content,
        headers=dict(proven.request.headers.items()),
    )

    assert signed.url.query == b"ref=a"
    assert (proven.status_code, replayed.status_code) == (204, 403)
    assert count(ledger, receipt) == 1


def test_a_proven_message_that_cannot_be_read_is_refused_without_its_value(ledger: Engine, web: Web) -> None:
    answer = web.provider("inbound", {"MessageSid": "not a sid of 303-555-0101", "From": "+13035550101", "Body": "x"})

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "MessageSid" in answer.json()["detail"]
    assert "303" not in answer.text


def test_too_large_a_body_is_refused_whether_it_says_so_or_not(ledger: Engine, web: Web) -> None:
    def drip() -> Any:
        for _ in range(70):
            yield b"x" * 1024

    declared = web.client.post("/webhooks/sms/inbound", content=b"x" * 70_000)
    streamed = web.client.post("/webhooks/sms/inbound", content=drip())

    assert (declared.status_code, streamed.status_code) == (413, 413)


@pytest.mark.parametrize("path", ["/webhooks/sms/nothing", "/webhooks/pigeon/inbound", "/nothing"])
def test_an_address_nobody_serves_is_not_found(ledger: Engine, web: Web, path: str) -> None:
    assert web.client.post(path).status_code == 404


def test_the_same_webhook_at_once_and_again_changes_nothing_more(ledger: Engine, web: Web) -> None:
    start = threading.Barrier(6)

    def stop(_: int) -> int:
        start.wait(timeout=60)
        return web.inbound("STOP").status_code

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(stop, range(6)))
    web.inbound("STOP")

    assert answers == [200] * 6
    assert (count(ledger, reply), count(ledger, suppression), len(rows(ledger, touch, kind="answer"))) == (1, 3, 1)


def test_a_strangers_stop_is_enforced(ledger: Engine, web: Web) -> None:
    assert web.inbound("ALTO", sender=STRANGER).status_code == 200

    (kept,) = rows(ledger, suppression)
    assert kept["patient_id"] is None


def test_a_broken_broker_fails_no_webhook(ledger: Engine, vault: Vault, serve: Serve) -> None:
    def unavailable(_: Job) -> None:
        raise ConnectionError("the broker is gone")

    web = start_web(ledger, vault, serve, jobs=unavailable)

    assert [web.inbound("STOP").status_code, web.status("sent").status_code] == [200, 204]
    assert (count(ledger, reply), count(ledger, receipt)) == (1, 1)


def test_every_answer_is_strict_and_sets_no_cookie(ledger: Engine, web: Web) -> None:
    for answer in (web.inbound("hello"), web.client.get("/live"), web.client.get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["strict-transport-security"]
        assert "set-cookie" not in answer.headers
        assert "server" not in answer.headers


def test_no_log_line_repeats_what_a_patient_wrote(
    ledger: Engine, web: Web, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        web.inbound("I am Jane of 303-555-0101")

    said = capfd.readouterr()
    everything = caplog.text + said.out + said.err
    assert "Jane" not in everything.replace("test_no_log", "")
    assert "0101" not in everything


def test_the_stored_reply_belongs_to_the_number_it_came_from(ledger: Engine, web: Web) -> None:
    web.inbound("hello")

    (stored,) = rows(ledger, reply)
    assert row(ledger, reply, stored["id"])["contact_point_id"] == web.household.phone


def test_a_stop_is_in_force_though_another_provider_gave_the_same_number_to_a_message(
    ledger: Engine, vault: Vault, serve: Serve
) -> None:
    web, second = _with_two_providers(ledger, vault, serve)
    fields = {"MessageSid": "17", "From": "+13035550101", "To": "+13035550100"}

    web.inbound("thanks", sid="17")
    second("inbound", fields | {"Body": "STOP"})
    second("inbound", fields | {"Body": "STOP"})

    assert count(ledger, reply) == 2
    assert len(rows(ledger, suppression, lifted_at=None)) == 3


def test_a_receipt_without_our_reference_is_of_the_message_that_its_own_provider_took(
    ledger: Engine, vault: Vault, serve: Serve
) -> None:
    web, second = _with_two_providers(ledger, vault, serve)
    with ledger.begin() as conn:
        send(conn, web.household, 0, state="accepted", provider_ref="17")
        send(conn, web.household, 1, state="accepted", provider="sms_second", provider_ref="sms_second:17")

    web.status("delivered", sid="17")
    second("status", {"MessageSid": "17", "MessageStatus": "undelivered"})

    wait_until(lambda: count(ledger, receipt) == 2)
    with ledger.begin() as conn:
        settling.apply(conn, [each["id"] for each in rows(ledger, receipt)], NOW)
    assert [row(ledger, touch, each)["delivery"] for each in web.household.touches] == ["delivered", "undelivered"]


def test_each_provider_of_a_channel_has_routes_and_a_token_of_its_own(
    ledger: Engine, vault: Vault, serve: Serve
) -> None:
    web, _ = _with_two_providers(ledger, vault, serve)
    with ledger.begin() as conn:
        number, token = send(conn, web.household, state="uncertain", provider="sms_second")
    fields = {"MessageSid": "SM" + "c" * 32, "MessageStatus": "delivered"}

    def said(route: str, key: str) -> int:
        path, given = signed(f"/webhooks/{route}/status?ref={token}", fields, key)
        return web.client.post(path, **given).status_code

    refused = said("sms_second", AUTH_TOKEN), said("sms", "a-token-of-the-second")
    taken = said("sms_second", "a-token-of-the-second")
    with ledger.begin() as conn:
        settling.apply(conn, [each["id"] for each in rows(ledger, receipt)], NOW)

    assert (refused, taken) == ((403, 403), 204)
    assert (row(ledger, attempt, number)["state"], row(ledger, attempt, number)["provider"]) == (
        "accepted",
        "sms_second",
    )


def test_a_reply_tells_by_which_provider_it_came(ledger: Engine, vault: Vault, serve: Serve) -> None:
    web, second = _with_two_providers(ledger, vault, serve)

    web.inbound("HELP", sid="17")
    second("inbound", {"MessageSid": "17", "From": "+13035550101", "Body": "HELP"})

    assert {each["provider_id"]: each["provider"] for each in rows(ledger, reply)} == {
        "17": "sms",
        "sms_second:17": "sms_second",
    }


def _with_two_providers(
    ledger: Engine, vault: Vault, serve: Serve
) -> tuple[Web, Callable[[str, Mapping[str, str]], httpx.Response]]:
    """The application, and how the second provider calls it: kind of webhook and fields."""
    another = {name.replace("_SMS_", "_SMS_SECOND_"): value for name, value in SMS_ENVIRON.items()}
    another["REACTIVATE_SMS_SECOND_AUTH_TOKEN"] = "a-token-of-the-second"
    members = {
        name: (channel, channel.configure({**SMS_ENVIRON, **another}, PUBLIC_URL))
        for name, channel in providers().items()
        if channel.name == "sms"
    }
    web = start_web(ledger, vault, serve, channels=members)

    def call(kind: str, fields: Mapping[str, str]) -> httpx.Response:
        path, given = signed(f"/webhooks/sms_second/{kind}", fields, "a-token-of-the-second")
        return web.client.post(path, **given)

    return web, call
