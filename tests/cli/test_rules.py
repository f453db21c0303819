"""What is in force and why, and whether somebody may be contacted: asked on the command line and by the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli.main import main
from ops.runtime.settings import read_settings

Run = Callable[..., Result]

OWN = """organisation: lakeside
override:
  - row: hours.default
    reason: mornings are for those who are ill
    limit: {week: {mon-fri: 10:00-18:00, sat-sun: none}}
  - row: hours.us-fl
    acknowledged_by: Jo Doe, General Counsel
    acknowledged_on: 2026-10-01
    reason: no solicitation
    limit: {week: {mon-sun: 08:00-21:00}}
"""
LAX = """override:
  - row: caps.us-fl
    limit: {at_most: 4, hours: 24}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An organisation's own file, named by the setting."""
    path = tmp_path / "lakeside-rules.yaml"
    path.write_text(OWN)
    monkeypatch.setenv("REACTIVATE_RULES", str(path))
    return path


def told(result: Result, code: int = 0) -> list[str]:
    assert result.exit_code == code, result.output
    return result.stdout.splitlines()


def test_the_rules_are_printed_with_limit_source_date_and_counsel(run: Run) -> None:
    lines = told(run("rules"))

    at = lines.index("hours.us-ri (us-ri, law): Mon-Fri 09:00-18:00, Sat-Sun 10:00-17:00")
    assert lines[at + 1] == "    Rhode Island, fewer hours at the weekend."
    assert lines[at + 2].startswith("    source: vendors' tables of state hours, which conflict; checked on 2026-11-23")
    assert lines[at + 2].endswith("; to be verified by counsel")
    assert any("recalled, not checked" in line for line in lines)
    assert "not legal advice" in lines[-1]


def test_a_kind_and_a_state_narrow_the_list_and_say_what_comes_of_it(run: Run) -> None:
    lines = told(run("rules", "--kind", "hours", "--state", "Rhode Island"))

    ids = [line.split(" ")[0] for line in lines if line.startswith("hours.")]
    assert ids == ["hours.us", "hours.default", "hours.holidays", "hours.answers", "hours.emergency", "hours.us-ri"]
    assert "hours in force in RI: Mon-Fri 09:00-18:00, Sat 10:00-17:00, Sun 12:00-17:00" in lines


def test_an_override_is_shown_with_its_file_and_who_answers_for_it(run: Run, own: Path) -> None:
    lines = told(run("rules", "--organisation", "lakeside", "--kind", "hours", "--state", "FL"))

    assert f"    instead of Mon-Sat 09:00-20:00, Sun 12:00-20:00, by {own}: mornings are for those who are ill" in lines
    assert (
        f"    LAXER THAN THE LAW, instead of Mon-Sun 08:00-20:00, by {own}, acknowledged by Jo Doe, General Counsel on "
        "2026-10-01: no solicitation" in lines
    )
    assert "hours in force in FL: Mon-Fri 10:00-18:00, Sat-Sun none" in lines


def test_without_naming_it_an_organisation_is_listed_with_what_it_changed(run: Run, own: Path) -> None:
    lines = told(run("rules"))

    assert "hours.default (us, policy): Mon-Sat 09:00-20:00, Sun 12:00-20:00" in lines
    assert [line for line in lines if line.startswith("lakeside: ")] == [
        "lakeside: hours.default (us, policy): Mon-Fri 10:00-18:00, Sat-Sun none",
        "lakeside: hours.us-fl (us-fl, law): Mon-Sun 08:00-21:00",
    ]


def test_an_organisation_without_a_file_is_told_that_it_has_none(run: Run, own: Path) -> None:
    result = run("rules", "--organisation", "lakesied", "--kind", "caps")

    assert (result.exit_code, result.stderr) == (0, "lakesied has no file of its own: it goes by everybody's rules\n")


def test_the_rules_are_told_to_machines(run: Run, own: Path) -> None:
    result = run("rules", "--organisation", "lakeside", "--kind", "hours", "--json")

    rows = {row["id"]: row for row in json.loads(result.stdout)}
    assert rows["hours.us-fl"]["in_force"] == "Mon-Sun 08:00-21:00"
    assert rows["hours.us-fl"]["limit"] == "Mon-Sun 08:00-20:00"
    assert rows["hours.us-fl"]["to_be_verified_by_counsel"] is True
    assert rows["hours.us-fl"]["override"] == {
        "file": str(own),
        "laxer_than_the_law": True,
        "reason": "no solicitation",
        "acknowledged_by": "Jo Doe, General Counsel",
        "acknowledged_on": "2026-10-01",
    }
    assert (rows["hours.holidays"]["checked_on"], rows["hours.us"]["override"]) == (None, None)


@pytest.mark.parametrize(
    "command",
    [("rules",), ("hours", "--zones", "America/Denver"), ("audit",), ("report",), ("up",)],
    ids=lambda command: command[0],
)
def test_a_file_laxer_than_the_law_lets_nothing_start(
    run: Run, ledger_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(LAX)
    monkeypatch.setenv("REACTIVATE_RULES", str(path))

    result = run(*command)

    assert result.exit_code == 2
    assert f"{path}:3: override[0].limit: 4 in 24 h is laxer than the law (caps.us-fl: 3 in 24 h;" in result.stderr
    assert "Traceback" not in result.output


def test_every_process_logs_at_its_start_which_rules_are_laxer_than_the_law(
    run: Run, ledger_file: Path, own: Path
) -> None:
    result = run("worker", "intake")

    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert [(line["level"], line["event"], line.get("rule"), line["organisation"]) for line in lines] == [
        ("warning", "rule_laxer_than_law", "hours.us-fl", "lakeside"),
        # nobody of this key was ever imported
        ("warning", "rules_of_unknown_organisation", None, "lakeside"),
    ]


def test_the_setting_is_read_with_the_others(home: Path, own: Path) -> None:
    assert read_settings().rules == own


def test_hours_are_answered_in_utc_and_by_every_clock_concerned(run: Run) -> None:
    lines = told(
        run("hours", "--zones", "America/Denver,America/Phoenix", "--state", "FL", "--at", "2026-03-08T01:30Z")
    )

    now = "2026-03-08T01:30:00Z (2026-03-07 Sat 18:30 America/Denver; 2026-03-07 Sat 18:30 America/Phoenix)"
    end = "2026-03-08T03:00:00Z (2026-03-07 Sat 20:00 America/Denver; 2026-03-07 Sat 20:00 America/Phoenix)"
    assert lines == [f"allowed at {now}", "rule: hours.us-fl", f"next allowed: {now}", f"that window ends: {end}"]


def test_an_hour_that_is_not_allowed_tells_the_next_window_over_the_change_of_the_clocks(run: Run) -> None:
    result = run("hours", "--zones", "America/Chicago", "--state", "AL", "--at", "2026-03-07T20:30:00-06:00", "--json")

    assert json.loads(result.stdout) == {
        "allowed": False,
        "at": "2026-03-08T02:30:00Z",
        "next_allowed": "2026-03-09T14:00:00Z",
        "rule": "hours.us-al",
        "states": ["AL"],
        "window_end": "2026-03-10T01:00:00Z",
        "zones": ["America/Chicago"],
    }


def test_zones_without_a_common_hour_are_told_so(run: Run) -> None:
    lines = told(run("hours", "--zones", "America/New_York;Asia/Shanghai", "--at", "2026-07-08T12:00Z"))

    assert lines[0].startswith("not allowed at 2026-07-08T12:00:00Z")
    assert lines[2] == "next allowed: never, these zones share no hour"


def test_hours_by_everybodys_rules_say_whose_were_not_asked_for(run: Run, own: Path) -> None:
    result = run("hours", "--zones", "America/Denver", "--at", "2026-03-04T17:00Z")

    assert (result.exit_code, result.stderr) == (
        0,
        "by everybody's rules; lakeside has its own: ask with --organisation\n",
    )


def test_an_organisations_own_hours_are_asked_by_its_key(run: Run, own: Path) -> None:
    asked = ("hours", "--zones", "America/Denver", "--at", "2026-03-04T16:30Z", "--json")

    answers = [json.loads(run(*asked, *more).stdout) for more in ((), ("--organisation", "lakeside"))]

    assert [each["allowed"] for each in answers] == [True, False]
    assert (answers[1]["rule"], answers[1]["next_allowed"]) == ("hours.default", "2026-03-04T17:00:00Z")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--zones", "Mars/Olympus"), "--zones: Mars/Olympus is no IANA time zone"),
        (("--zones", "America"), "--zones: America is no IANA time zone"),
        (("--zones", " , "), "--zones: expected one IANA time zone"),
        (("--zones", "America/Denver", "--state", "ZZ"), "--state: ZZ is no US state"),
        (("--zones", "America/Denver", "--at", "2026-03-08T01:30"), "--at: 2026-03-08T01:30 is no instant with an"),
        (("--zones", "America/Denver", "--at", "noon"), "--at: noon is no instant"),
        (("--zones", "America/Denver", "--at", "9999-12-31T23:59Z"), "--at: 9999-12-31T23:59Z lies outside"),
        ((), "give either --zones"),
        (("--csv", "x.csv", "--zones", "America/Denver"), "give either --zones"),
        (("--csv", "x.csv", "--json"), "give either --zones"),
    ],
)
def test_a_question_that_makes_no_sense_is_a_usage_error(run: Run, arguments: tuple[str, ...], words: str) -> None:
    result = run("hours", *arguments)

    assert result.exit_code == 2
    assert words in result.stderr


def test_an_unknown_state_of_the_rules_is_a_usage_error(run: Run) -> None:
    result = run("rules", "--state", "Atlantis")

    assert result.exit_code == 2
    assert "--state: Atlantis is no US state" in result.stderr


QUESTIONS = """id,zones,state,instant
1,America/Denver;America/Phoenix,FL,2026-03-08T01:30Z
2,America/Nowhere,FL,2026-03-08T01:30Z
3,America/Denver|America/Chicago,,2026-03-08T11:30:00+02:00
4,America/New_York,RI,2026-07-08T22:30Z,more
5,America/New_York;Asia/Shanghai,,2026-07-08T12:30Z
6,America/New_York,,
"""


def test_a_file_of_questions_is_answered_row_by_row_and_bad_rows_are_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_text(QUESTIONS)

    result = run("hours", "--csv", str(path))

    assert result.exit_code == 1
    answers = list(csv.reader(io.StringIO(result.stdout)))
    assert answers[0] == ["id", "zones", "state", "instant", "allowed", "next_allowed", "window_end", "rule"]
    assert [[row[0], *row[4:]] for row in answers[1:]] == [
        ["1", "yes", "2026-03-08T01:30:00Z", "2026-03-08T03:00:00Z", "hours.us-fl"],
        ["3", "no", "2026-03-08T18:00:00Z", "2026-03-09T01:00:00Z", "hours.default"],
        ["5", "no", "", "", "hours.default"],
    ]
    assert result.stderr.splitlines() == [
        f"{path}:3: zones: America/Nowhere is no IANA time zone such as America/Denver",
        f"{path}:5: more fields than the header has",
        f"{path}:7: instant: nothing is no instant with an offset, such as 2026-03-08T01:30Z",
        f"reactivate: {path}: 3 rows were not answered",
    ]


def test_questions_come_from_standard_input_too(home: Path) -> None:
    text = "state,instant,zones\nAL,2026-03-08T18:00Z,America/Chicago\n"

    result = CliRunner().invoke(main, ["hours", "--csv", "-"], input=text)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1] == (
        "AL,2026-03-08T18:00Z,America/Chicago,no,2026-03-09T14:00:00Z,2026-03-10T01:00:00Z,hours.us-al"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ":1: zones, state, instant: required, but not there"),
        (b"zones,state\n", ":1: instant: required, but not there"),
        (b"\x00\xff\xfe", ":1: "),
    ],
)
def test_a_file_that_is_no_list_of_questions_is_told(run: Run, tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "questions.csv"
    path.write_bytes(content)

    result = run("hours", "--csv", str(path))

    assert result.exit_code == 2
    assert f"{path}{words}" in result.stderr


def test_a_byte_that_is_no_text_spoils_its_own_row_only(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_bytes(b"zones,state,instant\nAmerica/\xff,,2026-03-08T18:00Z\nAmerica/Denver,,2026-03-08T18:00Z\n")

    result = run("hours", "--csv", str(path))

    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert f"{path}:2: zones: " in result.stderr


def test_a_file_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    result = run("hours", "--csv", str(tmp_path / "none.csv"))

    assert (result.exit_code, result.stderr) == (2, f"reactivate: {tmp_path / 'none.csv'}: no such file or directory\n")
