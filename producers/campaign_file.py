"""Campaign files: whom, how often, in which words; every problem told with its line and field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from domain.ledger.texts import VersionNews
from domain.rules.rulebook import Rulebook
from ops.runtime.yamlfile import FileProblems, Places, Problem, read_yaml_with_places
from producers.campaign_checks import misnamed, missing, twice
from producers.campaign_form import CampaignFile
from producers.campaign_texts import InlineEntry
from producers.templates import (
    SHIPPED,
    TemplateEntry,
    TemplateFileError,
    judge_text,
    placed,
    read_library,
)


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
    problems += misnamed(file, used, places)
    problems += (places.problem((), reason) for reason in (*twice(news), *missing(file, news)))
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
