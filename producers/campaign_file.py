"""Campaign files: whom, how often, in which words; every problem told with its line and field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from channels.kit.discovery import discover
from domain.ledger.texts import VersionNews
from domain.rules.rulebook import Rulebook
from domain.rules.steps import PHONE
from domain.rules.templates import ANY_STEP
from domain.rules.vocabulary import Segment, ServiceLine, TouchKind
from ops.runtime.yamlfile import FileProblems, Places, Problem, read_yaml_with_places, repeated
from producers.campaign_calendar import BenefitYearEntry, BlackoutEntry, SeasonEntry, known
from producers.campaign_steps import (
    AnyStep,
    GraduationEntry,
    HighRiskEntry,
    StepEntry,
    check_order,
    days_of,
)
from producers.campaign_texts import InlineEntry, OfferEntry
from producers.lexicon import form_file
from producers.templates import (
    KEY,
    SHIPPED,
    TemplateEntry,
    TemplateFileError,
    checksum,
    judge_text,
    placed,
    read_library,
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


@dataclass(frozen=True, slots=True)
class ReadCampaign:
    """A campaign file that nothing is wrong with, and the templates it uses."""

    file: CampaignFile
    news: tuple[VersionNews, ...]


def read_campaign(path: Path, rules: Rulebook, organisation_key: str | None = None) -> ReadCampaign:
    """Read and check a campaign file, its texts and those it uses included, by the rules in force for the organisation.

    Raises:
        FileProblems: every problem with its line, field and reason.
    """
    file, places = read_yaml_with_places(path, CampaignFile, _judged, context=rules.in_force(organisation_key).hours)
    problems: list[Problem] = []
    used = list(_used(path, file, places, problems))
    inline = file.inline()
    news = (*(entry.news() for entry in used), *([inline] if inline else []))
    problems += _misnamed(file, used, places)
    problems += (places.problem((), reason) for reason in (*_twice(news), *_missing(file, news)))
    if problems:
        raise FileProblems(path, sorted(problems, key=lambda problem: problem.line))
    return ReadCampaign(file, news)


def _judged(data: Any, places: Places) -> Iterator[Problem]:
    """What the lexicon finds in the texts of a file, whatever else is wrong with it."""
    for nth, each in enumerate(data.get("templates") or () if isinstance(data, dict) else ()):
        try:
            text = InlineEntry.model_validate(each)
        except ValidationError:
            # told with the rest of the file
            continue
        # what it offers is told to be there, or not, with the rest
        for finding in judge_text(text, has_incentive=text.incentive is not None):
            yield placed(places, ("templates", nth), finding)


def _used(path: Path, file: CampaignFile, places: Places, problems: list[Problem]) -> Iterator[TemplateEntry]:
    """The library's templates that a campaign uses; those that cannot be used are noted as problems."""
    if not file.use:
        return
    try:
        library = read_library(SHIPPED if file.library is None else path.parent / file.library)
    except TemplateFileError as error:
        problems.append(places.problem(("library",), str(error)))
        return
    for nth, name in enumerate(file.use):
        try:
            entry = library.find(name)
        except TemplateFileError as error:
            problems.append(places.problem(("use", nth), str(error)))
            continue
        wrong = sum(each.template == name for each in library.judged)
        if wrong:
            told = f"{name} has {wrong} findings: `reactivate template check {library.path}` tells them"
            problems.append(places.problem(("use", nth), told))
        yield entry


def _twice(news: Sequence[VersionNews]) -> Iterator[str]:
    """Slots for which two templates have a text: nobody could say which one a patient gets."""
    taken: dict[tuple[Any, ...], str] = {}
    for each in news:
        name = each.key if each.version is None else f"{each.key}@{each.version}"
        for text in each.texts:
            slot = (
                text.channel, text.language, text.segment, text.step_kind, text.step, text.season, text.incentive
            )  # fmt: skip
            if slot in taken:
                both = f"{taken[slot]} and {name} both have" if taken[slot] != name else f"{name} has twice"
                yield f"{both} the text for {_told(slot)}: use one of them"
                return
            taken[slot] = name


def _missing(file: CampaignFile, news: Sequence[VersionNews]) -> Iterator[str]:
    """What is missing for everybody in the audience to find words in every language, at every step."""
    texts = [text for each in news for text in each.texts if not text.season and not text.incentive]
    outreach = [(TouchKind.OUTREACH.value, step) for step in range(len(file.cadence))]
    missing = [
        f"{_LANGUAGES.get(language, language)} template for {channel}, segment {segment.value}, {kind}"
        for language in dict.fromkeys(("en", *file.languages))
        for kind, step in (*outreach, (TouchKind.REMINDER.value, len(outreach)))
        for channel in _channels_at(file, kind, step)
        for segment in file.audience.segments
        if not any(
            (text.channel, text.language) == (channel, language)
            and text.segment in {"", segment.value}
            and text.step_kind in {"", kind}
            and text.step in {ANY_STEP, step}
            for text in texts
        )
    ]
    if missing:
        others = f" (and {len(missing) - 1} more)" if missing[1:] else ""
        plain = any(text.season or text.incentive for each in news for text in each.texts)
        yield f"no {missing[0]}{others}" + (": one for all year that offers nothing" if plain else "")


def _channels_at(file: CampaignFile, kind: str, step: int) -> list[str]:
    """The channels on which a touch may go."""
    if kind == TouchKind.REMINDER:
        return list(file.channels)
    entry = file.cadence[step]
    own = (entry.channels or ()) if isinstance(entry, StepEntry) else ()
    by_phone = file.high_risk is not None and step >= file.high_risk.phone_from_step
    return list(dict.fromkeys((*file.channels, *own, *([PHONE] if by_phone else []))))


def _misnamed(file: CampaignFile, used: Sequence[TemplateEntry], places: Places) -> Iterator[Problem]:
    """What one part of the file says of another that is not there, or that does not go with it."""
    seasons = known(file.seasons)
    there = f"there are {', '.join(sorted(seasons))}: say under `seasons` when another one is"
    named = [
        *((("enrol_in", nth), name) for nth, name in enumerate(file.enrol_in)),
        *((("templates", nth, "season"), each.season) for nth, each in enumerate(file.templates) if each.season),
        *((("use", nth), each.season) for nth, name in enumerate(file.use) for each in used if each.name == name),
    ]
    for where, name in named:
        if name is not None and name not in seasons:
            yield places.problem(where, f"no such season: {name}; {there}")
    offers = {each.id for each in file.incentives}
    for nth, each in enumerate(file.templates):
        if each.incentive is not None and each.incentive not in offers:
            known_offers = ", ".join(sorted(offers)) or "none"
            yield places.problem(
                ("templates", nth, "incentive"), f"no such incentive: {each.incentive}; `incentives` has {known_offers}"
            )
    if days_of(file.cadence)[-1] > file.graduation.days:
        told = f"its last step lies beyond day {file.graduation.days}, when graduation.within_months is over"
        yield places.problem(("cadence",), told)
    if file.high_risk is not None and file.high_risk.phone_from_step >= len(file.cadence):
        told = f"the last step is {len(file.cadence) - 1}: steps are counted from 0"
        yield places.problem(("high_risk", "phone_from_step"), told)


_LANGUAGES = {"en": "English", "es": "Spanish"}


def _told(slot: tuple[Any, ...]) -> str:
    channel, language, segment, kind, step, season, incentive = slot
    told = f"{channel} in {language}, {segment or 'any segment'}, {kind or 'any'} {'' if step < 0 else step}".strip()
    return told + (f", in season {season}" if season else "") + (f", offering {incentive}" if incentive else "")
