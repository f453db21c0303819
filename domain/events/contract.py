"""The event contract: every CloudEvents type, who sends it, and the data it carries.

JSON Schema and the AsyncAPI document are generated from these models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ValidationError

from domain.events.incoming import (
    AppointmentData,
    ConsentData,
    DeathData,
    GapData,
    MergeData,
    PatientData,
    ReceiptData,
    ReplyData,
    SlotsData,
)
from domain.events.outgoing import (
    InactivityDetected,
    PatientCameBack,
    PatientEnrolled,
    PatientOptedOut,
    RejectedEvent,
    ReplyEscalated,
    TouchData,
)

#: Every `type` begins with it; the routing key is the rest.
PREFIX = "org.reactivation."
#: Of `dataschema`; a change that breaks readers makes the next one.
VERSION = 1


class Direction(StrEnum):
    """Who sends events of a type."""

    IN = "in"
    INTERNAL = "internal"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of the contract; `name` is without prefix and is the routing key."""

    name: str
    direction: Direction
    model: type[BaseModel]
    summary: str


def _types() -> dict[str, EventType]:
    table: list[tuple[Direction, type[BaseModel], dict[str, str]]] = [
        (
            Direction.IN,
            AppointmentData,
            {
                "appointment.booked": "An appointment was made.",
                "appointment.rescheduled": "An appointment has a new time.",
                "appointment.cancelled": "An appointment was cancelled.",
                "appointment.noshow": "The patient did not come.",
                "appointment.fulfilled": "The visit took place.",
            },
        ),
        (
            Direction.IN,
            PatientData,
            {
                "patient.registered": "A patient was registered at a site.",
                "patient.updated": "What is known of a patient changed.",
            },
        ),
        (Direction.IN, MergeData, {"patient.merged": "Two records are one person."}),
        (Direction.IN, DeathData, {"patient.deceased": "A patient died."}),
        (
            Direction.IN,
            GapData,
            {"caregap.opened": "A patient is due for a measure.", "caregap.closed": "A measure was done."},
        ),
        (Direction.IN, SlotsData, {"slots.published": "A site told how many appointments it can still give."}),
        (Direction.IN, ReplyData, {"reply.received": "A patient wrote back."}),
        (Direction.IN, ReceiptData, {"receipt.received": "A provider reports on a message."}),
        (
            Direction.IN,
            ConsentData,
            {"consent.granted": "A patient agreed to messages.", "consent.revoked": "A patient refused messages."},
        ),
        (Direction.INTERNAL, InactivityDetected, {"inactivity.detected": "A patient lapsed."}),
        (Direction.OUT, PatientEnrolled, {"patient.enrolled": "A patient entered a campaign."}),
        (
            Direction.OUT,
            TouchData,
            {"touch.sent": "A provider accepted a message.", "touch.failed": "A message will not go."},
        ),
        (Direction.OUT, PatientOptedOut, {"patient.opted_out": "A patient wants no more messages."}),
        (Direction.OUT, ReplyEscalated, {"reply.escalated": "A person has to read a reply."}),
        (
            Direction.OUT,
            PatientCameBack,
            {
                "patient.rebooked": "An enrolled patient made an appointment.",
                "patient.reactivated": "An enrolled patient completed a visit.",
            },
        ),
        (Direction.OUT, RejectedEvent, {"rejected.event": "An event could not be taken in."}),
    ]
    return {
        name: EventType(name, direction, model, summary)
        for direction, model, names in table
        for name, summary in names.items()
    }


#: Every type, by name without prefix.
TYPES = _types()


def dataschema(name: str) -> str:
    """The `dataschema` of a type's current version."""
    return f"urn:org.reactivation:{name}:{VERSION}"


def plain(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` of an event of ours as plain JSON values, held to the contract.

    Raises:
        ValueError: the contract knows no such event of ours, or the data is not what it promises.
    """
    kind = TYPES.get(name)
    if kind is None or kind.direction is Direction.IN:
        raise ValueError(f"the event contract has no outgoing type {name}")
    try:
        return kind.model.model_validate(dict(data)).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        fields = ", ".join(sorted({problem_of(each) for each in error.errors(include_input=False)}))
        raise ValueError(f"{name}: {fields}") from None


def problem_of(error: Mapping[str, Any]) -> str:
    """A validation error as `field: what is wrong`, without the offending value."""
    where = ".".join(str(part) for part in error["loc"]) or "data"
    what = {
        "extra_forbidden": "is not part of the contract",
        "missing": "is required",
        "enum": "is not one of the known values",
        "string_pattern_mismatch": "has a form that is not allowed",
        "timezone_aware": "needs a zone",
    }.get(error["type"])
    return f"{where}: {what or str(error['msg']).removeprefix('Value error, ')}"
