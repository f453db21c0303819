"""The envelope: how a CloudEvent 1.0 looks on the wire, structured or binary, over AMQP or HTTP, read strictly.

Source: CloudEvents 1.0.2 core, JSON format, AMQP and HTTP protocol bindings. Structured mode is a JSON document of type
`application/cloudevents+json`; binary mode puts the attributes in headers: `cloudEvents_` (preferred, what we emit) or
`cloudEvents:` over AMQP, `ce-` over HTTP, and the data in the body.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import orjson

#: Bytes of a body; deeper JSON is an attack, not an event; longer ids do not fit the ledger's index.
MAX_BODY, MAX_DEPTH, MAX_ID = 256 * 1024, 32, 200
_MAX_OTHER = 2000

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
#: Events of one batch.
MAX_BATCH = 500
_PREFIXES = ("cloudevents_", "cloudevents:", "ce-")
_REQUIRED = ("specversion", "id", "source", "type")
_OPTIONAL = ("datacontenttype", "dataschema", "subject", "time")
_NAME = re.compile(r"[a-z0-9]{1,64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;.*)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class EventProblem(Exception):  # noqa: N818 - it becomes a problem document, not a crash
    """An event that cannot be taken in: `reason` names the field and what is wrong, never the offending value."""

    def __init__(self, reason: str, envelope: Envelope | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.envelope = envelope
        """The attributes, where they at least could be read."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A CloudEvent's attributes and undigested data."""

    id: str
    source: str
    type: str
    time: datetime | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    subject: str | None = None
    extensions: Mapping[str, str | int | bool] = field(default_factory=dict)
    data: Any = field(default=None, repr=False)


def read_envelope(headers: Mapping[str, Any], content_type: str, body: bytes) -> Envelope:
    """The attributes and data of a CloudEvent in structured or binary mode, of any type.

    Raises:
        EventProblem: it is none; says what is wrong.
    """
    if len(body) > MAX_BODY:
        raise EventProblem(f"body: larger than {MAX_BODY} bytes")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("application/cloudevents"):
        if media_type != STRUCTURED:
            raise EventProblem("content type: only single events in JSON format are understood")
        return _structured(body)
    attributes = _header_attributes(headers)
    if not attributes:
        raise EventProblem("not a CloudEvent: neither structured content nor CloudEvents headers")
    if content_type:
        attributes["datacontenttype"] = content_type
    envelope = _envelope(attributes)
    return _with_data(envelope, _json(body, envelope) if _is_json(envelope.datacontenttype) else body)


def is_batch(content_type: str) -> bool:
    """Whether a body is a JSON array of structured events (CloudEvents batched content mode)."""
    return content_type.partition(";")[0].strip().lower() == BATCHED


def split_batch(body: bytes) -> list[bytes]:
    """The events of a batch, each as a structured event's body.

    Raises:
        EventProblem: it is no JSON array, or holds too many events.
    """
    try:
        events = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise EventProblem("batch: not JSON") from None
    if not isinstance(events, list):
        raise EventProblem("batch: not a JSON array")
    if len(events) > MAX_BATCH:
        raise EventProblem(f"batch: more than {MAX_BATCH} events")
    return [orjson.dumps(event) for event in events]


def _structured(body: bytes) -> Envelope:
    document = _json(body, None)
    if not isinstance(document, dict):
        raise EventProblem("body: not a JSON object")
    members = {name: value for name, value in document.items() if value is not None}
    has_data, encoded = "data" in members, members.pop("data_base64", None)
    data = members.pop("data", None)
    envelope = _envelope(members)
    if encoded is None:
        return _with_data(envelope, data)
    if has_data:
        raise EventProblem("data: given twice, also as data_base64", envelope)
    return _with_data(envelope, _from_base64(encoded, envelope))


def _from_base64(encoded: object, envelope: Envelope) -> Any:
    try:
        raw = base64.b64decode(encoded if isinstance(encoded, str) else b"\0", validate=True)
    except (binascii.Error, ValueError):
        raise EventProblem("data_base64: not base64", envelope) from None
    return _json(raw, envelope) if _is_json(envelope.datacontenttype) else raw


def _header_attributes(headers: Mapping[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for name, value in headers.items():
        lower = str(name).lower()
        prefix = next((each for each in _PREFIXES if lower.startswith(each)), None)
        if prefix is not None:
            # over HTTP values are percent-encoded (HTTP binding 3.1.3.2)
            attributes[lower.removeprefix(prefix)] = (
                unquote(value) if prefix == "ce-" and isinstance(value, str) else _plain_header(value)
            )
    return attributes


def _plain_header(value: object) -> object:
    # AMQP types a header: a timestamp or bytes may stand where the JSON format has text
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value


def _envelope(attributes: Mapping[str, Any]) -> Envelope:
    for name in attributes:
        if not _NAME.fullmatch(name):
            raise EventProblem("an attribute's name has characters other than a-z and 0-9")
    core = {name: _text(name, attributes.get(name)) for name in _REQUIRED}
    if core["specversion"] != "1.0":
        raise EventProblem("specversion: not 1.0")
    optional = {name: _text(name, attributes[name]) for name in _OPTIONAL if name in attributes}
    media_type = optional.get("datacontenttype")
    if media_type is not None and not _MEDIA_TYPE.fullmatch(media_type):
        raise EventProblem("datacontenttype: not a media type")
    return Envelope(
        id=core["id"],
        source=core["source"],
        type=core["type"],
        time=_time(optional.get("time")),
        datacontenttype=media_type,
        dataschema=optional.get("dataschema"),
        subject=optional.get("subject"),
        extensions=dict(_extensions(attributes)),
    )


def _extensions(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str | int | bool]]:
    for name, value in attributes.items():
        if name in _REQUIRED or name in _OPTIONAL:
            continue
        if not isinstance(value, str | int | bool):
            raise EventProblem("an extension attribute is neither text, a whole number nor a boolean")
        if isinstance(value, str) and _CONTROL.search(value):
            raise EventProblem("an extension attribute has control characters")
        yield name, value


def _text(name: str, value: object) -> str:
    if value is None:
        raise EventProblem(f"{name}: is required")
    if not isinstance(value, str) or not value:
        raise EventProblem(f"{name}: not a non-empty text")
    longest = MAX_ID if name in _REQUIRED else _MAX_OTHER
    if len(value) > longest:
        raise EventProblem(f"{name}: longer than {longest} characters")
    if _CONTROL.search(value):
        raise EventProblem(f"{name}: has control characters")
    return value


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        # more than six digits of a second are legal and beyond what we keep
        instant = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper())).astimezone(UTC)
    except (ValueError, OverflowError):
        instant = None
    if instant is None or not _TIME.fullmatch(text):
        raise EventProblem("time: not an RFC 3339 instant")
    return instant


def _is_json(media_type: str | None) -> bool:
    plain = (media_type or "application/json").partition(";")[0].strip().lower()
    return plain == "application/json" or plain.endswith("+json") or plain == "text/json"


def _json(body: bytes, envelope: Envelope | None) -> Any:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise EventProblem("body: not JSON", envelope) from None
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise EventProblem(f"body: nested deeper than {MAX_DEPTH} levels", envelope)
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return document


def _with_data(envelope: Envelope, data: Any) -> Envelope:
    return Envelope(
        envelope.id,
        envelope.source,
        envelope.type,
        envelope.time,
        envelope.datacontenttype,
        envelope.dataschema,
        envelope.subject,
        envelope.extensions,
        data,
    )
