"""Lakeside Health: a small organisation with two sites, news of its patients, and FHIR exports of any size."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine, select

from domain.ledger import intake, organisations
from domain.ledger.intake import Taken
from domain.ledger.lapses import lapse
from domain.ledger.organisations import OrganisationNews, SiteNews
from domain.ledger.patients import MRN, registration
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from domain.rules.news import AppointmentNews, Contact, GapNews, PatientNews, version_of
from domain.rules.vocabulary import AppointmentStatus, ContactSystem, ServiceLine

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

ORGANISATION = """\
organisation: {key: lakeside, name: Lakeside Health, phone: +1 303 555 0100, postal_address: "1 Lake, Denver, CO 80014"}
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


def settle(engine: Engine, east_months: int | None = None) -> int:
    """The organisation with the sites main and east; returns its id."""
    lines = {ServiceLine.PRIMARY: None, ServiceLine.DENTAL: None, ServiceLine.CHRONIC: None}
    with engine.begin() as conn:
        stored = organisations.upsert(
            conn,
            OrganisationNews("lakeside", "Lakeside Health", "+1 303 555 0100", "1 Lake Road, Denver, CO 80014"),
            [
                SiteNews("main", "Main", "America/Denver", thresholds=lines),
                SiteNews("east", "East", "America/Denver", thresholds={ServiceLine.PRIMARY: east_months}),
            ],
        )
    return stored.organisation_id


def news_of(organisation_id: int, mrn: str, at: datetime = NOW, phone: str | None = None, **more: Any) -> PatientNews:
    """News of a patient at main."""
    if phone is not None:
        more["contacts"] = (Contact(ContactSystem.PHONE, phone),)
    return PatientNews(organisation_id, more.pop("site", "main"), mrn, version_of(at), **more)


def visit_of(
    organisation_id: int,
    mrn: str,
    starts_at: datetime,
    status: AppointmentStatus = AppointmentStatus.FULFILLED,
    *,
    told_at: datetime | None = None,
    **more: Any,
) -> AppointmentNews:
    """News of an appointment at main; its id is its record number and start unless given."""
    return AppointmentNews(
        organisation_id,
        "ehr",
        more.pop("source_id", f"{mrn}-{starts_at:%Y%m%d}"),
        version_of(told_at or starts_at),
        more.pop("site", "main"),
        mrn,
        more.pop("service_line", ServiceLine.PRIMARY),
        status,
        starts_at,
        patient_site="main",
        **more,
    )


def gap_of(organisation_id: int, mrn: str, at: datetime = NOW, **more: Any) -> GapNews:
    """News of a care gap."""
    source_id = more.pop("source_id", f"{mrn}-gap")
    return GapNews(organisation_id, "ehr", source_id, version_of(at), "main", mrn, "diabetes", **more)


def take(engine: Engine, vault: Vault, *news: PatientNews | AppointmentNews | GapNews, now: datetime = NOW) -> Taken:
    """Take news of one kind."""
    with engine.begin() as conn:
        match news[0]:
            case PatientNews():
                return intake.take_patients(conn, vault, [each for each in news if isinstance(each, PatientNews)], now)
            case AppointmentNews():
                of_visits = [each for each in news if isinstance(each, AppointmentNews)]
                return intake.take_appointments(conn, vault, of_visits, now)
            case GapNews():
                return intake.take_gaps(conn, vault, [each for each in news if isinstance(each, GapNews)], now)


def write_lines(path: Path, lines: Iterable[Any]) -> Path:
    """A file of resources, or of raw bytes."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(b"".join((each if isinstance(each, bytes) else orjson.dumps(each)) + b"\n" for each in lines))
    return path


def write_export(folder: Path, patients: int, encounters: int) -> Path:
    """An export whose encounters come in time order, so that every batch touches most patients."""
    dice = random.Random(2)  # noqa: S311 (a seeded shuffle, no secret)
    write_lines(
        folder / "Patient.ndjson", (a_patient(f"p{n}", phone=f"+1 303 555 01{n % 100:02}") for n in range(patients))
    )
    start = NOW - timedelta(days=2000)
    write_lines(
        folder / "Encounter.ndjson",
        (
            an_encounter(f"e{n}", f"p{dice.randrange(patients)}", start + timedelta(hours=n // 4))
            for n in range(encounters)
        ),
    )
    return folder


def a_patient(patient_id: str, phone: str | None = "+1 303 555 0101", **more: Any) -> dict[str, Any]:
    """A FHIR Patient."""
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
    """A finished FHIR Encounter."""
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
