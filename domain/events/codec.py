"""The codec: an event of the contract from what came over the wire, its data checked; and ours for the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ValidationError

from domain.events.contract import PREFIX, TYPES, Direction, EventType, dataschema, problem_of
from domain.events.envelope import STRUCTURED, Envelope, EventProblem, read_envelope

#: The CloudEvents `source` of every event of ours.
SOURCE = "urn:org.reactivation:fleet"


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the contract, its data checked. `kind.name` is its type without prefix."""

    id: str
    source: str
    kind: EventType
    time: datetime | None
    organisation: str
    """The extension attribute `organisation`: the key of the organisation it is for; empty = the only one."""
    data: BaseModel = field(repr=False)


class Encoded(NamedTuple):
    """An event ready for a bus; the fields are those of its message."""

    routing_key: str
    body: bytes
    content_type: str
    headers: dict[str, str]


def decode(headers: Mapping[str, Any], content_type: str, body: bytes) -> Event:
    """The event that a message carries, checked against the contract.

    Raises:
        EventProblem: it is no CloudEvent, of an unknown type, or its data is not what the type promises.
    """
    return understand(read_envelope(headers, content_type, body))


def understand(envelope: Envelope) -> Event:
    """The event that an envelope holds, checked against the contract. Raises EventProblem."""
    name = envelope.type.removeprefix(PREFIX)
    kind = TYPES.get(name) if envelope.type.startswith(PREFIX) else None
    if kind is None:
        raise EventProblem("type: unknown", envelope)
    ours = dataschema(name).rpartition(":")[0] + ":"
    if (envelope.dataschema or "").startswith(ours) and envelope.dataschema != dataschema(name):
        raise EventProblem("dataschema: a version that is not understood here", envelope)
    if not isinstance(envelope.data, dict):
        raise EventProblem("data: not a JSON object", envelope)
    try:
        # as JSON and strictly: a number is no date, "yes" no boolean
        data = kind.model.model_validate_json(orjson.dumps(envelope.data), strict=True)
    except ValidationError as error:
        reasons = [problem_of(each) for each in error.errors(include_input=False, include_url=False)]
        raise EventProblem("; ".join(reasons)[:400], envelope) from None
    organisation = str(envelope.extensions.get("organisation", ""))
    return Event(envelope.id, envelope.source, kind, envelope.time, organisation, data)


def encode(name: str, source: str, event_id: str, time: datetime, data: Mapping[str, Any]) -> Encoded:
    """An event of ours in structured mode; `name` is its type without prefix, `data` plain JSON values."""
    attributes = _attributes(name, source, event_id, time)
    document = {**attributes, "datacontenttype": "application/json", "data": data}
    return Encoded(name, orjson.dumps(document), STRUCTURED, {})


def encode_binary(name: str, source: str, event_id: str, time: datetime, data: Mapping[str, Any]) -> Encoded:
    """The same in AMQP binary mode."""
    attributes = _attributes(name, source, event_id, time)
    headers = {f"cloudEvents_{key}": value for key, value in attributes.items()}
    return Encoded(name, orjson.dumps(data), "application/json", headers)


def is_ours(envelope_type: str) -> bool:
    """Whether a routing key or type (without prefix) is of an event that we send ourselves."""
    kind = TYPES.get(envelope_type)
    return kind is not None and kind.direction is not Direction.IN


def _attributes(name: str, source: str, event_id: str, time: datetime) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": PREFIX + name,
        "time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "dataschema": dataschema(name),
    }
