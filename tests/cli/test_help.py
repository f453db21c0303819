"""Every command explains itself, with an example that can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ops.cli.main import main


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command, groups included, by the words that reach it."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands(main))
LEAVES = {path: command for path, command in ALL.items() if not isinstance(command, click.Group)}


def test_the_commands_a_user_was_promised_are_there() -> None:
    promised = (
        "demo import migrate worker clock web explain audit report inbox find quarantine services completion campaign"
    )

    assert set(promised.split()) <= set(main.commands)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"])

    assert shown.exit_code == 0
    assert (ALL[path].help or "").strip()
    assert f"Usage: main {' '.join(path)}" in shown.output


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_an_example_that_the_command_takes(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the one folder that must be there already when a command is read
    (tmp_path / "exports/2021-03-31").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = words_of(example_of(path))

    assert tuple(words[: len(path)]) == path
    LEAVES[path].make_context(path[-1], words[len(path) :], click.Context(main, info_name="reactivate"))


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_an_example_stands_on_a_line_of_its_own_however_narrow_the_terminal(
    path: tuple[str, ...], width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)

    example = example_of(path)

    # nothing of it is on another line: it is all that follows, and its quotes are closed
    assert "reactivate " in example
    assert shlex.split(example)


def example_of(path: tuple[str, ...]) -> str:
    """The line after the word `Example:`, at the end of a command's help."""
    shown = CliRunner().invoke(main, [*path, "--help"]).output.splitlines()
    begin = shown.index("  Example:")
    (line,) = [each for each in shown[begin + 1 :] if each.strip()]
    return line.strip()


def words_of(example: str) -> list[str]:
    """What follows `reactivate`: of an `eval "$(reactivate …)"` the inner command, without files after it."""
    words = shlex.split(example.replace('eval "$(', "").replace(')"', "").partition(" >")[0])
    words = words[words.index("reactivate") + 1 :]
    return words[2:] if words[0] == "--home" else words


def test_the_version_is_the_packages() -> None:
    shown = CliRunner().invoke(main, ["--version"])

    assert shown.exit_code == 0
    assert shown.output == f"reactivate, version {version('patient-reactivation-fleet')}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["resurrect"]).exit_code == 2


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_is_printed_for_the_common_shells(shell: str, word: str) -> None:
    shown = CliRunner().invoke(main, ["completion", shell])

    assert shown.exit_code == 0
    assert "_REACTIVATE_COMPLETE" in shown.output
    assert word in shown.output
