"""A world made of somebody else's FHIR export: its patients come to life, so that a campaign can run on real input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from domain.rules.vocabulary import Segment, ServiceLine
from ops.simulator.draws import Draws
from ops.simulator.geography import Place, zone_of_state
from ops.simulator.history import THRESHOLD, Care, Story
from ops.simulator.people import Person
from ops.simulator.resources import Resource, codes, day_of, instant_of, part, parts, referred, resources, text
from ops.simulator.sites import Site

#: How often those come who still come.
_PACE = timedelta(days=300)
_FAR = timedelta(days=730)
#: States of a condition that ask for care (FHIR condition-clinical).
_ACTIVE = frozenset({"active", "recurrence", "relapse"})
#: Of those whose export does not say.
_UNKNOWN_BIRTH = date(1900, 1, 1)
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

    A line that cannot be read is passed over, a field that cannot be counts as not there: the import lists them.

    Everybody is seen in primary care; lapsed is who was last seen longer ago than its threshold, or than a condition
    of theirs allows by the `care_gaps` of the file.

    Raises:
        ValueError: there are no patients that can be read, or the organisation file lacks what is needed.
        OSError: a file cannot be read.
    """
    try:
        # every scalar as it is written, as the import takes them: a code 0123 is not the number 83
        told = yaml.load(organisation.read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506 - makes texts only
        fhir, organisation_told = told["fhir"], told["organisation"]
        sites = {
            each["key"]: Site(each["key"], each["name"], Place("", each.get("state", ""), each["zone"], ""), 1)
            for each in told["sites"]
        }
        reader = _Reader(fhir, sites, start.date())
        months = {code: int(gap["due_every_months"]) for gap in fhir.get("care_gaps") or [] for code in gap["codes"]}
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{organisation}: not an organisation file with a fhir part ({error!r})") from None
    named = (resource for resource in resources(export, "Patient") if text(resource.get("id")))
    people = {person.key: person for person in map(reader.person, named)}
    if not people:
        raise ValueError(f"{export}: no patients that can be read (Patient*.ndjson, .gz)")
    seen = _last_visits(export, start)
    paces = _paces(export, months)
    care = [_care(draws, person, seen[key], paces.get(key), start) for key, person in people.items() if key in seen]
    name = "neutral_name" if "neutral_name" in organisation_told else "name"
    own_words = tuple(str(organisation_told[word]) for word in (name, "postal_address") if word in organisation_told)
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
        name: Resource = next(iter(parts(resource, "name")), {})
        site = self._by_organisation.get(referred(part(resource, "managingOrganization")), self._default_site)
        spoken = [code for each in parts(resource, "communication") for code in codes(each.get("language"))]
        given = name.get("given")
        return Person(
            key=text(resource["id"]),
            given=" ".join(filter(None, map(text, given if isinstance(given, list) else [given]))),
            family=text(name.get("family")),
            sex="F" if resource.get("gender") == "female" else "M",
            birth_date=day_of(resource.get("birthDate")) or _UNKNOWN_BIRTH,
            language=next(iter(spoken), "en").partition("-")[0],
            home=self._home(resource, site),
            registrations=((site, self._mrn(resource)),),
            phone=_number(_telecom(resource, "phone")),
            email=(_telecom(resource, "email") or "").lower() or None,
            prefers=None,
            deceased_on=self._died(resource),
        )

    def _died(self, resource: Resource) -> date | None:
        # a date nobody can read still says that they died
        said = resource.get("deceasedBoolean") is True or text(resource.get("deceasedDateTime"))
        return (day_of(resource.get("deceasedDateTime")) or self._start) if said else None

    def _mrn(self, resource: Resource) -> str:
        numbers = [each for each in parts(resource, "identifier") if text(each.get("value"))]
        own = [each for each in numbers if self._mrn_system and each.get("system") == self._mrn_system]
        own += [each for each in numbers if "MR" in codes(each.get("type"))]
        return text(own[0]["value"] if own else resource["id"])

    def _home(self, resource: Resource, site: str) -> Place:
        current = [each for each in parts(resource, "address") if each.get("use") != "old"]
        current.sort(key=lambda each: each.get("use") != "home")
        address: Resource = next(iter(current), {})
        state = text(address.get("state"))
        zone = zone_of_state(state) or self._sites[site].zone
        return Place(text(address.get("city")), state, zone, text(address.get("postalCode"))[:3])


def _last_visits(export: Path, start: datetime) -> dict[str, datetime]:
    """The latest finished visit before `start` of every patient, by the resource's id."""
    seen: dict[str, datetime] = {}
    for resource in resources(export, "Encounter"):
        at = instant_of(part(resource, "period").get("start"))
        is_visit = resource.get("status") == "finished" and text(part(resource, "class").get("code")) not in _NO_VISIT
        if at is not None and is_visit and at < start:
            patient = referred(part(resource, "subject"))
            seen[patient] = max(at, seen.get(patient, at))
    return seen


def _paces(export: Path, months: Mapping[str, int]) -> dict[str, timedelta]:
    """How often patients with an active condition should come, by the resource's id; `months` by condition's code."""
    paces: dict[str, timedelta] = {}
    for resource in resources(export, "Condition") if months else ():
        due = [months[code] for code in codes(resource.get("code")) if code in months]
        if due and _ACTIVE.intersection(codes(resource.get("clinicalStatus"))):
            # a day late in the longest of months, so that nobody comes before the rules call them overdue
            pace = timedelta(days=round(30.5 * min(due)) + 1)
            patient = referred(part(resource, "subject"))
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


def _telecom(resource: Resource, system: str) -> str | None:
    """The one to use first, by rank, else by use."""
    current = [
        each
        for each in parts(resource, "telecom")
        if each.get("system") == system and each.get("use") != "old" and text(each.get("value"))
    ]
    current.sort(key=_rank)
    return next((text(each["value"]) for each in current), None)


def _rank(contact: Resource) -> int:
    rank = contact.get("rank")
    return rank if isinstance(rank, int) else _RANKS.get(text(contact.get("use")), 3)


def _number(text: str | None) -> str | None:
    """A number in E.164 form, of the North American plan unless it says otherwise; its range need not be in use."""
    digits = "".join(character for character in text or "" if character.isdigit())
    if text and text.strip().startswith("+"):
        return f"+{digits}"
    if len(digits) == 10:
        return f"+1{digits}"
    return f"+{digits}" if len(digits) == 11 and digits.startswith("1") else None
