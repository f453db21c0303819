"""What we tell: the data of our own events, ids and facts; never names, numbers, addresses or texts."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.rules.vocabulary import Arm, ContactSystem, Segment, ServiceLine


class _Telling(BaseModel):
    """Data of our own making: exactly these fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_enum_values=True)


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
    medium: ContactSystem | None = Field(
        default=None, description="Only calls and texts (phone), or only mail (email); absent: everything."
    )


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
