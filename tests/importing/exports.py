"""Exports to be imported: a CSV export with its mapping, and the import of whatever files into a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lakeside import NOW
from sqlalchemy import Engine

from domain.ledger.vault import Vault
from producers.importing.result import ImportResult
from producers.importing.run import run_import

MAPPING = """\
source: ehr
delimiter: ";"
encoding: cp1252
zone: America/Denver
files:
  people.csv:
    takes: patients
    fields:
      mrn: Number
      site: {column: Clinic, values: {A: main, B: east}}
      given_name: First
      birth_date: {column: Born, formats: ["%d.%m.%Y"]}
      phones: [Mobile, Home]
      emails: [Mail]
      deceased: Died
      high_risk: {constant: "no"}
      person: Enterprise
  visits.csv:
    takes: appointments
    fields:
      id: {columns: [Number, When]}
      mrn: Number
      patient_site: {constant: main}
      site: {constant: main}
      service_line: {column: Kind, values: {GP: primary_care, TOOTH: dental, ER: ignore}}
      status: {column: Status, values: {D: fulfilled, X: cancelled, N: noshow, P: booked}}
      starts_at: {column: When, formats: ["%d.%m.%Y %H:%M"]}
  gaps.csv:
    takes: gaps
    fields:
      id: Id
      mrn: Number
      patient_site: {constant: main}
      measure: {constant: diabetes}
      due_at: Due
"""


def take(engine: Engine, vault: Vault, organisation_file: Path, *sources: Path, **more: Any) -> ImportResult:
    """Import these files at NOW; `more` goes to `run_import`."""
    return run_import(
        engine, vault, organisation_file=organisation_file, sources=sources, now=more.pop("now", NOW), **more
    )


def csv_export(tmp_path: Path, **files: str) -> Path:
    """A folder with a mapping and these files, by their names without `.csv`, in the encoding the mapping says."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "mapping.yaml").write_text(MAPPING)
    for name, text in files.items():
        (folder / f"{name}.csv").write_bytes(text.encode("cp1252"))
    return folder
