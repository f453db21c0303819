"""Twilio's webhooks: only what the account's token signed is read, and it is read exactly."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.kit.contract import InboundReceipt, InboundReply, SideEffect, WebhookError, WebhookRequest
from channels.kit.twilio import SmsConfig
from channels.sms import CHANNEL

VECTORS = Path(__file__).parents[3] / "shared/data/providers/twilio/signature_vectors.json"
FORM = "application/x-www-form-urlencoded"
TOKEN = "token-of-the-test"
SID = "SM00000000000000000000000000000042"
STATUS_URL = "https://outreach.example.org/webhooks/sms/status?ref=abcdefghijklmnopqrstuvwx27"


def config(token: str = TOKEN, **more: str) -> SmsConfig:
    environ = {
        "REACTIVATE_SMS_URL": "https://api.example.com",
        "REACTIVATE_SMS_ACCOUNT_SID": "AC1",
        "REACTIVATE_SMS_AUTH_TOKEN": token,
        "REACTIVATE_SMS_FROM": "+12125550100",
    }
    found = CHANNEL.configure(environ | more, "https://outreach.example.org")
    assert found is not None
    return found


def signed(fields: dict[str, str], url: str = STATUS_URL, token: str = TOKEN, **headers: str) -> WebhookRequest:
    """A webhook, signed as Twilio's documentation says."""
    content = url + "".join(name + fields[name] for name in sorted(fields))
    signature = base64.b64encode(hmac.digest(token.encode(), content.encode(), hashlib.sha1)).decode()
    everything = {"content-type": FORM, "x-twilio-signature": signature, **headers}
    return WebhookRequest("POST", url, everything, urlencode(fields).encode())


def vectors() -> list[Any]:
    if not VECTORS.exists():
        reason = pytest.mark.skip(reason="the provider's signature vectors are not here (shared/data/providers/twilio)")
        return [pytest.param({}, {}, marks=reason, id="absent")]
    found = json.loads(VECTORS.read_text())
    by_name = {vector["name"]: vector for vector in found}
    return [pytest.param(vector, by_name, id=vector["name"]) for vector in found]


@pytest.mark.parametrize(("vector", "by_name"), vectors())
def test_the_providers_own_vectors(vector: dict[str, Any], by_name: dict[str, Any]) -> None:
    if "body" in vector:
        body, content_type = vector["body"].encode(), "application/json"
    else:
        params = by_name[vector.get("same_params_as", vector["name"])]["params"]
        body, content_type = urlencode([tuple(pair) for pair in params]).encode(), FORM
    headers = {"content-type": content_type, "x-twilio-signature": vector["signature"]}
    request = WebhookRequest("POST", vector["url"], headers, body)

    assert CHANNEL.verify(config(vector["token"]), request) is vector["valid"]
    assert not CHANNEL.verify(config("another-token"), request)
    assert not CHANNEL.verify(config(vector["token"]), WebhookRequest("POST", vector["url"], headers, body + b"x"))


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None)
@given(st.dictionaries(words, words, max_size=5))
def test_whatever_is_signed_is_valid_and_nothing_else(fields: dict[str, str]) -> None:
    request = signed(fields)
    changed = WebhookRequest(request.method, request.url, request.headers, request.body + b"&Injected=1")

    assert CHANNEL.verify(config(), request)
    assert not CHANNEL.verify(config(), changed)


@pytest.mark.parametrize(
    "port", [("https://example.org:443/x", "https://example.org/x"), ("http://example.org/x?a=1", "http://example.org:80/x?a=1")]
)  # fmt: skip
def test_the_provider_may_sign_the_url_with_or_without_its_port(port: tuple[str, str]) -> None:
    asked, as_signed = port
    request = signed({"Body": "hi"}, url=as_signed)

    assert CHANNEL.verify(config(), WebhookRequest("POST", asked, request.headers, request.body))


def test_a_signature_is_valid_for_its_url_only() -> None:
    request = signed({"MessageSid": SID, "MessageStatus": "delivered"})
    another = STATUS_URL.replace("27", "26")

    assert not CHANNEL.verify(config(), WebhookRequest("POST", another, request.headers, request.body))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-twilio-signature": ""},
        {"x-twilio-signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"x-twilio-signature": "é\udcff"},
        {"content-type": "text/plain"},
        {"content-type": "application/json"},
    ],
)
def test_a_request_with_other_headers_is_not_the_providers(headers: dict[str, str]) -> None:
    assert not CHANNEL.verify(config(), signed({"Body": "STOP"}, **headers))


@pytest.mark.parametrize("body", [b"\xff\xfe", b"&".join(b"a=%d" % n for n in range(300)), b"a=%ff"])
def test_a_body_that_is_no_form_is_not_the_providers(body: bytes) -> None:
    request = signed({})

    assert not CHANNEL.verify(config(), WebhookRequest("POST", request.url, request.headers, body))


@pytest.mark.parametrize("url", ["", "https://[", "no url", "https://example.org:99999999/?bodySHA256=\udcff"])
def test_a_strange_url_is_not_the_providers(url: str) -> None:
    headers = {"content-type": "application/json", "x-twilio-signature": "x"}

    assert not CHANNEL.verify(config(), WebhookRequest("POST", url, headers, b"{}"))


def test_a_reply_is_read() -> None:
    request = signed({"MessageSid": SID, "From": "+12125550123", "To": "+12125550100", "Body": "Sí, ¡gracias! 👍 & +"})

    assert CHANNEL.parse(config(), "inbound", request) == (
        InboundReply(provider_id=SID, sender="+12125550123", text="Sí, ¡gracias! 👍 & +"),
    )


@pytest.mark.parametrize(
    ("fields", "settings", "is_answered"),
    [
        ({"Body": "STOP"}, {}, False),
        ({"Body": "STOP", "OptOutType": "STOP"}, {}, True),
        ({"Body": " Stop. "}, {"REACTIVATE_SMS_PROVIDER_ANSWERS": "yes"}, True),
        ({"Body": "please stop texting me"}, {"REACTIVATE_SMS_PROVIDER_ANSWERS": "yes"}, False),
        ({"Body": "STOP", "To": "+18885550100"}, {}, True),
        ({"Body": "UNSTOP", "To": "+18335550100"}, {}, True),
        ({"Body": "HELP", "To": "+18885550100"}, {}, False),
        ({"Body": "STOP", "To": "+13035550100"}, {}, False),
    ],
)
def test_what_the_provider_or_a_toll_free_network_answered_is_told(
    fields: dict[str, str], settings: dict[str, str], is_answered: bool
) -> None:
    request = signed({"MessageSid": SID, "From": "+12125550123", **fields})

    (reply,) = CHANNEL.parse(config(**settings), "inbound", request)

    assert isinstance(reply, InboundReply)
    assert reply.answered_by_network is is_answered


def test_an_empty_reply_is_a_reply() -> None:
    (reply,) = CHANNEL.parse(config(), "inbound", signed({"MessageSid": SID, "From": "+12125550123", "Body": ""}))

    assert isinstance(reply, InboundReply)
    assert reply.text == ""


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("accepted", "unknown"),
        ("scheduled", "unknown"),
        ("queued", "unknown"),
        ("sending", "unknown"),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("undelivered", "undelivered"),
        ("failed", "undelivered"),
        ("canceled", "undelivered"),
    ],
)
def test_a_receipt_is_read(said: str, status: str) -> None:
    request = signed({"MessageSid": SID, "MessageStatus": said})

    assert CHANNEL.parse(config(), "status", request) == (
        InboundReceipt(provider_ref=SID, status=status, reference="abcdefghijklmnopqrstuvwx27"),
    )


@pytest.mark.parametrize(
    ("code", "effect"),
    [
        ("21610", SideEffect.OPTED_OUT),
        ("30005", SideEffect.BAD_ADDRESS),
        ("30006", SideEffect.BAD_ADDRESS),
        ("30034", SideEffect.PAUSE_CHANNEL),
        ("30003", None),
        ("30007", None),
        ("30036", None),
    ],
)
def test_a_receipt_tells_why_and_what_follows(code: str, effect: SideEffect | None) -> None:
    request = signed({"MessageSid": SID, "MessageStatus": "undelivered", "ErrorCode": code})

    (receipt,) = CHANNEL.parse(config(), "status", request)

    assert isinstance(receipt, InboundReceipt)
    assert (receipt.code, receipt.effect) == (code, effect)


def test_a_receipt_of_a_message_that_is_not_ours_has_no_reference() -> None:
    url = "https://outreach.example.org/webhooks/sms/status"

    (receipt,) = CHANNEL.parse(config(), "status", signed({"MessageSid": SID, "MessageStatus": "sent"}, url=url))

    assert isinstance(receipt, InboundReceipt)
    assert receipt.reference == ""


@pytest.mark.parametrize(
    ("kind", "fields", "named"),
    [
        ("inbound", {}, "From"),
        ("inbound", {"From": "+12125550123"}, "Body"),
        ("inbound", {"From": "+12125550123", "Body": "hi"}, "MessageSid"),
        ("inbound", {"From": "+12125550123", "Body": "hi", "MessageSid": "x" * 100}, "MessageSid"),
        ("status", {}, "MessageStatus"),
        ("status", {"MessageSid": SID, "MessageStatus": "received"}, "MessageStatus"),
        ("status", {"MessageStatus": "sent"}, "MessageSid"),
        ("status", {"MessageSid": SID, "MessageStatus": "failed", "ErrorCode": "many"}, "ErrorCode"),
        ("surprise", {}, "kind"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_field_alone(
    kind: str, fields: dict[str, str], named: str
) -> None:
    with pytest.raises(WebhookError) as raised:
        CHANNEL.parse(config(), kind, signed(fields))

    assert str(raised.value) == named


def test_a_reference_that_is_none_is_an_error() -> None:
    request = signed({"MessageSid": SID, "MessageStatus": "sent"}, url=STATUS_URL + "%00'")

    with pytest.raises(WebhookError, match="ref"):
        CHANNEL.parse(config(), "status", request)
