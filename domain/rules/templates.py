"""Templates: which text a touch gets, and the typed allow-list of variables it may contain."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar


class VariableKind(StrEnum):
    """What a variable holds; decides how it is shown and where it may stand."""

    NAME = "name"
    NUMBER = "number"
    ADDRESS = "address"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Variable:
    """One thing a message may say, of the organisation and never of a patient."""

    kind: VariableKind
    says: str
    sample: str
    """A value of ordinary length, for previews and for counting segments."""


#: The only things a message may say about anyone: nothing about the patient is on the list, on purpose.
VARIABLES: Mapping[str, Variable] = {
    "organisation": Variable(VariableKind.NAME, "the organisation's name", "Northstar Health"),
    "phone": Variable(VariableKind.NUMBER, "the organisation's number", "+1 303 555 0100"),
    "postal_address": Variable(VariableKind.ADDRESS, "where the organisation is", "1 Main St, Denver, CO 80014"),
    "link": Variable(
        VariableKind.LINK, "the touch's own booking link", "https://reach.example.org/b/AAAAAAAAAAAAAAAAAAAAAA"
    ),
}
SAMPLES: Mapping[str, str] = {name: variable.sample for name, variable in VARIABLES.items()}

#: A step of the cadence that is no step in particular.
ANY_STEP = -1

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """One text. Empty `segment` or `step_kind`, and `ANY_STEP`, fit any."""

    channel: str
    language: str
    body: str
    subject: str | None = None
    segment: str = ""
    step_kind: str = ""
    step: int = ANY_STEP
    """The step of the cadence, from 0, as `explain` counts them."""
    season: str = ""
    """It is said in this season only; empty: all year."""
    incentive: str = ""
    """The id of what it offers; empty: nothing."""
    cents: int = 0
    """What that is worth."""


class Slot(Protocol):
    """Where a text fits: what choosing looks at."""

    @property
    def channel(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def segment(self) -> str: ...
    @property
    def step_kind(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def season(self) -> str: ...
    @property
    def incentive(self) -> str: ...


S = TypeVar("S", bound=Slot)


class TemplateError(Exception):
    """A template is unusable; the message says which and why."""


def choose(
    slots: Iterable[S],
    *,
    channel: str,
    language: str,
    segment: str,
    step_kind: str,
    step: int,
    seasons: Collection[str] = (),
    may_offer: Callable[[S], bool] = lambda _: True,
) -> S:
    """The most specific text for a touch; another language's only if there is none in the patient's (English).

    In its season a seasonal text goes first, then one with an offer that `may_offer` allows, then one for the segment,
    the kind, the step. `seasons` are those that it is.

    Raises:
        TemplateError: the campaign has no text for this channel.
    """
    fitting = [
        slot
        for slot in slots
        if slot.channel == channel
        and slot.segment in {"", segment}
        and slot.step_kind in {"", step_kind}
        and slot.step in {ANY_STEP, step}
        and slot.language in {language, "en"}
        and (not slot.season or slot.season in seasons)
        and (not slot.incentive or may_offer(slot))
    ]
    if not fitting:
        raise TemplateError(f"no {channel} template for segment {segment}, {step_kind} {step}")
    return max(
        fitting,
        key=lambda each: (
            each.language == language,
            each.season != "",
            each.incentive != "",
            each.segment != "",
            each.step_kind != "",
            each.step != ANY_STEP,
        ),
    )


def render(text: str, values: Mapping[str, str]) -> str:
    """`text` with its variables filled in.

    Raises:
        TemplateError: a variable has no value.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in VARIABLES or name not in values:
            raise TemplateError(f"no value for variable {{{name}}}")
        return values[name]

    return PLACEHOLDER.sub(value, text)
