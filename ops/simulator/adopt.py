"""A world made of somebody else's FHIR export: its patients come to life, so that a campaign can run on real input."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import yaml

from domain.rules.vocabulary import Segment, ServiceLine
from ops.simulator.draws import Draws
from ops.simulator.geography import Place, zone_of_state
from ops.simulator.history import THRESHOLD, Care, Story
from ops.simulator.people import Person
from ops.simulator.sites import Site

Resource = dict[str, Any]

#: How often those come who still come.
_PACE = timedelta(days=300)
_FAR = timedelta(days=730)
#: States of a condition that ask for care (FHIR condition-clinical).
_ACTIVE = frozenset({"active", "recurrence", "relapse"})
#: Which of several numbers or addresses is used first.
_RANKS = {"mobile": 1, "home": 2, "work": 4}
#: Emergencies and hospital stays are no visits by which one stays in touch.
_NO_VISIT = frozenset({"EMER", "IMP", "ACUTE", "NONAC", "OBSENC"})


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was found in an export."""

    system: str
    """The name of the record system, as in the organisation file."""
    sites: tuple[Site, ...]
    people: list[Person]
    care: list[Care]
    own_words: tuple[str, ...]
    """The organisation's name and address, as messages give them."""


def adopt(export: Path, organisation: Path, draws: Draws, start: datetime) -> Adopted:
    """Read Patient, Encounter and Condition of a FHIR R4 bulk export (NDJSON, plain or gzip) by its organisation file.

    Everybody is seen in primary care; lapsed is who was last seen longer ago than its threshold, or than a condition
    of theirs allows by the `care_gaps` of the file.

    Raises:
        ValueError: there are no patients, or the organisation file lacks what is needed.
        OSError: a file cannot be read.
    """
    try:
        told = yaml.safe_load(organisation.read_text(encoding="utf-8"))
        fhir, organisation_told = told["fhir"], told["organisation"]
        sites = {
            each["key"]: Site(each["key"], each["name"], Place("", each.get("state", ""), each["zone"], ""), 1)
            for each in told["sites"]
        }
        reader = _Reader(fhir, sites, start.date())
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{organisation}: not an organisation file with a fhir part ({error!r})") from None
    people = {person.key: person for person in map(reader.person, _resources(export, "Patient"))}
    if not people:
        raise ValueError(f"{export}: no patients found (Patient.ndjson or Patient.ndjson.gz)")
    seen = _last_visits(export, start)
    paces = _paces(export, fhir.get("care_gaps") or [])
    care = [_care(draws, person, seen[key], paces.get(key), start) for key, person in people.items() if key in seen]
    own_words = tuple(str(organisation_told[name]) for name in ("name", "postal_address") if name in organisation_told)
    return Adopted(fhir["source"], tuple(sites.values()), list(people.values()), care, own_words)


class _Reader:
    """Reads patients by an organisation file's `fhir` part."""

    def __init__(self, fhir: Mapping[str, Any], sites: Mapping[str, Site], start: date) -> None:
        self._sites = sites
        self._default_site: str = fhir["default_site"]
        self._by_organisation: Mapping[str, str] = fhir.get("sites") or {}
        self._mrn_system: str | None = fhir.get("mrn_system")
        self._start = start

    def person(self, resource: Resource) -> Person:
        name: Resource = next(iter(resource.get("name", [])), {})
        managing = resource.get("managingOrganization", {}).get("reference", "").rpartition("/")[2]
        site = self._by_organisation.get(managing, self._default_site)
        spoken = [part.get("code", "") for each in resource.get("communication", []) for part in _codings(each)]
        died = resource.get("deceasedDateTime")
        return Person(
            key=resource["id"],
            given=" ".join(name.get("given", [])),
            family=name.get("family", ""),
            sex="F" if resource.get("gender") == "female" else "M",
            birth_date=date.fromisoformat(resource.get("birthDate", "1900-01-01")),
            language=next(iter(spoken), "en").partition("-")[0],
            home=self._home(resource, site),
            registrations=((site, self._mrn(resource)),),
            phone=_number(_telecom(resource, "phone")),
            email=(_telecom(resource, "email") or "").lower() or None,
            prefers=None,
            deceased_on=date.fromisoformat(died[:10]) if died else (self._start if _is_dead(resource) else None),
        )

    def _mrn(self, resource: Resource) -> str:
        for each in resource.get("identifier", []):
            types = {part.get("code") for part in each.get("type", {}).get("coding", [])}
            if each.get("system") == self._mrn_system if self._mrn_system else "MR" in types:
                return str(each["value"])
        return str(resource["id"])

    def _home(self, resource: Resource, site: str) -> Place:
        current = [each for each in resource.get("address", []) if each.get("use") != "old"]
        current.sort(key=lambda each: each.get("use") != "home")
        address: Resource = next(iter(current), {})
        state = address.get("state", "")
        zone = zone_of_state(state) or self._sites[site].zone
        return Place(address.get("city", ""), state, zone, address.get("postalCode", "")[:3])


def _resources(export: Path, kind: str) -> Iterator[Resource]:
    for path in sorted((*export.glob(f"{kind}*.ndjson"), *export.glob(f"{kind}*.ndjson.gz"))):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for line in lines:
                if line.strip():
                    yield orjson.loads(line)


def _last_visits(export: Path, start: datetime) -> dict[str, datetime]:
    """The latest finished visit before `start` of every patient, by the resource's id."""
    seen: dict[str, datetime] = {}
    for resource in _resources(export, "Encounter"):
        began = resource.get("period", {}).get("start")
        if resource.get("status") != "finished" or resource.get("class", {}).get("code") in _NO_VISIT or not began:
            continue
        at = datetime.fromisoformat(began)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        patient = _subject(resource)
        if at < start:
            seen[patient] = max(at, seen.get(patient, at))
    return seen


def _paces(export: Path, care_gaps: list[Resource]) -> dict[str, timedelta]:
    """How often patients with an active condition of `care_gaps` should come, by the resource's id."""
    months = {code: gap["due_every_months"] for gap in care_gaps for code in gap["codes"]}
    paces: dict[str, timedelta] = {}
    for resource in _resources(export, "Condition") if months else ():
        states = {part.get("code") for part in resource.get("clinicalStatus", {}).get("coding", [])}
        due = [months[code] for part in resource.get("code", {}).get("coding", []) if (code := part["code"]) in months]
        if due and states & _ACTIVE:
            # a day late in the longest of months, so that nobody comes before the rules call them overdue
            pace = timedelta(days=round(30.5 * min(due)) + 1)
            patient = _subject(resource)
            paces[patient] = min(pace, paces.get(patient, pace))
    return paces


def _care(draws: Draws, person: Person, last_visit: datetime, pace: timedelta | None, start: datetime) -> Care:
    key = f"{person.key}-{ServiceLine.PRIMARY}"
    away = start - last_visit
    threshold = min(pace or THRESHOLD[ServiceLine.PRIMARY], THRESHOLD[ServiceLine.PRIMARY])
    is_lapsed = away >= threshold
    # those who still come do so within the threshold, whenever they were last here
    usual = min(_PACE, threshold - timedelta(days=30))
    soon = away + timedelta(days=draws.whole(3, 60, "comes in", key))
    interval = min(max(usual, soon), threshold - timedelta(days=2))
    return Care(
        key=key,
        person=person,
        line=ServiceLine.PRIMARY,
        site=person.site,
        story=Story.LAPSED if is_lapsed else Story.ACTIVE,
        segment=_segment(away, is_chronic=pace is not None) if is_lapsed else None,
        last_visit=last_visit,
        interval=interval,
        missed=None,
        ahead=None,
        gap_due_on=None,
        overdue_after=threshold,
    )


def _segment(away: timedelta, *, is_chronic: bool) -> Segment:
    if is_chronic:
        return Segment.CHRONIC_OVERDUE
    return Segment.BEYOND_24 if away >= _FAR else Segment.MONTHS_12_24


def _subject(resource: Resource) -> str:
    reference: str = resource.get("subject", {}).get("reference", "")
    return reference.replace("urn:uuid:", "/").rpartition("/")[2]


def _codings(communication: Resource) -> list[Resource]:
    found: list[Resource] = communication.get("language", {}).get("coding", [])
    return found


def _telecom(resource: Resource, system: str) -> str | None:
    """The one to use first, by rank, else by use."""
    current = [
        each for each in resource.get("telecom", []) if each.get("system") == system and each.get("use") != "old"
    ]
    current.sort(key=lambda each: each.get("rank", _RANKS.get(each.get("use", ""), 3)))
    return next((each.get("value") for each in current), None)


def _number(text: str | None) -> str | None:
    """A number in E.164 form, of the North American plan unless it says otherwise; its range need not be in use."""
    digits = "".join(character for character in text or "" if character.isdigit())
    if text and text.strip().startswith("+"):
        return f"+{digits}"
    if len(digits) == 10:
        return f"+1{digits}"
    return f"+{digits}" if len(digits) == 11 and digits.startswith("1") else None


def _is_dead(resource: Resource) -> bool:
    return resource.get("deceasedBoolean") is True
