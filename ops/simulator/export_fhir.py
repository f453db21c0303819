"""The bulk export of most sites: FHIR R4 resources, one file per type, one resource a line."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from domain.rules.vocabulary import ServiceLine
from ops.simulator.ehr import World
from ops.simulator.history import Appointment, Care, visits
from ops.simulator.people import Person

Resource = dict[str, Any]

VISIT_TYPES = "https://example.org/fhir/visit-types"
#: The codes of visits by line, as the organisation file maps them.
VISIT_CODES = {
    ServiceLine.PRIMARY: ("office-visit", "Office visit"),
    ServiceLine.DENTAL: ("dental-visit", "Dental visit"),
    ServiceLine.CHRONIC: ("condition-review", "Condition review"),
}
#: Identifier system that all registrations of one person share.
ENTERPRISE = "https://example.org/enterprise-id"
SNOMED = "http://snomed.info/sct"
#: Conditions that are reviewed once a year.
CONDITIONS = (
    ("44054006", "Diabetes mellitus type 2 (disorder)"),
    ("38341003", "Hypertensive disorder, systemic arterial (disorder)"),
    ("195967001", "Asthma (disorder)"),
)
CARE_PLAN = ("736372004", "Diabetes mellitus care plan (record artifact)")
#: Chronic patients whose record holds a care plan instead of a condition.
_WITH_PLAN = 0.25

_IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_ZONE_EXTENSION = "http://hl7.org/fhir/StructureDefinition/timezone"


def organisation_id(site_key: str) -> str:
    """The id of a site's Organization (and Location)."""
    return f"site-{site_key}"


def write_fhir(world: World, directory: Path) -> None:
    """Write Patient, Appointment, Condition and CarePlan as .ndjson, Encounter as .ndjson.gz."""
    directory.mkdir(parents=True, exist_ok=True)
    keys = {site.key for site in world.sites if site.export == "fhir"}
    care = [care for care in world.care if care.site in keys]
    zones = {site.key: site.zone for site in world.sites}
    patients = (
        _patient(person, site, mrn, world.start)
        for person in world.people
        for site, mrn in person.registrations
        if site in keys
    )
    _write(directory / "Patient.ndjson", patients)
    encounters = (
        _encounter(each, visit) for each in care for visit in visits(world.draws, each, zones[each.site], world.start)
    )
    _write(directory / "Encounter.ndjson.gz", encounters)
    appointments = (_appointment(each, it) for each in care for it in (each.missed, each.ahead) if it is not None)
    _write(directory / "Appointment.ndjson", appointments)
    chronic = [each for each in care if each.line is ServiceLine.CHRONIC]
    planned = {each.key for each in chronic if world.draws.happens(_WITH_PLAN, "care plan", each.key)}
    _write(directory / "Condition.ndjson", (_condition(world, each) for each in chronic if each.key not in planned))
    _write(directory / "CarePlan.ndjson", (_care_plan(each) for each in chronic if each.key in planned))


def _write(path: Path, resources: Iterable[Resource]) -> None:
    lines = (orjson.dumps(resource) + b"\n" for resource in resources)
    if path.suffix == ".gz":
        # no name and no time in the header, so that the same world makes the same bytes
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            packed.writelines(lines)
    else:
        with path.open("wb") as plain:
            plain.writelines(lines)


def _patient(person: Person, site: str, mrn: str, start: datetime) -> Resource:
    """One registration; the enterprise id tells which registrations are one person."""
    resource: Resource = {
        "resourceType": "Patient",
        "id": _resource_id(person, site),
        "meta": {"lastUpdated": _instant(start - timedelta(days=1))},
        "identifier": [_record_number(site, mrn), {"system": ENTERPRISE, "value": person.key}],
        "active": True,
        "name": [{"use": "official", "family": person.family, "given": [person.given]}],
        "telecom": list(_telecom(person)),
        "gender": "female" if person.sex == "F" else "male",
        "birthDate": person.birth_date.isoformat(),
        "address": [
            {
                "extension": [{"url": _ZONE_EXTENSION, "valueCode": person.home_zone}],
                "use": "home",
                "city": person.home.city,
                "state": person.home.state,
                "postalCode": f"{person.home.postal_prefix}01",
                "country": "US",
            }
        ],
        "communication": [
            {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": person.language}]}, "preferred": True}
        ],
        "managingOrganization": {"reference": f"Organization/{organisation_id(site)}"},
    }
    if person.deceased_on is not None:
        resource["deceasedDateTime"] = person.deceased_on.isoformat()
    return resource


def _resource_id(person: Person, site: str) -> str:
    return person.key if site == person.site else f"{person.key}-{site}"


def _record_number(site: str, mrn: str) -> Resource:
    return {
        "use": "usual",
        "type": {"coding": [{"system": _IDENTIFIER_TYPES, "code": "MR", "display": "Medical record number"}]},
        "system": f"https://example.org/sites/{site}/mrn",
        "value": mrn,
        "assigner": {"reference": f"Organization/{organisation_id(site)}"},
    }


def _telecom(person: Person) -> Iterator[Resource]:
    """Contact points; what the patient prefers ranks first."""
    values = [("phone", person.phone, "mobile"), ("email", person.email, "home")]
    if person.prefers == "email":
        values.reverse()
    for rank, (system, value, use) in enumerate(values, 1):
        if value:
            yield {"system": system, "value": value, "use": use, "rank": rank}


def _visit_type(line: ServiceLine) -> Resource:
    code, display = VISIT_CODES[line]
    return {"coding": [{"system": VISIT_TYPES, "code": code, "display": display}], "text": display}


def _encounter(care: Care, visit: Appointment) -> Resource:
    return {
        "resourceType": "Encounter",
        "id": visit.id,
        "meta": {"lastUpdated": _instant(visit.updated_at)},
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "type": [_visit_type(visit.line)],
        "subject": {"reference": f"Patient/{_resource_id(care.person, care.site)}"},
        "period": {"start": _instant(visit.starts_at), "end": _instant(visit.starts_at + timedelta(minutes=20))},
        "serviceProvider": {"reference": f"Organization/{organisation_id(visit.site)}"},
    }


def _appointment(care: Care, appointment: Appointment) -> Resource:
    return {
        "resourceType": "Appointment",
        "id": appointment.id,
        "meta": {"lastUpdated": _instant(appointment.updated_at)},
        "status": appointment.status.value,
        "serviceType": [_visit_type(appointment.line)],
        "start": _instant(appointment.starts_at),
        "end": _instant(appointment.starts_at + timedelta(minutes=20)),
        "participant": [
            {"actor": {"reference": f"Patient/{_resource_id(care.person, care.site)}"}, "status": "accepted"},
            {"actor": {"reference": f"Location/{organisation_id(appointment.site)}"}, "status": "accepted"},
        ],
    }


def _condition(world: World, care: Care) -> Resource:
    code, display = world.draws.pick(CONDITIONS, "condition", care.key)
    return {
        "resourceType": "Condition",
        "id": f"{care.key}-c",
        "meta": {"lastUpdated": _instant(care.last_visit)},
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
        },
        "code": {"coding": [{"system": SNOMED, "code": code, "display": display}], "text": display},
        "subject": {"reference": f"Patient/{_resource_id(care.person, care.site)}"},
        "onsetDateTime": _instant(_onset(care)),
        "recordedDate": _instant(_onset(care)),
    }


def _care_plan(care: Care) -> Resource:
    code, display = CARE_PLAN
    return {
        "resourceType": "CarePlan",
        "id": f"{care.key}-c",
        "meta": {"lastUpdated": _instant(care.last_visit)},
        "status": "active",
        "intent": "plan",
        "category": [{"coding": [{"system": SNOMED, "code": code, "display": display}], "text": display}],
        "subject": {"reference": f"Patient/{_resource_id(care.person, care.site)}"},
        "period": {"start": _instant(_onset(care))},
    }


def _onset(care: Care) -> datetime:
    return care.last_visit - timedelta(days=1000)


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
