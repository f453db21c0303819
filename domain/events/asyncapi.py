"""The published form of the contract: an AsyncAPI 3.0 document with JSON Schema, generated from the models.

Run `python -m domain.events.asyncapi > docs/asyncapi.json` after changing a model; a test keeps the file equal.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import models_json_schema

from domain.events.contract import PREFIX, TYPES, VERSION, Direction, EventType, dataschema

_REFERENCE = "#/components/schemas/{model}"


def document() -> dict[str, Any]:
    """The AsyncAPI 3.0 document, as plain JSON values."""
    models = sorted({kind.model for kind in TYPES.values()}, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Patient reactivation events",
            "version": f"{VERSION}.0.0",
            "description": (
                "CloudEvents 1.0 on the durable topic exchange reactivation.events, structured "
                "(application/cloudevents+json) or binary (headers cloudEvents_*). The routing key is the type without "
                f"the prefix {PREFIX} source and id identify an event: a repeat changes nothing. News older than what "
                "is stored is accepted and ignored. What cannot be taken in is quarantined and answered with "
                "rejected.event. Events sent by this system carry ids and facts only."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {name: _channel(kind) for name, kind in sorted(TYPES.items())},
        "operations": {
            operation: body for name, kind in sorted(TYPES.items()) for operation, body in _operations(name, kind)
        },
        "components": {
            "messages": {name: _message(kind) for name, kind in sorted(TYPES.items())},
            "schemas": dict(sorted(schemas.get("$defs", {}).items())),
        },
    }


def text() -> str:
    """The document as it is checked in."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _channel(kind: EventType) -> dict[str, Any]:
    return {
        "address": kind.name,
        "title": kind.summary,
        "messages": {"event": {"$ref": f"#/components/messages/{kind.name}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": "reactivation.events", "type": "topic", "durable": True},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _operations(name: str, kind: EventType) -> list[tuple[str, dict[str, Any]]]:
    actions = {
        Direction.IN: ["receive"],
        Direction.OUT: ["send"],
        Direction.INTERNAL: ["send", "receive"],
    }[kind.direction]
    return [
        (
            f"{action}.{name}",
            {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [{"$ref": f"#/channels/{name}/messages/event"}],
            },
        )
        for action in actions
    ]


def _message(kind: EventType) -> dict[str, Any]:
    return {
        "name": kind.name,
        "summary": kind.summary,
        "contentType": "application/cloudevents+json",
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {"type": "string", "minLength": 1, "maxLength": 200},
                "source": {"type": "string", "format": "uri-reference", "minLength": 1, "maxLength": 200},
                "type": {"const": PREFIX + kind.name},
                "time": {"type": "string", "format": "date-time"},
                "datacontenttype": {"const": "application/json"},
                "dataschema": {"const": dataschema(kind.name)},
                "organisation": {
                    "type": "string",
                    "description": "Key of the organisation it is for, where a fleet serves several.",
                },
                "data": {"$ref": _REFERENCE.format(model=kind.model.__name__)},
            },
        },
    }


if __name__ == "__main__":
    sys.stdout.write(text())
