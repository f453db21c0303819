"""What a person's file gets wrong is told in words of the house, and a file of another kind is recognised as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pydantic import BaseModel
from rulebooks import STANDARD

from ops.runtime.filekinds import KINDS, kind_with
from ops.runtime.yamlfile import FileProblems
from ops.runtime.yamlreasons import FORMS, WORDED
from producers.campaign_file import CampaignFile, read_campaign
from producers.importing.mapping_file import MappingFile, read_mapping
from producers.importing.organisation_file import OrganisationFile, read_organisation
from producers.lexicon import FormFile, WordsFile
from producers.rule_entries import OverridesFile, TableFile
from producers.rule_files import read_rules
from producers.templates import TemplateFile, read_library

Run = Callable[..., Result]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
KINDLY: tuple[type[BaseModel], ...] = (
    CampaignFile,
    TemplateFile,
    OrganisationFile,
    OverridesFile,
    TableFile,
    MappingFile,
)
FILES = {
    "campaign": EXAMPLES / "campaign.yaml",
    "everything": EXAMPLES / "campaign-with-everything.yaml",
    "templates": EXAMPLES / "templates.yaml",
    "organisation": EXAMPLES / "synthea-fhir/organisation.yaml",
    "rules": EXAMPLES / "rules.yaml",
    "mapping": EXAMPLES / "synthea-csv/mapping.yaml",
}
READ: dict[str, Callable[[Path], object]] = {
    "campaign": lambda path: read_campaign(path, STANDARD),
    "everything": lambda path: read_campaign(path, STANDARD),
    "templates": read_library,
    "organisation": read_organisation,
    "rules": read_rules,
    "mapping": read_mapping,
}
#: Words that are pydantic's and nobody else's.
THEIRS = re.compile(
    r"\b(input|should|valid (?:integer|number|string|dictionary|list|tuple|date|boolean)|tuple|dictionary|"
    r"after validation|match pattern|instance of|unable to parse|greater than or|less than or)\b",
    re.IGNORECASE,
)

#: The errors each kind of check in a model may end in; the limits beside it have errors of their own.
ENDS = {
    "model": {"model_type"},
    "model-fields": {"missing", "extra_forbidden"},
    "dataclass": {"dataclass_type"},
    "dataclass-args": {"missing", "unexpected_keyword_argument"},
    "str": {"string_type", "string_unicode"},
    "int": {"int_type", "int_parsing", "int_parsing_size", "int_from_float"},
    "float": {"float_type", "float_parsing", "finite_number"},
    "bool": {"bool_type", "bool_parsing"},
    "date": {"date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"},
    "time": {"time_type", "time_parsing"},
    "tuple": {"tuple_type", "missing"},
    "list": {"list_type"},
    "dict": {"dict_type"},
    "enum": {"enum"},
    "literal": {"literal_error"},
    "tagged-union": {"union_tag_invalid", "union_tag_not_found"},
    "is-instance": {"is_instance_of", "path_type"},
    "function-after": {"value_error", "assertion_error"},
    "function-before": {"value_error", "assertion_error"},
    "function-plain": {"value_error", "assertion_error"},
}
LIMITS = {
    "gt": {"greater_than"},
    "ge": {"greater_than_equal"},
    "lt": {"less_than"},
    "le": {"less_than_equal"},
    "pattern": {"string_pattern_mismatch"},
}
#: They hold others, or let everything through.
PASS = {
    "definitions", "definition-ref", "model-field", "dataclass-field", "default", "nullable", "no-info", "with-info",
    "lax-or-strict", "json-or-python", "union", "any",
}  # fmt: skip


def checks(schema: Any) -> Iterator[dict[str, Any]]:
    """Every check in a model's schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str):
            yield schema
        for key, inside in schema.items():
            if key not in {"metadata", "serialization"}:
                yield from checks(inside)
    elif isinstance(schema, list | tuple):
        for inside in schema:
            yield from checks(inside)


@pytest.mark.parametrize("model", [*KINDLY, FormFile, WordsFile], ids=lambda model: model.__name__)
def test_every_error_a_file_can_end_in_has_words(model: type[BaseModel]) -> None:
    for check in checks(model.__pydantic_core_schema__):
        kind = check["type"]

        assert kind in ENDS or kind in PASS, f"which errors does {kind} end in?"
        found = set(ENDS.get(kind, set()))
        found |= {each for limit, errors in LIMITS.items() if limit in check for each in errors}
        if {"min_length", "max_length"} & check.keys():
            found |= {"string_too_short", "string_too_long"} if kind == "str" else {"too_short", "too_long"}
        assert found <= WORDED
        assert check.get("pattern", next(iter(FORMS))) in FORMS


@pytest.mark.parametrize(
    ("kind", "before", "after", "sentence"),
    [
        ("campaign", "holdout: 0.10", "holdout: 0", "holdout: expected 0.01 or more"),
        ("campaign", "holdout: 0.10", "holdout: .nan", "holdout: expected"),
        ("campaign", "holdout: 0.10", "holdout: a tenth", "holdout: expected a number, such as 0.1"),
        ("campaign", "channels: [sms, email]", "channels: []", "channels: expected 1 entry or more; there are 0"),
        ("campaign", "channels: [sms, email]", "channels: sms", "channels: expected a list, as in [a, b]"),
        (
            "campaign",
            "audience:",
            "audience: everybody\naudiences:",
            "audience: expected fields, one `name: value` a line",
        ),
        (
            "campaign",
            "audience:",
            "audience: [everybody]\naudiences:",
            "audience: expected fields, one `name: value` a line",
        ),
        ("campaign", '["10:30", "15:00"]', "[noon]", "send_at[0]: expected a time of day in quotes, such as"),
        ("campaign", "holdout: 0.10", "blackout: [{first: soon, last: 2026-01-02}]", "expected a date, such as 2026-"),
        (
            "campaign",
            "holdout: 0.10",
            "blackout: [{first: 2026-01-01T10:00, last: 2026-01-02}]",
            "blackout[0].first: expected a date without a time of day, such as 2026-03-08",
        ),
        ("campaign", "holdout: 0.10", "blackout: {first: 2026-01-01}", "blackout: expected a list"),
        ("campaign", "holdout: 0.10", "seasons: [flu]", "seasons: expected fields, one"),
        ("campaign", "holdout: 0.10", "library: [a]", "library: expected the path of a file or folder"),
        ("campaign", "holdout: 0.10", "use: [Hello]", "use[0]: expected a template as KEY@VERSION, such as"),
        ("campaign", "holdout: 0.10", "enrol_in: [[flu]]", "enrol_in[0]: expected a text"),
        ("campaign", "campaign: welcome-back", "campaign: Welcome Back!", "a letter first, such as welcome-back"),
        ("campaign", "campaign: welcome-back", "campaign: [a]", "campaign: expected a text"),
        ("campaign", "cadence: [0, 10, 30, 90, 180]", "cadence: []", "cadence: expected 1 entry or more; there are 0"),
        (
            "campaign",
            "cadence: [0, 10, 30, 90, 180]",
            "cadence: [0, 10, 20, 30, 40, 50, 60]",
            "cadence: expected 6 entries or fewer",
        ),
        ("campaign", "cadence: [0, 10, 30, 90, 180]", "cadence: [0, ten]", "expected a whole number, such as 7"),
        ("campaign", "cadence: [0, 10, 30, 90, 180]", "cadence: [0, 7.5]", "expected a whole number, such as 7"),
        ("everything", "answers: [reply, click]", "answers: [smile]", "answers[0]: expected 'reply' or 'click'"),
        ("templates", "language: en", "language: english", "language: expected a language in two small letters"),
        ("templates", "version: 1", "version: 0", "version: expected 1 or more"),
        ("templates", "key: spring-walk", "key: Spring Walk", "such as spring-walk"),
        ("organisation", "lines: {primary_care: {}, chronic_care: {}}", "lines: []", "lines: expected fields, one"),
        ("organisation", "key: ", "key: +", "key: expected"),
        ("mapping", "source: ", "source: '' # ", "source: "),
        ("mapping", "files:", "delimiter: ';;'\nfiles:", "delimiter: expected 1 character or fewer"),
        ("rules", "override:", "override: []\nx:", "override: expected 1 entry or more; there are 0"),
    ],
    ids=str,
)
def test_a_mistake_is_told_in_words_of_the_house(
    tmp_path: Path, kind: str, before: str, after: str, sentence: str
) -> None:
    text = FILES[kind].read_text()
    assert before in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(before, after, 1))

    with pytest.raises(FileProblems) as caught:
        READ[kind](path)

    told = str(caught.value)
    assert sentence in told
    assert not THEIRS.search(told), told
    assert all(re.match(rf"{re.escape(str(path))}:\d+: ", line) for line in told.splitlines())


def test_a_list_whose_entries_do_not_fit_is_not_said_to_be_too_short(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(FILES["templates"].read_text().replace("version: 1", "version: one"))

    with pytest.raises(FileProblems) as caught:
        read_library(path)

    assert {problem.reason for problem in caught.value.problems} == {"expected a whole number, such as 7"}


def test_the_kinds_have_the_keys_of_their_models() -> None:
    kinds = [kind_with(model.model_fields) for model in KINDLY]

    assert sorted(each.name for each in kinds if each) == sorted(each.name for each in KINDS)
    for model, kind in zip(KINDLY, kinds, strict=True):
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        assert kind is not None
        assert kind.required == required


@pytest.mark.parametrize("given", FILES)
@pytest.mark.parametrize("wanted", FILES)
def test_a_file_of_another_kind_is_recognised_in_one_sentence(wanted: str, given: str) -> None:
    if kind_with_name(wanted) == kind_with_name(given):
        READ[wanted](FILES[given])
        return

    with pytest.raises(FileProblems) as caught:
        READ[wanted](FILES[given])

    (problem,) = caught.value.problems
    assert problem.reason.startswith(f"this is {kind_with_name(given)}, and here {kind_with_name(wanted)} is wanted")
    assert str(FILES[given]) in problem.reason


def test_the_command_that_is_named_for_a_file_takes_it(run: Run) -> None:
    shown = run("template", "check", str(FILES["campaign"]))

    assert shown.exit_code == 2
    (named,) = re.findall(r"`reactivate (.+)`", shown.stderr)
    assert run(*named.split()).exit_code == 0


@pytest.mark.parametrize(
    "text",
    ["campaign: x\ncadence: [0]\ntemplats: []\n", "templates: []\naudience: {}\n", "campaign: x\n", "nonsense: 1\n"],
)
def test_a_file_with_a_mistake_in_its_keys_is_still_taken_for_what_was_asked(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(FileProblems) as caught:
        read_campaign(path, STANDARD)

    assert "is wanted" not in str(caught.value)


def kind_with_name(which: str) -> str:
    """What a file of the examples is called."""
    return {
        "campaign": "a campaign file",
        "everything": "a campaign file",
        "templates": "a file of templates",
        "organisation": "an organisation file",
        "rules": "an organisation's file of rules",
        "mapping": "a mapping file",
    }[which]
