"""Exports written by Synthea: every row accounted for, and the inactive cohort is the one worked out independently."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import independent_cohort
import pytest
from lakeside import open_lapses
from sqlalchemy import Engine, func, select

from domain.ledger.appointments import appointment
from domain.ledger.patients import contact_point, patient, patient_contact
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from producers.importing.dates import end_of_day
from producers.importing.result import ImportResult
from producers.importing.run import run_import
from producers.scan import scan

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
EXAMPLES = ROOT / "docs" / "examples"


@dataclass(frozen=True)
class Export:
    folder: Path
    organisation: Path
    mapping: Path | None
    as_of: datetime
    cohort: Callable[[Path, datetime], independent_cohort.Cohort]
    patients: int
    #: What every record number in the ledger starts with, beside the number in the raw file.
    prefix: str = ""


EXPORTS = {
    "fhir": Export(
        DATA / "fhir" / "synthea_ndjson",
        EXAMPLES / "synthea-fhir" / "organisation.yaml",
        None,
        end_of_day(date(2021, 3, 31)),
        independent_cohort.fhir,
        615,
        "synthea#Patient/",
    ),
    "csv2018": Export(
        DATA / "csv" / "synthea_2018_mn",
        EXAMPLES / "synthea-csv" / "organisation.yaml",
        EXAMPLES / "synthea-csv" / "mapping.yaml",
        end_of_day(date(2018, 3, 31)),
        independent_cohort.csv2018,
        1118,
    ),
    "csv3": Export(
        DATA / "csv" / "synthea_v3",
        EXAMPLES / "synthea-csv" / "organisation.yaml",
        EXAMPLES / "synthea-csv" / "mapping-v3.yaml",
        end_of_day(date(2024, 12, 31)),
        independent_cohort.csv3,
        27,
    ),
}


@pytest.fixture(params=list(EXPORTS))
def export(request: pytest.FixtureRequest) -> Export:
    """Each export, on each store."""
    return there(request.param)


def there(name: str) -> Export:
    """The export; without it the test is skipped, saying what is missing."""
    found = EXPORTS[name]
    if not found.folder.exists():
        pytest.skip(f"needs {found.folder.relative_to(ROOT.parent)} beside the project")
    return found


def take(ledger: Engine, vault: Vault, export: Export) -> ImportResult:
    return run_import(
        ledger,
        vault,
        organisation_file=export.organisation,
        sources=[export.folder],
        mapping_file=export.mapping,
        now=export.as_of,
    )


def test_every_line_of_every_file_is_accounted_for(ledger: Engine, vault: Vault, export: Export) -> None:
    result = take(ledger, vault, export)

    for file in result.files:
        assert file.lines == file.taken + file.stale + file.ignored + file.rejected
        assert file.lines == _lines_of(export.folder / file.name)
        assert (file.stale, file.rejected) == (0, 0), file.rejects
    with reading(ledger) as conn:
        assert conn.scalar(select(func.count()).select_from(patient)) == export.patients


def test_the_inactive_cohort_is_the_one_worked_out_independently(ledger: Engine, vault: Vault, export: Export) -> None:
    expected = export.cohort(export.folder, export.as_of)

    take(ledger, vault, export)
    while scan(ledger, export.as_of, limit=100):
        pass

    found = {lapse for lapse in open_lapses(ledger, vault) if lapse[0].startswith(export.prefix)}
    assert expected
    assert {(mrn.removeprefix(export.prefix), line, segment) for mrn, line, segment in found} == expected


def test_numbers_that_are_possible_but_never_valid_are_kept(ledger: Engine, vault: Vault) -> None:
    export = there("fhir")

    result = take(ledger, vault, export)

    with reading(ledger) as conn:
        qualities = conn.execute(select(contact_point.c.quality, contact_point.c.zones).distinct()).all()
        linked = conn.scalar(select(func.count(patient_contact.c.patient_id.distinct())))
    assert [tuple(row) for row in qualities] == [("possible", "")]
    assert linked == export.patients
    assert not any(file.rejects for file in result.files)


def test_a_visit_stamped_after_the_data_ends_is_an_appointment_ahead(ledger: Engine, vault: Vault) -> None:
    export = there("csv2018")

    take(ledger, vault, export)

    with reading(ledger) as conn:
        late = conn.scalars(select(appointment.c.status).where(appointment.c.starts_at > export.as_of)).all()
    assert late == ["booked"] * 5


def _lines_of(path: Path) -> int:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        if path.name.endswith(".csv.gz"):
            return sum(1 for _ in csv.reader(text)) - 1
        return sum(1 for _ in text)
