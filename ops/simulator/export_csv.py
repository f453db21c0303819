"""The export of sites without FHIR: plain CSV files, as spreadsheets and old systems make them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from ops.simulator.ehr import SYSTEM, World
from ops.simulator.history import gaps, visits
from ops.simulator.people import Person

_PATIENTS = (
    "mrn",
    "site",
    "enterprise_id",
    "first_name",
    "last_name",
    "date_of_birth",
    "language",
    "time_zone",
    "state",
    "mobile",
    "email",
    "prefers",
    "date_of_death",
    "changed",
)
_ENCOUNTERS = ("visit_id", "mrn", "site", "department", "visit_start")
_APPOINTMENTS = ("appointment_id", "mrn", "site", "department", "status", "start", "changed")
_GAPS = ("gap_id", "mrn", "site", "measure", "due_on", "closed_at", "changed")

#: What the old system calls lines and statuses.
_DEPARTMENTS = {"primary_care": "PC", "dental": "DEN", "chronic_care": "CCM"}
_STATUSES = {"booked": "SCHEDULED", "cancelled": "CANCELED", "noshow": "NO SHOW"}

MAPPING: dict[str, Any] = {
    "source": SYSTEM,
    "zone": "UTC",
    "files": {
        "patients.csv": {
            "takes": "patients",
            "fields": {
                "mrn": "mrn",
                "site": "site",
                "person": "enterprise_id",
                "given_name": "first_name",
                "family_name": "last_name",
                "birth_date": {"column": "date_of_birth", "formats": ["%m/%d/%Y"]},
                "language": "language",
                "zone": "time_zone",
                "state": "state",
                "phones": ["mobile"],
                "emails": ["email"],
                "preferred_channel": "prefers",
                "deceased_at": "date_of_death",
                "version": "changed",
            },
        },
        "encounters.csv": {
            "takes": "appointments",
            "fields": {
                "id": "visit_id",
                "mrn": "mrn",
                "site": "site",
                "service_line": {"column": "department", "values": {v: k for k, v in _DEPARTMENTS.items()}},
                "status": {"constant": "fulfilled"},
                "starts_at": "visit_start",
                "version": "visit_start",
            },
        },
        "appointments.csv": {
            "takes": "appointments",
            "fields": {
                "id": "appointment_id",
                "mrn": "mrn",
                "site": "site",
                "service_line": {"column": "department", "values": {v: k for k, v in _DEPARTMENTS.items()}},
                "status": {"column": "status", "values": {v: k for k, v in _STATUSES.items()}},
                "starts_at": "start",
                "changed_at": "changed",
                "version": "changed",
            },
        },
        "gaps.csv": {
            "takes": "gaps",
            "fields": {
                "id": "gap_id",
                "mrn": "mrn",
                "patient_site": "site",
                "site": "site",
                "measure": "measure",
                "due_at": "due_on",
                "closed_at": "closed_at",
                "version": "changed",
            },
        },
    },
}


def write_csv(world: World, directory: Path) -> None:
    """Write patients, encounters, appointments and gaps with their mapping.yaml; nothing where no site exports CSV."""
    keys = {site.key for site in world.sites if site.export == "csv"}
    if not keys:
        return
    directory.mkdir(parents=True, exist_ok=True)
    changed = _instant(world.start - timedelta(days=1))
    zones = {site.key: site.zone for site in world.sites}
    care = [each for each in world.care if each.site in keys]
    patients = (
        _patient(person, site, mrn, changed)
        for person in world.people
        for site, mrn in person.registrations
        if site in keys
    )
    _write(directory / "patients.csv", _PATIENTS, patients)
    encounters = (
        (visit.id, each.person.mrn_at(each.site), visit.site, _DEPARTMENTS[visit.line], _instant(visit.starts_at))
        for each in care
        for visit in visits(world.draws, each, zones[each.site], world.start)
    )
    _write(directory / "encounters.csv", _ENCOUNTERS, encounters)
    appointments = (
        (
            appointment.id,
            each.person.mrn_at(each.site),
            appointment.site,
            _DEPARTMENTS[appointment.line],
            _STATUSES[appointment.status],
            _instant(appointment.starts_at),
            _instant(appointment.updated_at),
        )
        for each in care
        for appointment in (each.missed, each.ahead)
        if appointment is not None
    )
    _write(directory / "appointments.csv", _APPOINTMENTS, appointments)
    measures = (
        (
            gap.id,
            each.person.mrn_at(each.site),
            gap.site,
            gap.measure,
            gap.due_on.isoformat(),
            _instant(gap.closed_at) if gap.closed_at else "",
            _instant(gap.closed_at or gap.opened_at),
        )
        for each in care
        for gap in gaps(each, world.start)
    )
    _write(directory / "gaps.csv", _GAPS, measures)
    text = yaml.safe_dump(MAPPING, sort_keys=False, allow_unicode=True)
    (directory / "mapping.yaml").write_text(text, encoding="utf-8")


def _patient(person: Person, site: str, mrn: str, changed: str) -> Sequence[str]:
    return (
        mrn,
        site,
        person.key,
        person.given,
        person.family,
        f"{person.birth_date:%m/%d/%Y}",
        person.language,
        person.home_zone,
        person.home.state,
        person.phone or "",
        person.email or "",
        person.prefers or "",
        person.deceased_on.isoformat() if person.deceased_on else "",
        changed,
    )


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
