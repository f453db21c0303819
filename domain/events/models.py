"""The event contract: every CloudEvents type, who sends it, and the data it carries.

JSON Schema and the AsyncAPI document are generated from these models. What comes in is read tolerantly (unknown fields
are ignored) and bounded strictly; what goes out carries ids and facts, never names, numbers, addresses or texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from domain.rules.vocabulary import Arm, ContactSystem, Segment, ServiceLine

#: Every `type` begins with it; the routing key is the rest.
PREFIX = "org.reactivation."
#: Of `dataschema`; a change that breaks readers makes the next one.
VERSION = 1

# no control characters: they are never part of a key or name, and NUL cannot be stored
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
Version = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class Direction(StrEnum):
    """Who sends events of a type."""

    IN = "in"
    INTERNAL = "internal"
    OUT = "out"


class _Told(BaseModel):
    """Data from other services: unknown fields are theirs."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Telling(BaseModel):
    """Data of our own making: exactly these fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_enum_values=True)


class _Versioned(_Told):
    version: Version | None = Field(
        None,
        description="Rises with every change of this thing; microseconds since 1970 where imports tell of it too.",
    )
    updated_at: AwareDatetime | None = Field(None, description="When the source changed it; used where version is not.")

    @model_validator(mode="after")
    def _has_version(self) -> Self:
        if self.version is None and self.updated_at is None:
            raise ValueError("version or updated_at is required")
        return self


class PatientAddress(_Told):
    """A record number at a site."""

    site: Key
    mrn: Id


class AppointmentData(_Versioned):
    """One appointment, as it now stands."""

    site: Key
    appointment_id: Id
    source: Key = Field("ehr", description="The system that numbers appointments; the same as in an import's mapping.")
    patient: PatientAddress
    service_line: ServiceLine
    starts_at: AwareDatetime
    changed_at: AwareDatetime | None = Field(None, description="When its status became what the type says.")


class PersonName(_Told):
    """A patient's name."""

    given: Name | None = None
    family: Name | None = None


class ContactPoint(_Told):
    """A phone number or mail address."""

    system: ContactSystem
    value: Annotated[str, StringConstraints(min_length=1, max_length=320, pattern=r"^[^\x00-\x1f\x7f]+$")]
    use: Annotated[str, StringConstraints(max_length=16, pattern=r"^[a-z]*$")] | None = None
    rank: int = Field(1, ge=1, le=100, description="1 is tried first.")


class HomeAddress(_Told):
    """As much of an address as decides about hours."""

    zone: Key | None = Field(None, description="IANA zone.")
    state: Key | None = Field(None, description="US state or territory, code or name.")


class Preferences(_Told):
    """What the patient prefers."""

    channel: Annotated[str, StringConstraints(max_length=16, pattern=r"^[a-z_]+$")] | None = None


class PatientData(_Versioned):
    """A patient at one registration; fields left out stay as they are."""

    site: Key
    mrn: Id
    name: PersonName | None = None
    birth_date: date | None = None
    contact_points: list[ContactPoint] | None = Field(None, max_length=20, description="The whole list.")
    language: Annotated[str, StringConstraints(max_length=35, pattern=r"^[A-Za-z0-9-]+$")] | None = None
    address: HomeAddress | None = None
    preferences: Preferences | None = None
    high_risk: bool | None = None


class MergeData(_Versioned):
    """The record `mrn` was merged into another."""

    site: Key
    mrn: Id
    into: PatientAddress


class DeathData(_Versioned):
    """The patient died: everything stops."""

    site: Key
    mrn: Id
    deceased_at: AwareDatetime | None = None


class GapData(_Versioned):
    """A measure the patient is due for; codes stay with us."""

    site: Key
    mrn: Id
    measure: Key
    gap_id: Id | None = Field(None, description="Without it, the measure identifies the gap of this patient.")
    source: Key = "ehr"
    due_on: date
    closed_at: AwareDatetime | None = None


class ReplyData(_Told):
    """A patient wrote back, through a gateway of the organisation."""

    channel: Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=r"^[a-z_]+$")]
    provider_id: Id = Field(description="The gateway's id of this message; a repeat changes nothing.")
    sender: ContactPoint
    text: Text


class ReceiptStatus(StrEnum):
    """What a receipt may say."""

    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"


class ReceiptData(_Told):
    """A gateway reports on a message we sent."""

    channel: Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=r"^[a-z_]+$")]
    provider_ref: Id
    status: ReceiptStatus
    reference: Annotated[str, StringConstraints(max_length=32, pattern=r"^[a-z0-9]*$")] = Field(
        "", description="The reference that travelled with the send."
    )
    error_code: Annotated[str, StringConstraints(max_length=32, pattern=r"^[A-Za-z0-9._-]*$")] | None = None


class ConsentScope(StrEnum):
    """How far a revocation reaches; without an answer: everything."""

    EVERYTHING = "everything"
    CHANNEL = "channel"


class ConsentData(_Told):
    """A patient's choice about one contact point, made elsewhere.

    A grant never lifts an opt-out: only the patient's own START does. Systems that keep repeating an old "yes" are how
    opt-outs get lost.
    """

    contact_point: ContactPoint
    channel: Annotated[str, StringConstraints(max_length=16, pattern=r"^[a-z_]+$")] | None = None
    scope: ConsentScope = ConsentScope.EVERYTHING
    purpose: Annotated[str, StringConstraints(max_length=32, pattern=r"^[a-z_]+$")] = "outreach"
    source: Key
    at: AwareDatetime

    @model_validator(mode="after")
    def _scope_has_channel(self) -> Self:
        if self.scope is ConsentScope.CHANNEL and self.channel is None:
            raise ValueError("scope channel needs a channel")
        return self


class InactivityDetected(_Telling):
    """A patient lapsed, or moved on to another segment."""

    site: str
    patient: str = Field(description="The public reference, as in every event of ours.")
    lapse_id: int
    service_line: ServiceLine
    segment: Segment
    rule_version: str
    inactive_since: AwareDatetime
    last_visit_at: AwareDatetime | None = None


class PatientEnrolled(_Telling):
    """A lapsed patient entered a campaign."""

    patient: str
    campaign: str
    arm: Arm
    segment: Segment


class TouchData(_Telling):
    """A touch was accepted by its provider, or will not go."""

    touch: int
    patient: str | None = None
    channel: str
    kind: str
    step: int
    reason: str | None = None


class PatientOptedOut(_Telling):
    """A patient wants no more messages."""

    patient: str
    source: str
    at: AwareDatetime


class ReplyEscalated(_Telling):
    """A person has to read a reply."""

    reply_id: int
    channel: str
    intent: str | None = None
    received_at: AwareDatetime
    patients: list[str] = Field(default_factory=list)


class PatientCameBack(_Telling):
    """An enrolled patient booked, or completed a visit."""

    patient: str
    campaign: str
    arm: Arm
    service_line: ServiceLine


class RejectedEvent(_Telling):
    """An event could not be taken in; it is held in quarantine."""

    source: str = Field(description="Of the rejected event, or the way it came.")
    event_id: str | None = None
    type: str | None = None
    reason: str = Field(description="Without the offending value.")
    quarantine_id: int


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
