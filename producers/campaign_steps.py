"""The steps of a campaign file: days, channels and conditions, and when the cadence is over, as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from channels.kit.discovery import discover
from domain.rules.steps import PHONE, Answer, Silence

_Day = Annotated[int, Field(ge=0, le=365)]


def known_channels() -> list[str]:
    """What a step, or a text, may name: every channel, and the list of calls that people make."""
    return sorted({*discover(), PHONE})


class StepEntry(BaseModel):
    """A step that says more than its day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: _Day
    channels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Its own, in order: the first that reaches the patient."""
    only_if: Silence | None = None
    """For nobody else."""
    escalate_if: Silence | None = None
    """Its channels are for these only; for the others, the campaign's."""

    @field_validator("channels")
    @classmethod
    def _are_channels(cls, channels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = sorted(set(channels or ()) - set(known_channels()))
        if unknown:
            raise ValueError(f"no such channel: {', '.join(unknown)}; there are {', '.join(known_channels())}")
        return channels

    @model_validator(mode="after")
    def _escalates_somewhere(self) -> StepEntry:
        if self.escalate_if is not None and self.channels is None:
            raise ValueError("escalate_if wants `channels`: those that the step takes then")
        return self


def _kind(value: Any) -> str:
    return "step" if isinstance(value, dict | StepEntry) else "day"


#: A day after enrolment, or a step that says more.
AnyStep = Annotated[Annotated[_Day, Tag("day")] | Annotated[StepEntry, Tag("step")], Discriminator(_kind)]


def days_of(cadence: Sequence[int | StepEntry]) -> list[int]:
    """The days of the steps."""
    return [each.day if isinstance(each, StepEntry) else each for each in cadence]


def check_order(cadence: Sequence[int | StepEntry]) -> None:
    """Make sure that the steps follow each other, each at its distance.

    Raises:
        ValueError: they do not, or the first one asks what came of the ones before.
    """
    if any(later - earlier < 7 for earlier, later in pairwise(days_of(cadence))):
        raise ValueError("touches must be in order and at least 7 days apart")
    first = cadence[0]
    if isinstance(first, StepEntry) and (first.only_if or first.escalate_if):
        raise ValueError("nothing comes before the first step: only_if and escalate_if are for later ones")


class HighRiskEntry(BaseModel):
    """What is done for patients whom the ledger knows as high risk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phone_from_step: Annotated[int, Field(ge=0, le=5)]
    """The step (from 0) from which a person calls them."""


class GraduationEntry(BaseModel):
    """When the cadence is over before its last step, and what counts as an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_unanswered: Annotated[int, Field(ge=4, le=6)] | None = None
    """Touches that went out since the last answer."""
    within_months: Annotated[int, Field(ge=6, le=12)] = 12
    answers: Annotated[tuple[Answer, ...], Field(min_length=1)] = (Answer.REPLY,)

    @property
    def days(self) -> int:
        """The last day a step may have."""
        return 365 * self.within_months // 12
