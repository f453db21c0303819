"""`reactivate segments` tells what a text costs, where it is cut, and what would make it cheaper."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from ops.cli.main import main

Run = Callable[..., Result]


def test_a_plain_text_is_counted_and_cut(run: Run) -> None:
    shown = run("segments", "a" * 152 + "€b")

    assert shown.exit_code == 0
    assert shown.output == "GSM-7: 155 units, 1 segment (160 alone, 153 each of several)\n  1: 155 '" + (
        "a" * 152 + "€b'\n"
    )


def test_every_segment_is_shown_with_its_units_and_no_escape_is_split(run: Run) -> None:
    lines = run("segments", "a" * 152 + "€" + "b" * 10).output.splitlines()

    assert lines[0].startswith("GSM-7: 164 units, 2 segments")
    assert lines[1:] == [f"  1: 152 {'a' * 152!r}", f"  2:  12 {'€' + 'b' * 10!r}"]


def test_what_forces_ucs_2_is_named_and_folding_is_offered(run: Run) -> None:
    shown = run("segments", "It’s time… " * 10).output

    assert shown.startswith("UCS-2: 110 units, 2 segments (70 alone, 67 each of several)")
    assert 'not in GSM-7: U+2019 RIGHT SINGLE QUOTATION MARK, 10 times; could fold to "\'"' in shown
    assert "folded, as the SMS channel sends it:\nGSM-7: 130 units, 1 segment" in shown


def test_a_letter_is_never_folded_and_that_is_said(run: Run) -> None:
    shown = run("segments", "Está “listo”").output

    assert "U+00E1 LATIN SMALL LETTER A WITH ACUTE, 1 time; never folded" in shown
    assert "folding leaves it alone" in shown


def test_folded_is_what_is_counted_when_asked_for(run: Run) -> None:
    shown = json.loads(run("segments", "It’s", "--fold", "--json").output)

    assert (shown["encoding"], shown["units"], shown["texts"]) == ("GSM-7", 4, [{"units": 4, "text": "It's"}])
    assert [each["code_point"] for each in shown["forces_ucs2"]] == ["U+2019"]


def test_json_tells_everything(run: Run) -> None:
    shown = json.loads(run("segments", "👍’", "--json").output)

    assert shown == {
        "encoding": "UCS-2",
        "units": 3,
        "segments": 1,
        "texts": [{"units": 3, "text": "👍’"}],
        "forces_ucs2": [
            {
                "character": "👍",
                "code_point": "U+1F44D",
                "name": "THUMBS UP SIGN",
                "times": 1,
                "folds_to": None,
            },
            {
                "character": "’",
                "code_point": "U+2019",
                "name": "RIGHT SINGLE QUOTATION MARK",
                "times": 1,
                "folds_to": "'",
            },
        ],
        "folded": None,
    }


@pytest.mark.parametrize(("piped", "units"), [("abc", 3), ("abc\n", 3), ("abc\r\n", 3), ("abc\n\n", 4), ("", 0)])
def test_standard_input_is_read_without_its_last_line_break(piped: str, units: int) -> None:
    shown = CliRunner().invoke(main, ["segments", "-", "--json"], input=piped)

    assert json.loads(shown.output)["units"] == units


def test_input_that_is_no_text_is_told_in_a_sentence() -> None:
    shown = CliRunner().invoke(main, ["segments", "-"], input=b"ab\xff")

    assert shown.exit_code == 2
    assert "standard input is not UTF-8 text: byte 3" in shown.output


def test_an_argument_that_is_no_text_is_told_in_a_sentence(run: Run) -> None:
    shown = run("segments", "ab\udcff")

    assert shown.exit_code == 2
    assert "TEXT is not UTF-8: character 3" in shown.output
