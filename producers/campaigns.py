"""Campaign files: checked line by line, then started as an immutable version."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from sqlalchemy import Engine, select

from channels.kit.discovery import discover
from domain.ledger import campaigns
from domain.ledger.campaigns import Running
from domain.ledger.organisations import organisation
from domain.rules.rulebook import Rulebook
from domain.rules.templates import Template, problems
from domain.rules.vocabulary import Segment, ServiceLine, TouchKind
from ops.runtime.yamlfile import read_yaml


class CampaignError(Exception):
    """A campaign cannot be started; the message says what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AudienceEntry(_Strict):
    """Whom the campaign is for; everybody lapsed, unless said otherwise."""

    service_lines: tuple[ServiceLine, ...] = tuple(ServiceLine)
    segments: tuple[Segment, ...] = tuple(Segment)


class ReminderEntry(_Strict):
    """The light reminder after graduation."""

    every_months: Annotated[int, Field(ge=3, le=12)] = 4
    at_most: Annotated[int, Field(ge=0, le=6)] = 3


class TemplateEntry(_Strict):
    """One text; `segment` and `step_kind` narrow where it is used."""

    channel: str
    language: Annotated[str, Field(pattern="^[a-z]{2}$")]
    body: Annotated[str, Field(min_length=20, max_length=5000)]
    subject: Annotated[str, Field(min_length=3, max_length=150)] | None = None
    segment: Segment | None = None
    step_kind: Literal["outreach", "reminder"] | None = None

    @field_validator("channel")
    @classmethod
    def _is_a_channel(cls, channel: str) -> str:
        if channel not in discover():
            raise ValueError(f"no such channel; there are {', '.join(discover())}")
        return channel

    @model_validator(mode="after")
    def _is_usable(self) -> TemplateEntry:
        found = problems(self.template())
        if found:
            raise ValueError("; ".join(found))
        return self

    def template(self) -> Template:
        """As the rules see it."""
        return Template(
            channel=self.channel,
            language=self.language,
            body=self.body,
            subject=self.subject,
            segment=self.segment or "",
            step_kind=self.step_kind or "",
        )


class CampaignFile(_Strict):
    """A campaign: whom, how often, in which words, and how many are left alone."""

    campaign: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{1,62}$")]
    audience: AudienceEntry = AudienceEntry()
    holdout: Annotated[float, Field(ge=0.01, le=0.5)] = 0.10
    channels: Annotated[tuple[str, ...], Field(min_length=1)] = ("sms", "email")
    send_at: Annotated[tuple[time, ...], Field(min_length=1)] = (time(10, 30), time(15))
    cadence: Annotated[tuple[Annotated[int, Field(ge=0, le=365)], ...], Field(min_length=1, max_length=6)]
    graduate_after_days: Annotated[int, Field(ge=7, le=90)] = 30
    reminder: ReminderEntry = ReminderEntry()
    templates: Annotated[tuple[TemplateEntry, ...], Field(min_length=1)]

    @field_validator("channels")
    @classmethod
    def _are_channels(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(channels) - set(discover()))
        if unknown:
            raise ValueError(f"no such channel: {', '.join(unknown)}; there are {', '.join(discover())}")
        return channels

    @field_validator("send_at")
    @classmethod
    def _are_waking_hours(cls, times: tuple[time, ...], info: ValidationInfo) -> tuple[time, ...]:
        hours: Any = info.context
        windows = hours.weekdays.values()
        if any(not any(opens <= each < closes for opens, closes in windows) for each in times):
            allowed = sorted({f"{opens:%H:%M} to {closes:%H:%M}" for opens, closes in windows})
            raise ValueError(f"outside the allowed hours {', '.join(allowed) or '(there are none)'} (local time)")
        return times

    @field_validator("cadence")
    @classmethod
    def _is_spaced(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if any(later - earlier < 7 for earlier, later in pairwise(days)):
            raise ValueError("touches must be in order and at least 7 days apart")
        return days

    @model_validator(mode="after")
    def _has_words_for_everyone(self) -> CampaignFile:
        missing = [
            f"{channel}, segment {segment.value}, {kind.value}"
            for channel in self.channels
            for segment in self.audience.segments
            for kind in (TouchKind.OUTREACH, TouchKind.REMINDER)
            if not any(
                each.channel == channel
                and each.language == "en"
                and each.segment in {None, segment}
                and each.step_kind in {None, kind.value}
                for each in self.templates
            )
        ]
        if missing:
            raise ValueError(
                f"no English template for {missing[0]}" + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
            )
        return self

    def definition(self) -> dict[str, Any]:
        """What the ledger keeps of it."""
        return self.model_dump(mode="json")


def read_campaign(path: Path, rules: Rulebook, organisation_key: str | None = None) -> CampaignFile:
    """Read and check a campaign file by the rules in force for the organisation.

    Raises:
        FileProblems: every problem with its line, field and reason.
    """
    return read_yaml(path, CampaignFile, context=rules.in_force(organisation_key).hours)


def start_campaign(
    engine: Engine, path: Path, organisation_key: str | None, rules: Rulebook, now: datetime
) -> tuple[Running, bool]:
    """Start a campaign file for an organisation; and whether it was new.

    Raises:
        FileProblems: the file is not right; nothing was changed.
        CampaignError: no such organisation, or several and none named.
    """
    with engine.begin() as conn:
        found = {row.key: row.id for row in conn.execute(select(organisation.c.key, organisation.c.id))}
        key = organisation_key or (next(iter(found)) if len(found) == 1 else "")
        if key not in found:
            known = ", ".join(sorted(found)) or "none yet: import an organisation first"
            raise CampaignError(f"name the organisation of the campaign with --organisation (there are: {known})")
        definition = read_campaign(path, rules, key).definition()
        checksum = hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
        return campaigns.start(conn, found[key], definition, checksum, now)
