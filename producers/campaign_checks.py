"""Checks of a whole campaign file: words for everybody, once, and nothing named in one part that another lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from domain.ledger.texts import VersionNews
from domain.rules.steps import PHONE
from domain.rules.templates import ANY_STEP
from domain.rules.vocabulary import TouchKind
from ops.runtime.yamlfile import Places, Problem
from producers.campaign_calendar import known
from producers.campaign_form import CampaignFile
from producers.campaign_steps import (
    StepEntry,
    days_of,
)
from producers.templates import (
    TemplateEntry,
)


def twice(news: Sequence[VersionNews]) -> Iterator[str]:
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


def missing(file: CampaignFile, news: Sequence[VersionNews]) -> Iterator[str]:
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


def misnamed(file: CampaignFile, used: Sequence[TemplateEntry], places: Places) -> Iterator[Problem]:
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
