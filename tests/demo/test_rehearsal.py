"""A rehearsal on an export of one's own: everybody is imported, the campaign plays, and no promise is broken."""

from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ops.cli.main import main
from ops.demo import scene
from ops.runtime.settings import new_keys

#: A real Synthea export, beside the checkout on machines that have it.
SYNTHEA = Path(__file__).parents[3] / "shared" / "data" / "fhir" / "synthea_ndjson"
ORGANISATION = Path(__file__).parents[2] / "docs" / "examples" / "synthea-fhir" / "organisation.yaml"

SMALL = """
organisation:
  key: day-health
  name: Day Diabetes and Dental
  neutral_name: Day Health
  phone: +1 617 555 0100
  postal_address: 1 Example Street, Boston, MA 02101
sites:
  - {key: main, name: Main, zone: America/New_York, state: MA, lines: {primary_care: {}, chronic_care: {}}}
  - {key: west, name: West, zone: America/Phoenix, state: AZ, lines: {primary_care: {}, chronic_care: {}}}
fhir:
  source: small-ehr
  default_site: main
  sites: {org-west: west}
  mrn_system: "urn:mrn"
  default_line: primary_care
  care_gaps: [{codes: ["44054006"], measure: diabetes, due_every_months: 6}]
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def rehearse(out: Path, export: Path, organisation: Path, as_of: str, months: int, *more: str) -> dict[str, Any]:
    result = run(
        *("rehearse", export, "--organisation", organisation, "--as-of", as_of),
        *("--months", str(months), "--out", out, "--json", *more),
    )
    assert result.exit_code == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def assert_every_promise_is_kept(report: dict[str, Any]) -> None:
    witness = report["witness"]
    assert set(report["promises"].values()) == {0}
    assert set(witness["promises"].values()) == {0}
    assert witness["provider_accepted"] == witness["ledger_accepted"] > 0


def assert_every_row_is_accounted_for(report: dict[str, Any]) -> None:
    for file in report["imported"]:
        assert file["lines"] == file["taken"] + file["stale"] + file["ignored"] + file["rejected"], file["name"]


def patient(number: int, family: str, phone: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "identifier": [{"system": "urn:mrn", "value": f"M-{number}"}],
        "name": [{"family": family, "given": ["Ana"]}],
        "telecom": [{"system": "phone", "use": "home", "value": phone}],
        "birthDate": "1956-08-03",
        "address": [{"state": "MA"}],
        **more,
    }


def visit(number: int, started: str) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": f"v{number}-{started}",
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": f"Patient/p{number}"},
        "period": {"start": started},
    }


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Some long away, one overdue by a condition only, one who still comes, one dead, two without a usable phone."""
    folder = tmp_path / "export"
    folder.mkdir()
    west = {"managingOrganization": {"reference": "Organization/org-west"}, "address": [{"state": "Arizona"}]}
    patients = [patient(n, "Start" if n % 2 else "Day", f"(617) 555-01{n:02d}") for n in range(10)]
    patients += [patient(10, "Time", "602-555-0110", **west), patient(11, "Zamora", "555-978-4581")]
    patients += [patient(12, "Rivera", "617-555-0112"), patient(13, "Okafor", "617-555-0113")]
    patients += [patient(14, "Koepp", "617-555-0114", deceasedDateTime="2020-01-01T10:00:00Z")]
    patients += [patient(15, "Rice", "", telecom=[]), patient(16, "Smith", "555-123-45")]
    visits = [visit(n, f"2018-0{1 + n % 9}-11T10:00:00-05:00") for n in range(17)]
    visits += [visit(12, "2020-08-01T10:00:00-05:00"), visit(13, "2021-03-31T15:00:00-05:00")]
    condition = {
        "resourceType": "Condition",
        "id": "c1",
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": {"coding": [{"code": "44054006"}]},
        "subject": {"reference": "Patient/p12"},
        "onsetDateTime": "2015-01-01",
    }
    for kind, resources in (("Patient", patients), ("Encounter", visits), ("Condition", [condition])):
        (folder / f"{kind}.ndjson").write_text("\n".join(map(json.dumps, resources)) + "\n")
    (tmp_path / "organisation.yaml").write_text(SMALL)
    return folder


def test_a_small_export_plays_and_names_that_are_words_of_the_texts_are_no_breach(export: Path, tmp_path: Path) -> None:
    report = rehearse(tmp_path / "story", export, tmp_path / "organisation.yaml", "2021-03-31", 3)

    assert_every_promise_is_kept(report)
    assert_every_row_is_accounted_for(report)
    assert report["patients"] == 17


def test_the_day_of_the_export_still_counts_and_a_condition_makes_overdue(export: Path, tmp_path: Path) -> None:
    report = rehearse(tmp_path / "story", export, tmp_path / "organisation.yaml", "2021-03-31", 1)

    with closing(sqlite3.connect(tmp_path / "story" / "ledger.db")) as conn:
        unreachable = conn.execute("select count(*) from lapse where declined = 'unreachable'").fetchone()

    # patient 13 was seen at 20:00 UTC on the last day that the export covers, and 14 is dead
    assert report["by_segment"] == {"beyond_24_months": 14, "chronic_overdue": 1}
    assert unreachable == (2,)


def test_a_rehearsal_has_keys_of_its_own_that_only_its_owner_can_read(export: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        rehearse(tmp_path / name, export, tmp_path / "organisation.yaml", "2021-03-31", 1)

    kept = [tmp_path / name / "settings.env" for name in ("one", "two")]
    one, two = (dict(line.split("=", 1) for line in path.read_text().splitlines()) for path in kept)
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert one["REACTIVATE_VAULT_KEYS"] != two["REACTIVATE_VAULT_KEYS"]
    assert one["REACTIVATE_INDEX_KEY"] != two["REACTIVATE_INDEX_KEY"]


def test_the_same_rehearsal_with_the_same_keys_is_the_same(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # who is in the holdout is drawn by reference, and references are made with the index key
    keys = new_keys()
    monkeypatch.setattr(scene, "new_keys", lambda: keys)
    reports = [
        rehearse(tmp_path / name, export, tmp_path / "organisation.yaml", "2021-03-31", 2) for name in ("one", "two")
    ]

    one, two = ({key: value for key, value in report.items() if key != "seconds"} for report in reports)
    assert one == two


@pytest.mark.skipif(not SYNTHEA.exists(), reason="the Synthea export is not beside this checkout")
def test_a_real_export_plays_whole(tmp_path: Path) -> None:
    report = rehearse(tmp_path / "story", SYNTHEA, ORGANISATION, "2021-03-31", 3)

    assert_every_promise_is_kept(report)
    assert_every_row_is_accounted_for(report)
    assert report["patients"] == 615
    # numbers that the provider refuses end their touches with a reason, and lose nobody
    assert report["not_sent"]["21211"] > 0
    assert report["promises"]["unaccounted"] == 0


@pytest.mark.fleet
@pytest.mark.skipif(not SYNTHEA.exists(), reason="the Synthea export is not beside this checkout")
def test_a_real_export_plays_on_the_fleet(tmp_path: Path) -> None:
    report = rehearse(tmp_path / "story", SYNTHEA, ORGANISATION, "2021-03-31", 1, "--fleet")

    assert_every_promise_is_kept(report)
    assert_every_row_is_accounted_for(report)
    assert report["patients"] == 615


def test_mistakes_are_told_and_nothing_is_emptied(export: Path, tmp_path: Path) -> None:
    organisation = tmp_path / "organisation.yaml"
    story = ("--as-of", "2021-03-31", "--out", tmp_path / "story")

    inside = run("rehearse", export, "--organisation", organisation, "--as-of", "2021-03-31", "--out", tmp_path)
    assert (inside.exit_code, inside.stderr.count("\n")) == (2, 1)
    assert "is emptied first" in inside.stderr
    assert (export / "Patient.ndjson").exists()

    organisation.write_text(SMALL.replace("zone: America/Phoenix", "zone: Arizona"))
    wrong = run("rehearse", export, "--organisation", organisation, *story)
    assert wrong.exit_code == 2
    assert "organisation.yaml:9: sites[1].zone" in wrong.stderr

    organisation.write_text(SMALL)
    (export / "Patient.ndjson").unlink()
    empty = run("rehearse", export, "--organisation", organisation, *story)
    assert empty.exit_code == 2
    assert "no patients that can be read" in empty.stderr


def test_what_cannot_be_read_of_an_export_is_listed_and_the_rest_plays(export: Path, tmp_path: Path) -> None:
    odd = patient(20, "Odd", "617-555-0120", name=5, birthDate=[1], telecom="none", address={"state": 1})
    wrong = [b"garbage", b"null", b"[1]", json.dumps(odd).encode(), b'{"id": "\xe9"}']
    with (export / "Patient.ndjson").open("ab") as file:
        file.write(b"\n".join(wrong) + b"\n")
    with (export / "Encounter.ndjson").open("ab") as file:
        file.write(json.dumps({**visit(1, "soon"), "class": 5}).encode() + b"\n[]\n")

    report = rehearse(tmp_path / "story", export, tmp_path / "organisation.yaml", "2021-03-31", 1)

    assert_every_promise_is_kept(report)
    assert_every_row_is_accounted_for(report)
    listed = {(file["name"], reject["line"]) for file in report["imported"] for reject in file["rejects"]}
    assert {("Patient.ndjson", line) for line in (18, 19, 20, 22)} <= listed
    assert {("Encounter.ndjson", line) for line in (20, 21)} <= listed


def test_people_see_what_the_import_refused(export: Path, tmp_path: Path) -> None:
    with (export / "Patient.ndjson").open("a") as file:
        file.write("garbage\n")

    result = run(
        *("rehearse", export, "--organisation", tmp_path / "organisation.yaml", "--as-of", "2021-03-31"),
        *("--months", "1", "--out", tmp_path / "story"),
    )

    assert result.exit_code == 0
    assert "Patient.ndjson:18: line: not JSON" in result.stdout


def test_a_truncated_export_is_refused_with_file_and_line_as_the_import_does(export: Path, tmp_path: Path) -> None:
    plain = export / "Encounter.ndjson"
    packed = gzip.compress(plain.read_bytes())
    (export / "Encounter.ndjson.gz").write_bytes(packed[: len(packed) - 20])
    plain.unlink()

    result = run(
        *("rehearse", export, "--organisation", tmp_path / "organisation.yaml", "--as-of", "2021-03-31"),
        *("--months", "1", "--out", tmp_path / "story"),
    )

    assert result.exit_code == 2
    assert re.search(r"reactivate: Encounter\.ndjson\.gz:\d+: the file is damaged after this line", result.stderr)
    assert "Traceback" not in (tmp_path / "story" / "simulator.log").read_text()


def test_a_day_to_come_is_refused(export: Path, tmp_path: Path) -> None:
    result = run("rehearse", export, "--organisation", tmp_path / "organisation.yaml", "--as-of", "9062-03-31")

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--as-of: 9062-03-31 is to come" in result.stderr


def test_only_its_owner_can_read_what_a_rehearsal_leaves(export: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        rehearse(tmp_path / "story", export, tmp_path / "organisation.yaml", "2021-03-31", 1)
        after = os.umask(0o022)
    finally:
        os.umask(before)

    story = tmp_path / "story"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (story, *story.rglob("*"))}
    assert {"witness.jsonl", "ledger.db", "simulator.log", "report.json"} <= modes.keys()
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert after == 0o022
