"""A small organisation with two sites, and a synthetic FHIR export of its own for tests that need to shape every line."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, select

from domain.ledger import organisations
from domain.ledger.lapses import lapse
from domain.ledger.organisations import OrganisationNews, SiteNews
from domain.ledger.patients import MRN, registration
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from domain.rules.vocabulary import ServiceLine

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

ORGANISATION = """\
organisation: {key: lakeside, name: Lakeside Health, phone: +1 303 555 0100, postal_address: "1 Lake Road, Denver, CO"}
sites:
  - {key: main, name: Main, zone: America/Denver, state: CO, lines: {primary_care: {}, chronic_care: {}, dental: {}}}
  - {key: east, name: East, zone: America/Denver, state: Colorado, lines: {primary_care: {threshold_months: 6}}}
fhir:
  source: ehr
  default_site: main
  sites: {east-org: east}
  service_lines: {dental: dental, EMER: ignore}
  default_line: primary_care
  care_gaps:
    - {codes: ["44054006"], measure: diabetes, due_every_months: 6}
"""


@pytest.fixture
def organisation_file(tmp_path: Path) -> Path:
    path = tmp_path / "organisation.yaml"
    path.write_text(ORGANISATION)
    return path


@pytest.fixture
def lakeside(ledger: Engine) -> int:
    """The id of an organisation with the sites main and east."""
    lines = {ServiceLine.PRIMARY: None, ServiceLine.DENTAL: None, ServiceLine.CHRONIC: None}
    with ledger.begin() as conn:
        stored = organisations.upsert(
            conn,
            OrganisationNews("lakeside", "Lakeside Health", "+1 303 555 0100", "1 Lake Road, Denver, CO 80014"),
            [SiteNews("main", "Main", "America/Denver", thresholds=lines), SiteNews("east", "East", "America/Denver")],
        )
    return stored.organisation_id


@pytest.fixture
def write_ndjson(tmp_path: Path) -> Callable[[str, Iterable[Any]], Path]:
    """Writes resources (or raw bytes) as a file of lines."""

    def write(name: str, lines: Iterable[Any]) -> Path:
        path = tmp_path / "export" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join((each if isinstance(each, bytes) else orjson.dumps(each)) + b"\n" for each in lines))
        return path

    return write


@pytest.fixture
def small_export(tmp_path: Path) -> Path:
    """40 patients and 4,500 encounters in time order: several batches, each touching most patients."""
    return write_export(tmp_path / "small", patients=40, encounters=4500)


def write_export(folder: Path, patients: int, encounters: int) -> Path:
    dice = random.Random(2)
    folder.mkdir(exist_ok=True)
    with (folder / "Patient.ndjson").open("wb") as file:
        for number in range(patients):
            file.write(orjson.dumps(a_patient(f"p{number}", phone=f"+1 303 555 01{number % 100:02}")) + b"\n")
    with (folder / "Encounter.ndjson").open("wb") as file:
        for number in range(encounters):
            starts_at = NOW - timedelta(days=2000) + timedelta(hours=number // 4)
            file.write(orjson.dumps(an_encounter(f"e{number}", f"p{dice.randrange(patients)}", starts_at)) + b"\n")
    return folder


def a_patient(patient_id: str, phone: str | None = "+1 303 555 0101", **more: Any) -> dict[str, Any]:
    telecom = [{"system": "phone", "value": phone, "use": "mobile"}] if phone else []
    return {
        "resourceType": "Patient",
        "id": patient_id,
        "name": [{"use": "official", "family": "Doe", "given": ["Jane", "Q"]}],
        "telecom": telecom,
        "birthDate": "1970-05-04",
        **more,
    }


def an_encounter(encounter_id: str, patient_id: str, starts_at: datetime, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": encounter_id,
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": f"Patient/{patient_id}"},
        "period": {"start": starts_at.isoformat(), "end": (starts_at + timedelta(minutes=20)).isoformat()},
        **more,
    }


def open_lapses(engine: Engine, vault: Vault) -> set[tuple[str, str, str]]:
    """(record number, line, segment) of every open lapse, under every record number of its patient."""
    with reading(engine) as conn:
        rows = conn.execute(
            select(registration.c.mrn, lapse.c.service_line, lapse.c.segment)
            .join(lapse, lapse.c.patient_id == registration.c.patient_id)
            .where(lapse.c.closed_at.is_(None))
        ).all()
    return {(vault.open(row.mrn, MRN), row.service_line, row.segment) for row in rows}
