"""How a command ends: interrupted, read no further, unable to write, or asked for what makes no sense."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from ops.cli import asking
from ops.cli.main import main
from tests.measuring.books import VAULT, Books

Run = Callable[..., Result]

#: Presses Ctrl-C at the moment a module is looked for.
INTERRUPTED_AT = """
import signal, sys
class Presses:
    def find_spec(self, name, *_):
        if name == "{module}":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Presses())
from ops.cli.main import main
main(["audit"])
"""


@pytest.mark.parametrize("module", ["click", "sqlalchemy", "ops.cli.people"])
def test_ctrl_c_while_the_program_is_still_being_read_is_no_traceback(home: Path, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT.format(module=module)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_in_a_command_says_that_what_was_committed_is_safe(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asking, "find_breaches", press)

    result = run("audit")

    assert (result.exit_code, result.stderr) == (130, "\ninterrupted; what was committed is safe\n")


def test_a_bug_is_shown_and_is_no_broken_promise(ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(asking, "find_breaches", fail)

    result = CliRunner().invoke(main, ["audit"])

    assert result.exit_code == 70
    assert "ZeroDivisionError: a bug" in result.stderr


@pytest.mark.parametrize("words", [("report",), ("audit",), ("--help",), ("report", "--help")], ids=" ".join)
def test_a_reader_who_stops_reading_is_no_broken_promise(ledger_file: Path, words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = _into(writer, words)
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("words", [("report",), ("audit", "--json"), ("--help",)], ids=" ".join)
def test_output_that_cannot_be_written_is_told_in_a_sentence(ledger_file: Path, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = _into(full.fileno(), words)

    assert (done.returncode, done.stderr) == (
        70,
        "reactivate: the output cannot be written: No space left on device\n",
    )


def _into(descriptor: int, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli.main", *words],
        stdout=descriptor,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        ("clock", "--scan-every", "0"),
        ("clock", "--scan-every", "-1"),
        ("clock", "--scan-every", "99999999999999999"),
        ("clock", "--pause", "-1"),
        ("clock", "--pause", "0"),
        ("up", "--pause", "nan"),
        ("up", "--pause", "inf"),
        ("worker", "sms", "--threads", "0"),
    ],
    ids=" ".join,
)
def test_a_number_that_makes_no_sense_is_a_usage_error(run: Run, ledger_file: Path, words: tuple[str, ...]) -> None:
    result = run(*words)

    assert result.exit_code == 2
    assert f"Invalid value for '{words[-2]}'" in result.stderr


def test_a_story_cannot_be_told_in_a_file_and_leaves_nothing_beside_it(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    precious = place / "thesis.txt"
    precious.write_text("precious")

    in_it, below_it = run("demo", "--out", str(precious)), run("demo", "--out", str(precious / "a" / "b"))

    assert (in_it.exit_code, below_it.exit_code) == (2, 2)
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]
    assert precious.read_text() == "precious"


@pytest.fixture
def numbers(ledger_file: Path) -> tuple[int, int]:
    """A reply sealed with a key nobody has, and a send for a person whose number no reply has."""
    stranger = Vault(keys={7: b"7" * 32}, current=7, index_key=VAULT.index_key)
    engine = open_ledger(f"sqlite:///{ledger_file}")
    with engine.begin() as conn:
        books = Books(conn)
        who, sent = books.person(), 0
        came = books.reply(who, "other", "human", body=stranger.seal(b"hello", "reply.body"))
        while sent <= came:
            lost = books.person()
            touch_id = books.touch(lost, books.enrol(lost), state="uncertain", reason="timeout")
            sent = books.attempt(lost, touch_id, state="uncertain", needs_person=True)
    engine.dispose()
    return came, sent


def test_a_text_whose_key_is_missing_is_told_in_a_sentence(run: Run, numbers: tuple[int, int]) -> None:
    result = run("inbox", "show", str(numbers[0]))

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == ("reactivate: a sealed value names a key that is not configured (REACTIVATE_VAULT_KEYS)\n")


@pytest.mark.parametrize("verb", ["show", "close"])
def test_a_send_that_is_taken_for_a_reply_leads_to_the_right_command(
    run: Run, numbers: tuple[int, int], verb: str
) -> None:
    result = run("inbox", verb, str(numbers[1]))

    assert result.exit_code == 2
    assert f"reactivate inbox settle {numbers[1]} --accepted" in result.stderr
    assert "settle" not in run("inbox", verb, "99").stderr


def test_inbox_and_quarantine_alone_list(run: Run, numbers: tuple[int, int]) -> None:
    inbox, quarantine = run("inbox"), run("quarantine")

    assert (inbox.exit_code, inbox.stdout) == (0, run("inbox", "list").stdout)
    assert f"attempt {numbers[1]}" in inbox.stdout
    assert (quarantine.exit_code, quarantine.stdout) == (0, "nothing is held\n")
    # and a subcommand does not list first
    assert run("quarantine", "list").stdout == "nothing is held\n"


def test_what_is_not_held_can_neither_be_replayed_nor_dismissed(run: Run, ledger_file: Path) -> None:
    replayed, dismissed = run("quarantine", "replay", "9"), run("quarantine", "dismiss", "9", "9")

    assert (replayed.exit_code, dismissed.exit_code) == (1, 1)
    assert dismissed.stderr == "reactivate: 1 not held: no such message, or it was settled\n"
