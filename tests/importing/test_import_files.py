"""What is wrong with an export is said beforehand, in a sentence that names the file; then nothing is written."""

from __future__ import annotations

import gzip
from datetime import date, timedelta
from pathlib import Path

import pytest
from exports import take
from lakeside import NOW, ORGANISATION, a_patient, write_lines
from sqlalchemy import Engine, select

from domain.ledger.organisations import organisation
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from producers.importing.dates import end_of_day
from producers.importing.result import ImportResult
from producers.importing.source_file import ImportProblem


def test_a_file_named_gz_that_is_none(engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Patient.ndjson.gz", [a_patient("p1")])

    with pytest.raises(ImportProblem, match=r"^Patient\.ndjson\.gz: is named \.gz, but is not gzip"):
        take(engine, vault, organisation_file, path)


def test_a_gzip_file_without_its_name_is_read(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])
    path.write_bytes(gzip.compress(path.read_bytes()))

    assert [file.taken for file in take(engine, vault, organisation_file, path).files] == [1]


def test_an_empty_file_is_noted(engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Encounter.ndjson", [])

    result = take(engine, vault, organisation_file, path)

    assert result.files == result.warnings == ()
    assert result.notes == ("Encounter.ndjson: the file is empty",)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("1 Lake Road, Denver, CO", ["no ZIP code; write its five digits"]),
        ("1 Lake Road, Denver, CO 8001", ["no ZIP code: expected five digits"]),
        ("1 Lake Road, Denver, CO 02101", ["this ZIP code does not look like one of CO"]),
        ("PO Box 12, Denver, CO 80014", []),
    ],
)
def test_an_address_of_the_organisation_that_post_cannot_be_delivered_to_is_noted_by_line_and_refuses_nothing(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path, address: str, told: list[str]
) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])
    text = organisation_file.read_text()
    organisation_file.write_text(text.replace("1 Lake, Denver, CO 80014", address))

    result = take(engine, vault, organisation_file, path)

    assert [file.taken for file in result.files] == [1]
    assert len(result.notes) == len(told)
    for note, reason in zip(result.notes, told, strict=True):
        assert note.startswith(f"{organisation_file}:1: organisation.postal_address: {reason}")


def test_every_problem_is_told_at_once_and_nothing_is_written(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n")

    with pytest.raises(ImportProblem) as raised:
        take(engine, vault, organisation_file, tmp_path / "nowhere", text, rows)

    told = str(raised.value)
    assert "nowhere: no such file or directory" in told
    assert "notes.txt: expected a file named *.ndjson" in told
    assert "rows.csv: a CSV export needs a mapping file" in told
    with reading(engine) as conn:
        assert conn.execute(select(organisation)).all() == []


def test_a_folder_with_nothing_in_it(engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ImportProblem, match="nothing to import"):
        take(engine, vault, organisation_file, tmp_path / "empty")


def test_a_fhir_export_without_a_fhir_section(engine: Engine, vault: Vault, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])
    organisation_file = tmp_path / "organisation.yaml"
    organisation_file.write_text(ORGANISATION.split("fhir:")[0])

    with pytest.raises(ImportProblem, match="needs a `fhir` section"):
        take(engine, vault, organisation_file, path)


@pytest.mark.parametrize("name", ["Patient.ndjson", "Patient-1.ndjson.gz", "patients.ndjson"])
def test_a_file_of_patients_without_any_is_a_warning(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"\n\n") if name.endswith(".gz") else b"")

    result = take(engine, vault, organisation_file, path)

    assert result.notes == result.files == ()
    assert result.warnings == (
        f"{name}: no patients are in it; if that is not what the record system has, its export failed",
    )


def test_an_export_of_a_day_to_come_is_refused_before_anything_is_written(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])

    def take_as_of(day: date) -> ImportResult:
        return take(engine, vault, organisation_file, path, as_of=end_of_day(day))

    for ahead in (2, 13_000):
        with pytest.raises(ImportProblem, match=r"^--as-of: \d{4}-\d\d-\d\d is to come"):
            take_as_of(NOW.date() + timedelta(days=ahead))
    with reading(engine) as conn:
        assert conn.execute(select(organisation)).all() == []
    # somewhere it is tomorrow already
    assert [file.taken for file in take_as_of(NOW.date() + timedelta(days=1)).files] == [1]
