"""The documentation agrees with the code: settings, links, commands, promises and metrics."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from channels.kit.discovery import providers
from domain.ledger.audit import PROMISES
from ops.cli.main import main
from ops.reference import BEGIN, END, PAGE, RULES_BEGIN, RULES_END, RULES_PAGE, with_rules, with_table

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
_COMMAND = re.compile(r"(?:^\s*|`|bin/)reactivate ((?:--home \S+ )?[a-z][a-z -]*)", re.MULTILINE)
_VARIABLE = re.compile(r"REACTIVATE_[A-Z_]*[A-Z]")


def test_the_table_of_settings_is_the_one_the_code_makes() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert BEGIN in page
    assert END in page
    assert with_table(page) == page, "run `python -m ops.reference`"


def test_the_tables_of_rules_are_those_the_system_goes_by() -> None:
    page = RULES_PAGE.read_text(encoding="utf-8")

    assert RULES_BEGIN in page
    assert RULES_END in page
    assert with_rules(page) == page, "run `python -m ops.reference`"


def test_every_variable_the_code_reads_is_in_the_table() -> None:
    sources = [
        path
        for folder in ("channels", "domain", "ops/runtime", "producers", "workers")
        for path in (ROOT / folder).rglob("*.py")
    ]
    read = {name for path in sources for name in _VARIABLE.findall(path.read_text(encoding="utf-8"))}

    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]

    assert read - set(_VARIABLE.findall(table)) == set()
    assert {setting.name for channel in providers().values() for setting in channel.settings} <= read


def test_the_example_environment_names_every_setting_of_a_channel() -> None:
    example = (ROOT / "ops" / "docker" / "env.example").read_text(encoding="utf-8")

    wanted = {setting.name for channel in providers().values() for setting in channel.settings}

    assert wanted - set(_VARIABLE.findall(example)) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    missing = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    unknown = [words for words in _COMMAND.findall(text) if not _is_known(words.split())]

    assert unknown == []


def test_every_decision_and_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")

    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")]

    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


def test_the_readme_tells_every_promise_the_audit_judges() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [promise for promise in PROMISES if f"`{promise}`" not in readme] == []


def _is_known(words: list[str]) -> bool:
    command: click.Command | None = main
    if words[0] == "--home":
        words = words[2:]
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.commands.get(word)
    return command is not None
