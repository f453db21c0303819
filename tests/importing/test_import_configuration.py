"""Organisation and mapping files: what is wrong is said with line and field, and the published ones are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from exports import MAPPING
from lakeside import NOW, ORGANISATION
from sqlalchemy import Engine, select

from domain.ledger.organisations import site
from domain.ledger.store import reading
from ops.runtime.yamlfile import FileProblems
from producers.importing.mapping_file import read_mapping
from producers.importing.organisation_file import read_organisation
from producers.importing.run import store_organisation

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("zone: America/Denver, state: CO", "zone: Mars/Olympus, state: CO"), ":3: sites[0].zone: not an IANA time"),
        (("state: Colorado", "state: Bavaria"), ":4: sites[1].state: not a US state"),
        (("threshold_months: 6", "threshold_months: six"), ":4: sites[1].lines.primary_care.threshold_months: "),
        (("key: east", "key: main"), ":2: sites: site keys must differ; repeated: main"),
        (("default_site: main", "default_site: mian"), ":5: fhir: unknown site: mian (sites of this file: east, main)"),
        (("  default_line: primary_care", "  default_lines: primary_care"), ":10: fhir.default_lines: unknown field"),
        (("dental: dental", "dental: dentist"), ":9: fhir.service_lines.dental: "),
        (("key: lakeside, ", ""), ":1: organisation.key: required, but not there"),
        (("phone: +1 303 555 0100", "phone: none"), ":1: organisation.phone: not a phone number"),
        (("  source: ehr\n", "  source: ehr\n  source: two\n"), ":7: fhir.source: repeated; first on line 6"),
        (("key: east,", "key: east, daily_touches: 0,"), ":4: sites[1].daily_touches: expected 1 or more"),
        (("sites:\n", "sites: [\n"), "not YAML: "),
    ],
)
def test_problems_of_the_organisation_file_name_line_and_field(
    organisation_file: Path, change: tuple[str, str], problem: str
) -> None:
    assert change[0] in ORGANISATION
    organisation_file.write_text(ORGANISATION.replace(*change, 1))

    with pytest.raises(FileProblems) as raised:
        read_organisation(organisation_file)

    assert problem in str(raised.value)
    assert str(raised.value).startswith(str(organisation_file))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ("takes: gaps", "takes: holes"),
            ":29: files.gaps.csv.takes: expected one of 'patients', 'appointments', 'gaps', 'ignore'",
        ),
        (("      mrn: Number\n      site", "      site"), ":8: files.people.csv.fields.mrn: required, but not there"),
        (("{constant: main}\n      site", "{constant: main, column: x}\n      site"), "exactly one of column, columns"),
        (("    takes: gaps\n", ""), ":28: files.gaps.csv.takes: required, but not there"),
        (("      due_at: Due\n", ""), ":30: files.gaps.csv.fields: needs due_at, or every_months and since"),
        (("encoding: cp1252", "encoding: klingon"), ":3: encoding: not an encoding"),
        (("zone: America/Denver", "zone: Denver"), ":4: zone: not an IANA time zone"),
    ],
)
def test_problems_of_the_mapping_file_name_line_and_field(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    assert change[0] in MAPPING
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING.replace(*change, 1))

    with pytest.raises(FileProblems) as raised:
        read_mapping(path)

    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, ":1: no such file or directory"), (b"", ":1: the file is empty"), (b"a: 1\nb: \xff\n", ":2: not UTF-8")],
)
def test_a_configuration_that_cannot_be_read_at_all(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "organisation.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(FileProblems) as raised:
        read_organisation(path)

    assert problem in str(raised.value)


def test_the_examples_are_read() -> None:
    examples = ROOT / "docs" / "examples"

    assert {site.key for site in read_organisation(examples / "synthea-fhir" / "organisation.yaml").sites}
    for name in ("mapping.yaml", "mapping-v3.yaml"):
        assert read_mapping(examples / "synthea-csv" / name).files
    assert read_organisation(examples / "synthea-csv" / "organisation.yaml").fhir is None


def test_the_ceiling_of_a_site_is_stored_with_it_and_taken_back(lakeside: int, ledger: Engine, tmp_path: Path) -> None:
    path = tmp_path / "organisation.yaml"
    told = []
    for ceiling in (" daily_touches: 40,", ""):
        path.write_text(ORGANISATION.replace("key: main,", f"key: main,{ceiling}", 1))
        store_organisation(ledger, read_organisation(path), NOW)
        with reading(ledger) as conn:
            wanted = select(site.c.daily_touches).where(site.c.organisation_id == lakeside, site.c.key == "main")
            told.append(conn.scalar(wanted))

    assert told == [40, None]


def test_the_files_in_the_guide_are_read_as_they_stand(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")
    organisation_text, fhir_text, mapping_text = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    path = tmp_path / "organisation.yaml"
    west = "  - {key: west, name: West, zone: America/New_York, lines: {primary_care: {}}}\n"
    path.write_text(organisation_text.replace("# fhir:", west + "# fhir:") + fhir_text, encoding="utf-8")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(mapping_text, encoding="utf-8")

    found = read_organisation(path)

    assert found.fhir is not None
    assert found.fhir.care_gaps[0].measure == "diabetes"
    assert set(read_mapping(mapping).files) == {"encounters.csv", "conditions.csv"}
