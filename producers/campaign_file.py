"""Campaign files: whom, how often, in which words; every problem told with its line and field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from channels.kit.discovery import discover
from domain.ledger.texts import VersionNews
from domain.rules.rulebook import Rulebook
from domain.rules.templates import ANY_STEP, Template
from domain.rules.vocabulary import Segment, ServiceLine, TouchKind
from ops.runtime.yamlfile import FileProblems, Places, Problem, read_yaml_with_places, repeated
from producers.lexicon import form_file
from producers.templates import (
    KEY,
    SHIPPED,
    TemplateEntry,
    TemplateFileError,
    TextEntry,
    checksum,
    judge_text,
    placed,
    read_library,
)

#: A blackout is no longer: a campaign that is silent for months is better paused, or ends.
LONGEST_BLACKOUT = timedelta(days=31)


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


class BlackoutEntry(_Strict):
    """Dates on which the campaign is silent; one is written as itself, a range as `{first: …, last: …}`."""

    first: date
    last: date

    @model_validator(mode="before")
    @classmethod
    def _is_one_day(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        try:
            day = date.fromisoformat(str(value))
        except ValueError:
            raise ValueError("expected a date such as 2026-12-24, or {first: 2026-12-24, last: 2027-01-01}") from None
        return {"first": day, "last": day}

    @model_validator(mode="after")
    def _is_a_range(self) -> BlackoutEntry:
        if not timedelta() <= self.last - self.first < LONGEST_BLACKOUT:
            raise ValueError(f"must end on its first day or later, and within {LONGEST_BLACKOUT.days} days")
        return self


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


class InlineEntry(TextEntry):
    """One text written in the campaign file itself; `segment` and `step_kind` narrow where it is used."""

    segment: Segment | None = None
    step_kind: Literal["outreach", "reminder"] | None = None

    @field_validator("channel")
    @classmethod
    def _is_a_channel(cls, channel: str) -> str:
        if channel not in discover():
            raise ValueError(f"no such channel; there are {', '.join(discover())}")
        return channel

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
    daily_enrolments_per_site: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most so many begin at each site on each of its days, holdout included; the others wait, urgent first."""
    pace: PaceEntry | None = None
    """Enrols, and hands out touches, as far as the open slots of each site go."""
    daily_touches_per_site: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most so many of its touches go out at each site on each of its days; the others wait for the next."""
    blackout: Annotated[tuple[BlackoutEntry, ...], Field(max_length=50)] = ()
    """Dates on which it is silent; nothing is planned there either."""
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
    def _is_spaced(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if any(later - earlier < 7 for earlier, later in pairwise(days)):
            raise ValueError("touches must be in order and at least 7 days apart")
        return days

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
        return self.model_dump(mode="json", exclude={"library"})

    def inline(self) -> VersionNews | None:
        """Its own texts, under the key `campaign:NAME`; a change of them is a new version."""
        texts = tuple(each.template() for each in self.templates)
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
        for finding in judge_text(text):
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
            slot = (text.channel, text.language, text.segment, text.step_kind, text.step)
            if slot in taken:
                both = f"{taken[slot]} and {name} both have" if taken[slot] != name else f"{name} has twice"
                yield f"{both} the text for {_told(slot)}: use one of them"
                return
            taken[slot] = name


def _missing(file: CampaignFile, news: Sequence[VersionNews]) -> Iterator[str]:
    """What is missing for everybody in the audience to find words in every language, at every step."""
    texts = [text for each in news for text in each.texts]
    outreach = [(TouchKind.OUTREACH.value, step) for step in range(len(file.cadence))]
    missing = [
        f"{_LANGUAGES.get(language, language)} template for {channel}, segment {segment.value}, {kind}"
        for language in dict.fromkeys(("en", *file.languages))
        for channel in file.channels
        for segment in file.audience.segments
        for kind, step in (*outreach, (TouchKind.REMINDER.value, len(outreach)))
        if not any(
            (text.channel, text.language) == (channel, language)
            and text.segment in {"", segment.value}
            and text.step_kind in {"", kind}
            and text.step in {ANY_STEP, step}
            for text in texts
        )
    ]
    if missing:
        yield f"no {missing[0]}" + (f" (and {len(missing) - 1} more)" if missing[1:] else "")


_LANGUAGES = {"en": "English", "es": "Spanish"}


def _told(slot: tuple[Any, ...]) -> str:
    channel, language, segment, kind, step = slot
    return f"{channel} in {language}, {segment or 'any segment'}, {kind or 'any'} {'' if step < 0 else step}".strip()
