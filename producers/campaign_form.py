"""The form of a campaign file: its fields, what each may say, and what the ledger keeps of them."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from channels.kit.discovery import discover
from domain.ledger.texts import VersionNews
from domain.rules.vocabulary import Segment, ServiceLine
from ops.runtime.yamlfile import repeated
from producers.campaign_calendar import BenefitYearEntry, BlackoutEntry, SeasonEntry
from producers.campaign_steps import (
    AnyStep,
    GraduationEntry,
    HighRiskEntry,
    StepEntry,
    check_order,
)
from producers.campaign_texts import InlineEntry, OfferEntry
from producers.lexicon import form_file
from producers.templates import (
    KEY,
    checksum,
)


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


class PaceEntry(_Strict):
    """Pacing by the open slots of a site; `pace: open_slots` alone takes what is said here."""

    by: Literal["open_slots"]
    bookings_per_touch: Annotated[float, Field(ge=0.001, le=1)] = 0.1
    """How many appointments one touch is expected to bring."""
    when_unknown: Literal["wait", "daily_enrolments"] = "wait"
    """Where nobody told how many slots are open: nobody begins, or as many as `daily_enrolments_per_site` says."""

    @model_validator(mode="before")
    @classmethod
    def _is_its_name(cls, value: Any) -> Any:
        return {"by": value} if isinstance(value, str) else value


class CampaignFile(_Strict):
    """A campaign: whom, how often, in which words, and how many are left alone."""

    campaign: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{1,62}$")]
    audience: AudienceEntry = AudienceEntry()
    holdout: Annotated[float, Field(ge=0.01, le=0.5)] = 0.10
    channels: Annotated[tuple[str, ...], Field(min_length=1)] = ("sms", "email")
    send_at: Annotated[tuple[time, ...], Field(min_length=1)] = (time(10, 30), time(15))
    cadence: Annotated[tuple[AnyStep, ...], Field(min_length=1, max_length=6)]
    high_risk: HighRiskEntry | None = None
    graduate_after_days: Annotated[int, Field(ge=7, le=90)] = 30
    graduation: GraduationEntry = GraduationEntry()
    reminder: ReminderEntry = ReminderEntry()
    daily_enrolments_per_site: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most so many begin at each site on each of its days, holdout included; the others wait, urgent first."""
    pace: PaceEntry | None = None
    """Enrols, and hands out touches, as far as the open slots of each site go."""
    daily_touches_per_site: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most so many of its touches go out at each site on each of its days; the others wait for the next."""
    blackout: Annotated[tuple[BlackoutEntry, ...], Field(max_length=50)] = ()
    """Dates on which it is silent; nothing is planned there either."""
    seasons: dict[Annotated[str, Field(pattern=f"^{KEY}$")], SeasonEntry] = Field(default_factory=dict, max_length=20)
    """Named times of the year, for texts and for `enrol_in`."""
    benefit_year: BenefitYearEntry = BenefitYearEntry()
    enrol_in: tuple[str, ...] = ()
    """It enrols in these seasons only."""
    incentives: Annotated[tuple[OfferEntry, ...], Field(max_length=20)] = ()
    languages: Annotated[tuple[str, ...], Field(min_length=1, default_factory=lambda: form_file().languages)]
    """In which everybody must find words; English is always one of them."""
    library: Path | None = None
    """File or folder of templates, beside this file; without it, the library that comes with the system."""
    use: tuple[Annotated[str, Field(pattern=f"^{KEY}@[0-9]{{1,4}}$")], ...] = ()
    """Templates of the library, each as key@version."""
    templates: tuple[InlineEntry, ...] = ()

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
    def _is_spaced(cls, steps: tuple[int | StepEntry, ...]) -> tuple[int | StepEntry, ...]:
        check_order(steps)
        return steps

    @field_validator("incentives")
    @classmethod
    def _are_offered_once(cls, offers: tuple[OfferEntry, ...]) -> tuple[OfferEntry, ...]:
        if twice := repeated([each.id for each in offers]):
            raise ValueError(f"{twice[0]} is there twice")
        return offers

    @field_validator("pace")
    @classmethod
    def _falls_back_on_what_is_there(cls, pace: PaceEntry | None, info: ValidationInfo) -> PaceEntry | None:
        limit = info.data.get("daily_enrolments_per_site")
        if pace is not None and pace.when_unknown == "daily_enrolments" and limit is None:
            raise ValueError("when_unknown: daily_enrolments goes by daily_enrolments_per_site, which is not there")
        return pace

    @field_validator("use")
    @classmethod
    def _are_different(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if twice := repeated([name.partition("@")[0] for name in names]):
            raise ValueError(f"{twice[0]} is there twice: use one version of it")
        return names

    @field_validator("blackout")
    @classmethod
    def _are_in_order(cls, entries: tuple[BlackoutEntry, ...]) -> tuple[BlackoutEntry, ...]:
        return tuple(sorted(entries, key=lambda each: each.first))

    def definition(self) -> dict[str, Any]:
        """What the ledger keeps of it."""
        benefit_year = self.benefit_year.months()
        return self.model_dump(mode="json", exclude={"library", "benefit_year"}) | {"benefit_year": benefit_year}

    def inline(self) -> VersionNews | None:
        """Its own texts, under the key `campaign:NAME`; a change of them is a new version."""
        worth = {each.id: round(each.dollars * 100) for each in self.incentives}
        texts = tuple(each.template(worth) for each in self.templates)
        return VersionNews(f"campaign:{self.campaign}", None, checksum(texts), texts) if texts else None
