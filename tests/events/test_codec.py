"""CloudEvents on the wire: the conformance sets, both modes over both transports, and the limits."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import orjson
import pytest

from domain.events import asyncapi
from domain.events.codec import decode, encode, encode_binary
from domain.events.contract import TYPES, Direction, plain
from domain.events.envelope import MAX_BODY, STRUCTURED, EventProblem, read_envelope

ROOT = Path(__file__).parents[2]
SETS = ROOT.parent / "shared" / "data" / "cloudevents"
AT = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)

BOOKED = {
    "site": "tucson",
    "appointment_id": "A-1",
    "version": 7,
    "patient": {"mrn": "M-1", "site": "tucson"},
    "service_line": "primary_care",
    "starts_at": "2026-04-01T09:00:00-07:00",
}


def conformance(name: str) -> list[Any]:
    path = SETS / f"conformance_{name}-events.json"
    if not path.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the CloudEvents conformance sets are not here"))]
    return [pytest.param(each["event"], id=each["id"]) for each in json.loads(path.read_text())["tests"]]


def structured(**changes: Any) -> bytes:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "urn:example:ehr",
        "type": "org.reactivation.appointment.booked",
        "data": BOOKED,
    } | changes
    return orjson.dumps({name: value for name, value in event.items() if value is not ...})


def reason_of(body: bytes, headers: dict[str, Any] | None = None, content_type: str = STRUCTURED) -> str:
    with pytest.raises(EventProblem) as caught:
        decode(headers or {}, content_type, body)
    return caught.value.reason


@pytest.mark.parametrize("event", conformance("valid"))
def test_every_valid_event_of_the_conformance_set_is_read(event: dict[str, Any]) -> None:
    envelope = read_envelope({}, STRUCTURED, json.dumps(event).encode())

    assert (envelope.id, envelope.source, envelope.type) == (event["id"], event["source"], event["type"])
    assert envelope.data == event.get("data")
    assert (envelope.time is None) == (event.get("time") is None)


@pytest.mark.parametrize("event", conformance("invalid"))
def test_every_invalid_event_of_the_conformance_set_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(EventProblem):
        read_envelope({}, STRUCTURED, json.dumps(event).encode())


@pytest.mark.parametrize("event", conformance("valid"))
def test_every_valid_event_is_also_read_in_binary_mode(event: dict[str, Any]) -> None:
    core = {
        name: value for name, value in event.items() if value is not None and name not in {"data", "datacontenttype"}
    }
    data = event.get("data")
    body = data.encode() if isinstance(data, str) else b"{}"
    content_type = event.get("datacontenttype") or "application/json"

    for prefix in ("cloudEvents_", "cloudEvents:"):
        envelope = read_envelope({prefix + name: value for name, value in core.items()}, content_type, body)
        assert (envelope.id, envelope.source, envelope.type) == (event["id"], event["source"], event["type"])
        assert set(envelope.extensions) == {name for name in core if name.startswith("ext")}


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ({"cloudEvents_": None}, ""),
        ({"cloudEvents:": None}, "application/json"),
        ({"ce-": None}, "application/json; charset=utf-8"),
    ],
)
def test_binary_mode_is_read_with_every_prefix(headers: dict[str, None], content_type: str) -> None:
    (prefix,) = headers
    attributes = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "urn:example:ehr",
        "type": "org.reactivation.appointment.booked",
        "time": "2026-03-01T15:00:00Z",
        "organisation": "ponderosa",
    }

    event = decode(
        {prefix + name: quote(value) if prefix == "ce-" else value for name, value in attributes.items()},
        content_type,
        orjson.dumps(BOOKED),
    )

    assert (event.id, event.kind.name, event.time, event.organisation) == ("e-1", "appointment.booked", AT, "ponderosa")


def test_an_amqp_timestamp_may_stand_for_a_time() -> None:
    headers = {f"cloudEvents_{key}": value for key, value in json.loads(structured(data=...)).items()}

    event = decode(headers | {"cloudEvents_time": AT.replace(tzinfo=None)}, "application/json", orjson.dumps(BOOKED))

    assert event.time == AT


def test_what_we_emit_is_read_back_in_both_modes() -> None:
    data = plain(
        "patient.enrolled", {"patient": "P1", "campaign": "recall", "arm": "treatment", "segment": "6_12_months"}
    )

    for encoded in (
        encode("patient.enrolled", "urn:a", "1", AT, data),
        encode_binary("patient.enrolled", "urn:a", "1", AT, data),
    ):
        event = decode(encoded.headers, encoded.content_type, encoded.body)
        assert (event.id, event.source, event.time, event.kind.name) == ("1", "urn:a", AT, "patient.enrolled")
        assert event.data.model_dump(mode="json") == data
        assert encoded.routing_key == "patient.enrolled"


def test_binary_mode_emits_the_preferred_prefix() -> None:
    assert all(name.startswith("cloudEvents_") for name in encode_binary("touch.sent", "urn:a", "1", AT, {}).headers)


def test_data_may_come_in_base64() -> None:
    body = structured(data=..., data_base64=base64.b64encode(orjson.dumps(BOOKED)).decode())

    assert decode({}, STRUCTURED, body).kind.name == "appointment.booked"


def test_unknown_fields_of_others_are_ignored() -> None:
    assert decode({}, STRUCTURED, structured(data=BOOKED | {"room": "4b"})).id == "e-1"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body: not JSON"),
        (b"\xff\xfe\x00", "body: not JSON"),
        (b"[]", "body: not a JSON object"),
        (b"NaN", "body: not JSON"),
        (b'{"id": "\\ud800"}', "body: not JSON"),
        (b"[" * 40 + b"]" * 40, "body: nested deeper than 32 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "body: not JSON"),
        (b" " * (MAX_BODY + 1), f"body: larger than {MAX_BODY} bytes"),
        (structured(type="org.reactivation.appointment.eaten"), "type: unknown"),
        (structured(type="com.example.thing"), "type: unknown"),
        (structured(id="x" * 201), "id: longer than 200 characters"),
        (structured(id="x\x00"), "id: has control characters"),
        (structured(source=7), "source: not a non-empty text"),
        (structured(data=...), "data: not a JSON object"),
        (structured(data=..., data_base64="*"), "data_base64: not base64"),
        (structured(data={**BOOKED, "version": None}), "data: version or updated_at is required"),
        (structured(data=BOOKED | {"version": -1}), "version: Input should be greater than or equal to 0"),
        (structured(data=BOOKED | {"version": 2**63}), "version: Input should be less than 9223372036854775808"),
        (structured(data=BOOKED | {"starts_at": "2026-04-01T09:00:00"}), "starts_at: needs a zone"),
        (structured(data=BOOKED | {"starts_at": 1}), "starts_at: Input should be a valid datetime"),
        (structured(data=BOOKED | {"service_line": "astrology"}), "service_line: is not one of the known values"),
        (structured(data=BOOKED | {"site": "a\x00b"}), "site: has a form that is not allowed"),
        (structured(data=BOOKED | {"patient": {"mrn": "M-1"}}), "patient.site: is required"),
        (
            structured(dataschema="urn:org.reactivation:appointment.booked:2"),
            "dataschema: a version that is not understood here",
        ),
    ],
)
def test_what_is_wrong_is_said_by_field_and_without_the_value(body: bytes, reason: str) -> None:
    assert reason_of(body).startswith(reason)


def test_a_reason_never_repeats_what_it_complains_about() -> None:
    secret = "+15555550123"
    data = {"contact_point": {"system": secret, "value": secret * 40}, "channel": secret, "source": "x", "at": secret}

    reason = reason_of(structured(type="org.reactivation.consent.revoked", data=data))

    assert "contact_point.system" in reason
    assert secret not in reason


def test_a_message_that_is_no_cloudevent_is_refused() -> None:
    assert reason_of(b"{}", {"x": "y"}, "application/json").startswith("not a CloudEvent")
    assert reason_of(b"[]", {}, "application/cloudevents-batch+json").startswith("content type")


def test_only_what_the_contract_promises_goes_out() -> None:
    with pytest.raises(ValueError, match="name: is not part of the contract"):
        plain("patient.opted_out", {"patient": "P1", "source": "reply", "at": AT, "name": "Ana"})
    with pytest.raises(ValueError, match="no outgoing type"):
        plain("appointment.booked", BOOKED)


def test_the_checked_in_document_is_what_is_generated() -> None:
    # after a change of the models: python -m domain.events.asyncapi > docs/asyncapi.json
    assert (ROOT / "docs" / "asyncapi.json").read_text() == asyncapi.text()


def test_the_document_describes_every_type_and_its_references_lead_somewhere() -> None:
    document = asyncapi.document()

    assert {channel["address"] for channel in document["channels"].values()} == set(TYPES)
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
    for reference in _references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_the_generated_schema_and_the_decoder_agree() -> None:
    document = asyncapi.document()
    payload = document["components"]["messages"]["appointment.booked"]["payload"]
    validator = jsonschema.Draft202012Validator(payload | {"components": document["components"]})

    assert validator.is_valid(orjson.loads(structured()))
    assert not validator.is_valid(orjson.loads(structured(data=BOOKED | {"service_line": "astrology"})))
    assert not validator.is_valid(orjson.loads(structured(id="")))


def test_no_outgoing_event_has_room_for_a_name_number_address_or_text() -> None:
    told = {"name", "mrn", "value", "text", "birth_date", "address", "contact_point", "sender", "measure"}

    for kind in TYPES.values():
        if kind.direction is not Direction.IN:
            assert not told & set(kind.model.model_fields)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in _references(value)]
    return [each for value in node for each in _references(value)] if isinstance(node, list) else []
