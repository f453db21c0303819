"""The texts of a campaign file, and the small things they offer, as people write them in the file itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from domain.rules.templates import ANY_STEP, Template
from domain.rules.vocabulary import Segment
from producers.campaign_steps import known_channels
from producers.templates import KEY, TextEntry, no_cash


class OfferEntry(BaseModel):
    """A small thing that texts of the campaign offer: never cash, nor what is as good as cash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=f"^{KEY}$")]
    kind: Literal["thing", "meal", "ride", "class"]
    item: Annotated[str, Field(min_length=3, max_length=80)]
    dollars: Annotated[float, Field(gt=0, le=100)]
    """What it is worth."""

    @field_validator("item")
    @classmethod
    def _is_a_thing(cls, item: str) -> str:
        return no_cash(item)


class InlineEntry(TextEntry):
    """One text written in the campaign file itself; what it says beside its words narrows where it is used."""

    segment: Segment | None = None
    step_kind: Literal["outreach", "reminder"] | None = None
    step: Annotated[int, Field(ge=0, le=5)] | None = None
    """Of outreach, from 0."""
    season: str | None = None
    incentive: str | None = None
    """The id of what it offers."""

    @field_validator("channel")
    @classmethod
    def _is_a_channel(cls, channel: str) -> str:
        if channel not in known_channels():
            raise ValueError(f"no such channel; there are {', '.join(known_channels())}")
        return channel

    @model_validator(mode="after")
    def _is_of_outreach(self) -> InlineEntry:
        if self.step is not None and self.step_kind != "outreach":
            raise ValueError("step belongs to `step_kind: outreach`")
        return self

    def template(self, offers: Mapping[str, int]) -> Template:
        """As the rules see it; `offers` says what each incentive is worth, in cents."""
        return Template(
            channel=self.channel,
            language=self.language,
            body=self.body,
            subject=self.subject,
            segment=self.segment or "",
            step_kind=self.step_kind or "",
            step=ANY_STEP if self.step is None else self.step,
            season=self.season or "",
            incentive=self.incentive or "",
            cents=offers.get(self.incentive or "", 0),
        )
