"""The story through the command line: every promise kept, the same from the same seed, a broken guard found out."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from storyteller import BROKEN_GUARD, essence, report_of, run

STORY = ("demo", "--patients", "300", "--months", "2", "--seed", "7")
SHORT = ("demo", "--patients", "120", "--months", "1", "--seed", "7")

Told = tuple[CompletedProcess[str], Path]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A small story, told once, and its directory."""
    directory = tmp_path_factory.mktemp("story") / "demo"
    return run(*STORY, "--out", str(directory), "--json"), directory


def test_the_story_ends_well_and_prints_the_report_it_wrote(told: Told) -> None:
    done, directory = told

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == report_of(directory)
    assert "Traceback" not in done.stderr


def test_piped_it_tells_its_progress_in_plain_lines(told: Told) -> None:
    done, _ = told

    assert "Jan 2025 (0 %)" in done.stderr.splitlines()
    assert "\x1b[" not in done.stderr


def test_the_report_says_everything_that_was_promised(told: Told) -> None:
    report = report_of(told[1])

    assert report["sites"] == 6
    assert report["patients"] == 300
    assert report["lapsed"] == sum(report["by_segment"].values()) > 0
    assert set(report["enrolled"]) == {"treatment", "holdout"}
    assert all(count > 0 for count in report["enrolled"].values())
    assert set(report["touches"]) == {"sms", "email"}
    assert all(states["accepted"] > 0 for states in report["touches"].values())
    assert sum(report["replies"].values()) > 0
    assert report["opt_outs"] > 0
    assert report["rebooked"] > 0
    for arm in ("treatment", "holdout"):
        assert set(report["returned"][arm]) == {"n", "of"}
        assert report["returned"][arm]["of"] == report["enrolled"][arm]
    assert report["lift"]["low"] <= report["lift"]["points"] <= report["lift"]["high"]
    assert report["median_days_to_return"] > 0
    assert report["simulated_days"] == 61
    assert report["seconds"] > 0


def test_every_promise_is_kept_in_the_ledger_and_before_the_witness(told: Told) -> None:
    report = report_of(told[1])

    promises = {"sent_after_opt_out", "accepted_twice", "outside_hours", "over_cap", "phi_in_outreach", "unaccounted"}
    assert promises <= set(report["promises"])
    assert set(report["promises"].values()) == {0}
    assert set(report["witness"]["promises"].values()) == {0}


def test_the_witness_and_the_ledger_agree_to_the_message(told: Told) -> None:
    report = report_of(told[1])

    accepted = sum(states["accepted"] for states in report["touches"].values())
    assert report["witness"]["provider_accepted"] == report["witness"]["ledger_accepted"] >= accepted > 0


def test_two_fictional_people_released_the_storys_words(told: Told) -> None:
    shown = run("--home", str(told[1]), "template", "status", "--json")

    (text,) = json.loads(shown.stdout)
    assert (text["template"], text["state"]) == ("campaign:welcome-back@1", "released")
    assert [each["role"] for each in text["events"]] == ["marketing", "clinical"]
    assert all("(fictional)" in each["who"] for each in text["events"])


def test_a_patient_of_the_story_can_be_explained_and_its_ledger_audited(told: Told) -> None:
    _, directory = told
    patient = report_of(directory)["example_patient"]

    explained = run("--home", str(directory), "explain", patient, "--json")
    audited = run("--home", str(directory), "audit", "--json")

    assert (explained.returncode, audited.returncode) == (0, 0), explained.stderr + audited.stderr
    assert patient in explained.stdout
    assert {each["count"] for each in json.loads(audited.stdout)} == {0}


def test_the_same_seed_tells_the_same_story(told: Told, tmp_path: Path) -> None:
    again = run(*STORY, "--out", str(tmp_path / "again"))

    assert again.returncode == 0, again.stderr
    assert essence(report_of(tmp_path / "again")) == essence(report_of(told[1]))
    assert "reactivate --home" in again.stdout


def test_another_seed_tells_another_story(told: Told, tmp_path: Path) -> None:
    other = run(*SHORT[:-1], "12", "--out", str(tmp_path / "other"))

    assert other.returncode == 0, other.stderr
    assert essence(report_of(tmp_path / "other")) != essence(report_of(told[1]))


def test_a_guard_that_does_not_guard_is_found_out_by_the_demo_and_by_the_audit(tmp_path: Path) -> None:
    directory = tmp_path / "unguarded"

    demo = run(*SHORT, "--out", str(directory), code=BROKEN_GUARD)

    assert demo.returncode == 1, demo.stderr
    assert "promises were broken: " in demo.stderr
    broken = {name for name, count in report_of(directory)["promises"].items() if count}
    assert broken
    assert all(f"{name} (" in demo.stderr for name in broken)

    audit = run("--home", str(directory), "audit")
    assert audit.returncode == 1
    assert all(f"BROKEN {name}" in audit.stdout for name in broken)
    assert "a promise is broken" in audit.stderr


def without_witness_details(report: dict[str, Any]) -> dict[str, Any]:
    return essence(report) | {"witness": {**report["witness"], "promises": None}}


@pytest.mark.fleet
@pytest.mark.timeout(600)
def test_a_fleet_of_processes_tells_the_same_story_as_one_process(tmp_path: Path) -> None:
    reports = {}
    for name, more in (("embedded", ()), ("fleet", ("--fleet",))):
        done = run(*SHORT, *more, "--out", str(tmp_path / name), timeout=500)
        assert done.returncode == 0, done.stderr
        reports[name] = report_of(tmp_path / name)

    assert set(reports["fleet"]["witness"]["promises"].values()) == {0}
    assert without_witness_details(reports["fleet"]) == without_witness_details(reports["embedded"])
