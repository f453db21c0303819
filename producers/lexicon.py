"""The lexicon that templates are judged by: read from its files, checked, and named by a checksum of its content."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

import domain.rules
from channels.kit.discovery import discover
from domain.rules.template_lint import Form, Lexicon
from domain.rules.templates import VARIABLES
from domain.rules.wording import WordRule
from ops.runtime.yamlfile import read_yaml

FILES = Path(domain.rules.__file__).parent / "lexicon"
_FORM = "form.yaml"

Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleEntry(_Strict):
    """Terms of one kind, where they come from, and texts that prove what they find and what they spare."""

    id: Annotated[str, Field(pattern=r"^(clinical|tone)\.[a-z]+$")]
    tells: str
    instead: str
    sources: Words
    terms: Words
    unless: tuple[str, ...] = ()
    examples: Words
    counter_examples: Words


class WordsFile(_Strict):
    """The words of one language; `checked` is the day somebody last went through them."""

    language: Annotated[str, Field(pattern="^[a-z]{2}$")]
    checked: date
    rules: Annotated[tuple[RuleEntry, ...], Field(min_length=1)]


class FormEntry(_Strict):
    """One channel's form."""

    segments: int | None = None
    characters: int | None = None
    subject: int | None = None
    needs: tuple[str, ...]
    variables: tuple[str, ...] = tuple(VARIABLES)
    opt_out: dict[str, tuple[str, ...]] = {}


class FormFile(_Strict):
    """The forms of all channels, and how loud a text may be."""

    checked: date
    languages: Words
    exclamations: int
    loud_words: tuple[str, ...]
    gifts: dict[str, tuple[str, ...]]
    any_other_channel: FormEntry
    channels: dict[str, FormEntry]


@cache
def lexicon() -> Lexicon:
    """The lexicon of this release.

    Raises:
        FileProblems: a file of it is damaged.
    """
    files, form = word_files(), form_file()
    content = json.dumps([each.model_dump(mode="json") for each in (*files, form)], sort_keys=True)
    return Lexicon(
        version=hashlib.sha256(content.encode()).hexdigest()[:12],
        rules=tuple(word_rule(entry, each.language) for each in files for entry in each.rules),
        forms={
            **dict.fromkeys(discover(), _form(form.any_other_channel)),
            **{channel: _form(entry) for channel, entry in form.channels.items()},
        },
        loud_words=frozenset(form.loud_words),
        most_exclamations=form.exclamations,
    )


@cache
def form_file() -> FormFile:
    """The forms of channels, as written."""
    return read_yaml(FILES / _FORM, FormFile)


@cache
def word_files() -> tuple[WordsFile, ...]:
    """The words of every language, as written."""
    return tuple(read_yaml(path, WordsFile) for path in sorted(FILES.glob("*.yaml")) if path.name != _FORM)


def word_rule(entry: RuleEntry, language: str) -> WordRule:
    """An entry as the rules see it."""
    return WordRule(entry.id, language, entry.tells, entry.instead, entry.terms, entry.unless)


def _form(entry: FormEntry) -> Form:
    return Form(
        most_segments=entry.segments,
        most_characters=entry.characters,
        most_in_subject=entry.subject,
        variables=frozenset(entry.variables),
        needs=frozenset(entry.needs),
        opt_out=entry.opt_out,
    )
