"""Every command explains itself, with an example that can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib.metadata import version

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
def test_every_command_has_an_example_whose_words_and_options_exist(path: tuple[str, ...]) -> None:
    command = LEAVES[path]
    epilog = command.epilog or ""

    assert epilog.startswith("Example: ")
    # the inner command of an `eval "$(reactivate …)"`, without variables before it or files after it
    words = shlex.split(epilog.removeprefix("Example: ").replace('eval "$(', "").replace(')"', "").partition(" >")[0])
    words = words[words.index("reactivate") + 1 :]
    if words[0] == "--home":
        words = words[2:]
    assert tuple(words[: len(path)]) == path
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    assert {word for word in words if word.startswith("--")} <= known


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
