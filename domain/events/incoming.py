"""What other services tell us: the data of incoming events.

It is read tolerantly (unknown fields are ignored) and bounded strictly.
"""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from domain.rules.vocabulary import ContactSystem, Payer, ServiceLine

# no control characters: they are never part of a key or name, and NUL cannot be stored
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
Version = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class _Told(BaseModel):
    """Data from other services: unknown fields are theirs."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


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
    payer: Payer | None = Field(None, description="Class of payer; without it, a federal one's ceilings hold.")
    benefit_month: Annotated[int, Field(ge=1, le=12)] | None = Field(
        None, description="Month with which the patient's benefit year begins."
    )


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


class SlotsOfWeek(_Told):
    """Appointments that a site can still give on a line in a week."""

    service_line: ServiceLine
    week: date = Field(description="Any day of it; weeks begin on Monday.")
    open: Annotated[int, Field(ge=0, le=100_000, strict=True)]


class SlotsData(_Versioned):
    """Open slots of a site; lines and weeks that are not in it stay as they were told."""

    site: Key
    slots: list[SlotsOfWeek] = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _tells_each_once(self) -> Self:
        told = {(each.service_line, each.week - timedelta(days=each.week.weekday())) for each in self.slots}
        if len(told) < len(self.slots):
            raise ValueError("slots: one line and week is there twice")
        return self


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
