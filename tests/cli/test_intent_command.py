"""`reactivate intent` tells what a text means, of one or of a file of them, and scores a file that has labels."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli.main import main

_TEXTS = (
    'id,text,right\n1,"Stop.\n\nSent from my iPhone",opt_out\n2,  who is this  ,question\n3,xyzzy,other\n4,"",other\n'
)


def _intent(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["intent", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A small file of texts with labels."""
    path = tmp_path / "texts.csv"
    path.write_text(_TEXTS, encoding="utf-8")
    return path


def test_a_text_is_told_with_its_effects_and_its_rule() -> None:
    shown = _intent("wrong number, please stop texting me")

    assert shown.exit_code == 0
    assert shown.output.splitlines() == [
        "intent   opt_out",
        "effects  opt_out;wrong_number",
        "rule     optout.en.stop_contacting",
    ]


def test_a_dash_reads_the_text_from_standard_input() -> None:
    shown = CliRunner().invoke(main, ["intent", "-"], input="please stop texting me\n", catch_exceptions=False)

    assert shown.exit_code == 0
    assert shown.output.splitlines()[0] == "intent   opt_out"


def test_a_text_no_rule_knows_says_so_and_is_not_repeated() -> None:
    shown = _intent("xyzzy plugh")

    assert "none: a person reads it" in shown.output
    assert "plugh" not in shown.output


def test_for_machines_it_is_json() -> None:
    assert json.loads(_intent("ALTO", "--json").output) == {
        "intent": "opt_out",
        "effects": ["opt_out"],
        "rule": "optout.es.alto",
    }


def test_each_row_of_a_file_is_answered_in_its_order(texts: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(_intent("--csv", texts).output)))

    assert rows == [
        {"id": "1", "answer_intent": "opt_out", "effects": "opt_out", "rule": "optout.en.stop"},
        {"id": "2", "answer_intent": "question", "effects": "human", "rule": "question.en.words"},
        {"id": "3", "answer_intent": "other", "effects": "human", "rule": ""},
        {"id": "4", "answer_intent": "other", "effects": "human", "rule": ""},
    ]


def test_a_file_is_written_to_and_the_column_may_have_any_name(tmp_path: Path) -> None:
    said, out = tmp_path / "said.csv", tmp_path / "understood.csv"
    said.write_text("\ufeffwords\nSTOP\n", encoding="utf-8")

    shown = _intent("--csv", said, "--column", "words", "--out", out)

    assert (shown.exit_code, shown.output) == (0, "")
    assert out.read_text(encoding="utf-8") == "answer_intent,effects,rule\nopt_out,opt_out,optout.en.stop\n"


def test_an_empty_file_gives_only_the_header(tmp_path: Path) -> None:
    said = tmp_path / "said.csv"
    said.write_text("text\n", encoding="utf-8")

    assert _intent("--csv", said).output == "answer_intent,effects,rule\n"


def test_with_labels_the_rates_are_told_and_no_text(texts: Path) -> None:
    shown = _intent("--csv", texts, "--label", "right")

    assert "right: 4 of 4 (100.0 %)" in shown.output
    assert "opt-outs honoured: 1 of 1 (100.0 %)" in shown.output
    assert "xyzzy" not in shown.output


def test_what_is_found_instead_is_counted_by_label(tmp_path: Path) -> None:
    said = tmp_path / "said.csv"
    said.write_text("text,right\nSTOP,question\nstop texting me,opt_out\nxyzzy,opt_out\n", encoding="utf-8")

    told = json.loads(_intent("--csv", said, "--label", "right", "--json").output)

    assert (told["texts"], told["right"]) == (3, 1)
    assert told["by_label"]["opt_out"] == {"texts": 2, "right": 1, "found": {"opt_out": 1, "other": 1}}
    assert told["opt_outs"] == {"texts": 2, "honoured": 1}
    assert told["opted_out_beside_another_label"] == {"texts": 1, "opted_out": 1}


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (b"words\nSTOP\n", (), "texts.csv:1: there is no column `text`; the first line names words"),
        (b"", (), "texts.csv:1: there is no column `text`; the first line names nothing"),
        (b"id,text\n1\n", (), "texts.csv:2: the row is too short"),
        (b"text\nok\n\xff\xfe\n", (), "not UTF-8 text"),
        (b'text\n"never closed\n', (), "not CSV: unexpected end of data"),
        (b"text,right\nSTOP,halt\n", ("--label", "right"), "texts.csv:2: right: `halt` is no intent; there are"),
        (b"text\nSTOP\n", ("--json",), "--json is for one TEXT, or for --label"),
        (b"text\nSTOP\n", ("STOP",), "give either a TEXT or --csv FILE"),
        (b"text,right\n", ("--label", "right", "--out", "x.csv"), "--out is for what each text means"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_a_sentence(
    tmp_path: Path, content: bytes, arguments: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes(content)

    shown = _intent("--csv", path, *arguments)

    assert shown.exit_code == 2
    assert said in shown.stderr


def test_it_never_writes_over_the_file_it_reads(texts: Path) -> None:
    shown = _intent("--csv", texts, "--out", texts)

    assert shown.exit_code == 2
    assert texts.read_text(encoding="utf-8") == _TEXTS


def test_a_file_that_is_not_there_and_no_text_at_all_are_told(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in _intent("--csv", tmp_path / "none.csv").stderr
    assert "give either a TEXT or --csv FILE" in _intent().stderr
    assert "--out and --label are for --csv" in _intent("STOP", "--label", "x").stderr
