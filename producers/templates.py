"""Template files: read, expanded into the texts of each key and version, and judged by the lexicon line by line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

import ops
from domain.ledger.texts import VersionNews
from domain.rules.template_lint import Finding, lint
from domain.rules.templates import ANY_STEP, Template
from domain.rules.vocabulary import Segment
from ops.runtime.yamlfile import FileProblems, Places, Problem, read_yaml_with_places
from producers.lexicon import form_file, lexicon

#: The library that comes with the system.
SHIPPED = Path(ops.__file__).parent / "templates"

#: What an item given to federal-payer patients may be worth, in dollars (OIG policy of December 7, 2016).
MOST_GIVEN = 15

KEY = r"[a-z0-9][a-z0-9-]{1,62}"


class TemplateFileError(Exception):
    """No such template or folder; the message says what there is."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextEntry(_Strict):
    """What one channel says in one language."""

    channel: str
    language: Annotated[str, Field(pattern="^[a-z]{2}$")]
    body: Annotated[str, Field(min_length=20, max_length=5000)]
    subject: Annotated[str, Field(min_length=3, max_length=150)] | None = None


#: What is as good as cash, by the words that stand for it.
_CASH = (
    "cash", "money", "gift card", "giftcard", "gift certificate", "voucher", "check", "cheque", "coupon", "prepaid",
    "debit", "credit", "visa", "mastercard", "amex", "paypal", "venmo", "zelle", "bitcoin", "crypto", "rebate",
    "refund", "waiver", "copay", "lottery", "raffle", "dinero", "efectivo", "tarjeta", "vale de", "cupon", "cupón",
)  # fmt: skip


def no_cash(item: str) -> str:
    """The item, if it is a thing.

    Raises:
        ValueError: it is cash, or as good as cash.
    """
    words = " ".join(re.findall(r"\w+", item.casefold()))
    found = next((each for each in _CASH if re.search(rf"\b{each}s?\b", words)), None)
    if found is not None:
        raise ValueError(f"{found!r}: never cash, nor what is as good as cash (incentives.us-cash): name a thing")
    return item


class Incentive(_Strict):
    """A small thing given to who comes: never cash or what is as good as cash."""

    item: Annotated[str, Field(min_length=3, max_length=80)]
    worth_dollars: Annotated[float, Field(gt=0, le=MOST_GIVEN)]

    @field_validator("item")
    @classmethod
    def _is_a_thing(cls, item: str) -> str:
        return no_cash(item)

    @property
    def id(self) -> str:
        """By which offers of it are counted: `water-bottle`."""
        return "-".join(re.findall(r"[a-z0-9]+", self.item.casefold()))[:64]

    @property
    def cents(self) -> int:
        """What it is worth."""
        return round(self.worth_dollars * 100)


class TemplateEntry(_Strict):
    """One template: a key, a version, where it fits, and its texts. A change is a new version."""

    key: Annotated[str, Field(pattern=f"^{KEY}$")]
    version: Annotated[int, Field(ge=1, le=9999)]
    segments: tuple[Segment, ...] = ()
    """None: every one."""
    step_kind: Literal["outreach", "reminder"] | None = None
    steps: tuple[Annotated[int, Field(ge=0, le=5)], ...] = ()
    """Steps of the cadence, from 0; none: every one."""
    season: Annotated[str, Field(pattern=f"^{KEY}$")] | None = None
    """It is said in this season only, whose days are the campaign's to say."""
    incentive: Incentive | None = None
    languages: tuple[str, ...] = ()
    """Which it must have; none: those of the lexicon's form file."""
    texts: Annotated[tuple[TextEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_clear(self) -> TemplateEntry:
        if self.steps and self.step_kind != "outreach":
            raise ValueError("steps belong to `step_kind: outreach`")
        said = [(each.channel, each.language) for each in self.texts]
        twice = sorted({each for each in said if said.count(each) > 1})
        if twice:
            raise ValueError(f"two texts for {' in '.join(twice[0])}")
        return self

    @property
    def name(self) -> str:
        """`key@version`."""
        return f"{self.key}@{self.version}"

    def templates(self) -> tuple[Template, ...]:
        """Every text for every segment and step, as the rules see it."""
        return tuple(
            Template(
                channel=text.channel,
                language=text.language,
                body=text.body,
                subject=text.subject,
                segment=segment,
                step_kind=self.step_kind or "",
                step=step,
                season=self.season or "",
                incentive=self.incentive.id if self.incentive else "",
                cents=self.incentive.cents if self.incentive else 0,
            )
            for text in self.texts
            for segment in ([each.value for each in self.segments] or [""])
            for step in (self.steps or (ANY_STEP,))
        )

    def news(self) -> VersionNews:
        """As the ledger records it."""
        return VersionNews(self.key, self.version, checksum(self.templates()), self.templates())


class TemplateFile(_Strict):
    """A file of templates."""

    templates: Annotated[tuple[TemplateEntry, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding, and where its template is written."""

    path: Path
    template: str
    """`key@version`."""
    problem: Problem
    finding: Finding


@dataclass(frozen=True, slots=True)
class Library:
    """Templates of a file or folder, by key and version, and everything the lexicon finds wrong with them."""

    path: Path
    entries: dict[tuple[str, int], TemplateEntry]
    judged: tuple[Judged, ...]

    def find(self, name: str) -> TemplateEntry:
        """The template `key@version`, or the newest version of `key`.

        Raises:
            TemplateFileError: there is none.
        """
        key, _, version = name.partition("@")
        there = sorted(each for each in self.entries if each[0] == key)
        wanted = [each for each in there if version in {"", str(each[1])}]
        if not wanted:
            names = [f"{key}@{number}" for key, number in (there or sorted(self.entries))]
            raise TemplateFileError(f"{self.path} has no template {name}; there are {', '.join(names)}")
        return self.entries[wanted[-1]]

    def check(self, *names: str) -> None:
        """Make sure that nothing is wrong with these templates.

        Raises:
            FileProblems: something is.
        """
        wrong = [each for each in self.judged if each.template in names]
        if wrong:
            raise FileProblems(wrong[0].path, [each.problem for each in wrong if each.path == wrong[0].path])


def read_library(path: Path = SHIPPED) -> Library:
    """Read and judge a file of templates, or every one in a folder.

    Raises:
        FileProblems: a file is not right, or two give the same key and version.
        TemplateFileError: the folder has no file of templates.
    """
    paths = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not paths:
        raise TemplateFileError(f"{path} has no .yaml file of templates")
    entries: dict[tuple[str, int], TemplateEntry] = {}
    judged: list[Judged] = []
    for each in paths:
        file, places = read_yaml_with_places(each, TemplateFile)
        for nth, entry in enumerate(file.templates):
            if (entry.key, entry.version) in entries:
                raise FileProblems(each, [places.problem(("templates", nth, "key"), f"{entry.name} is there twice")])
            entries[entry.key, entry.version] = entry
            judged += (
                Judged(each, entry.name, placed(places, ("templates", nth, *where), finding), finding)
                for where, finding in judge(entry)
            )
    return Library(path, entries, tuple(judged))


def judge(entry: TemplateEntry) -> Iterator[tuple[tuple[str | int, ...], Finding]]:
    """Everything wrong with a template, each with its place inside it."""
    for nth, text in enumerate(entry.texts):
        for finding in judge_text(text, has_incentive=entry.incentive is not None):
            yield ("texts", nth), finding
    for channel in sorted({each.channel for each in entry.texts}):
        has = {each.language for each in entry.texts if each.channel == channel}
        for language in entry.languages or form_file().languages:
            if language not in has:
                advice = f"no {channel} text in this language: write one, or say `languages:` what is wanted"
                yield ("texts",), Finding("language.missing", language, advice, field="")


def judge_text(text: TextEntry, *, has_incentive: bool = False) -> list[Finding]:
    """Everything wrong with one text."""
    plain = Template(channel=text.channel, language=text.language, body=text.body, subject=text.subject)
    found = lint(plain, lexicon())
    return found if has_incentive else [*found, *_gifts(text)]


def _gifts(text: TextEntry) -> Iterator[Finding]:
    for words in form_file().gifts.get(text.language, ()):
        if words in text.body.casefold():
            advice = "offers something: declare it as `incentive:` with what it is worth"
            yield Finding("incentive.undeclared", words, advice)


def placed(places: Places, where: Sequence[str | int], finding: Finding) -> Problem:
    """A finding as a problem of its file, on its line."""
    text = (finding.field,) if finding.field else ()
    return places.problem((*where, *text), str(finding), finding.line)


def checksum(texts: Sequence[Template]) -> str:
    """Of texts, whatever their order."""
    rows = sorted(json.dumps(_said(each), sort_keys=True) for each in texts)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _said(text: Template) -> dict[str, Any]:
    """What a text says, and where; what it does not restrict is left out, so that a new field changes no old text."""
    said = asdict(text)
    return {name: value for name, value in said.items() if value or name not in {"season", "incentive", "cents"}}
