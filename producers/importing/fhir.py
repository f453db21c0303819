"""Lines of a FHIR R4 bulk export as news: Patient, Encounter, Appointment, and the conditions that make care gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, Final

import orjson

from domain.rules.news import AppointmentNews, GapNews, as_known, version_of
from domain.rules.vocabulary import AppointmentStatus, ServiceLine
from producers.importing.dates import instant_of
from producers.importing.fhir_parts import Resource, codes, part, parts, reference, text
from producers.importing.fhir_patient import logical, read_patient
from producers.importing.organisation_file import IGNORE, CareGapRule, Fhir
from producers.importing.outcome import IGNORED, Outcome, Read, Unusable

#: Encounter.status -> what it is to us. A visit under way took place, also where nobody closed it afterwards.
_ENCOUNTER: Final = {
    "planned": AppointmentStatus.BOOKED,
    "arrived": AppointmentStatus.ARRIVED,
    "triaged": AppointmentStatus.ARRIVED,
    "in-progress": AppointmentStatus.FULFILLED,
    "onleave": AppointmentStatus.FULFILLED,
    "finished": AppointmentStatus.FULFILLED,
    "cancelled": AppointmentStatus.CANCELLED,
    "entered-in-error": AppointmentStatus.ENTERED_IN_ERROR,
}
_OPEN_CONDITION: Final = frozenset({"active", "recurrence", "relapse"})
_CLOSED_CONDITION: Final = frozenset({"inactive", "remission", "resolved"})
_CLOSED_PLAN: Final = frozenset({"completed", "revoked", "entered-in-error"})
_NO_CONDITION: Final = frozenset({"refuted", "entered-in-error"})

#: The order in which files are taken: others refer to patients. Types not listed are ignored.
ORDER: Final = {"Patient": 0, "Appointment": 1, "Encounter": 1, "Condition": 2, "CarePlan": 2}


@dataclass
class FhirReader:
    """Reads lines by one organisation's configuration; `as_of` is when the export was made."""

    fhir: Fhir
    organisation_id: int
    as_of: datetime
    _gap_rules: dict[str, CareGapRule] = field(init=False)
    _readers: dict[str, Callable[[Resource, int], Outcome]] = field(init=False)

    def __post_init__(self) -> None:
        self._gap_rules = {code: rule for rule in reversed(self.fhir.care_gaps) for code in rule.codes}
        self._readers = {
            "Patient": self._patient,
            "Encounter": self._encounter,
            "Appointment": self._appointment,
            "Condition": self._condition,
            "CarePlan": self._care_plan,
        }

    def read(self, line: bytes) -> Outcome:
        """What one line comes to; a blank one is ignored."""
        if not line.strip():
            return IGNORED
        try:
            resource = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return Unusable("line", f"not JSON (at character {error.pos})")
        if not isinstance(resource, dict) or not (kind := text(resource.get("resourceType"))):
            return Unusable("resourceType", "missing: not a FHIR resource")
        reader = self._readers.get(kind)
        if reader is None:
            return IGNORED
        try:
            return reader(resource, self._version(resource))
        except Unusable as unusable:
            return unusable

    def _version(self, resource: Resource) -> int:
        updated = text(part(resource, "meta").get("lastUpdated"))
        instant = instant_of(updated) if updated else self.as_of
        if instant is None:
            raise Unusable("meta.lastUpdated", "not a date and time")
        return version_of(instant)

    def _patient(self, resource: Resource, version: int) -> Outcome:
        return read_patient(self.fhir, self.organisation_id, resource, version, self.as_of)

    def _encounter(self, resource: Resource, version: int) -> Outcome:
        status = text(resource.get("status"))
        if status == "unknown":
            return IGNORED
        if status not in _ENCOUNTER:
            raise Unusable("status", "not an Encounter status of FHIR R4")
        concepts = [resource.get("serviceType"), *parts(resource, "type")]
        line = self._line(chain(*map(codes, concepts), [text(part(resource, "class").get("code"))]), "type")
        if line is None:
            return IGNORED
        period = part(resource, "period")
        starts_at = _required(instant_of(text(period.get("start"))), "period.start")
        return self._visit(
            f"Encounter/{_id(resource)}",
            version,
            part(resource, "subject"),
            line,
            _ENCOUNTER[status],
            starts_at,
            instant_of(text(period.get("end"))) if status == "finished" else None,
            [reference(part(resource, "serviceProvider"))[1], *_locations(parts(resource, "location"), "location")],
        )

    def _appointment(self, resource: Resource, version: int) -> Outcome:
        try:
            status = AppointmentStatus(text(resource.get("status")))
        except ValueError:
            raise Unusable("status", "not an Appointment status of FHIR R4") from None
        concepts = chain(
            *(parts(resource, name) for name in ("serviceType", "serviceCategory", "specialty", "appointmentType"))
        )
        line = self._line(chain(*map(codes, concepts)), "serviceType")
        if line is None:
            return IGNORED
        requested = [text(each.get("start")) for each in parts(resource, "requestedPeriod")]
        starts_at = next((at for each in [text(resource.get("start")), *requested] if (at := instant_of(each))), None)
        actors = [part(each, "actor") for each in parts(resource, "participant")]
        subject = next((actor for actor in actors if reference(actor)[0] == "Patient"), {})
        # when it was made, if it still stands as it was made
        made = instant_of(text(resource.get("created"))) if status is AppointmentStatus.BOOKED else None
        return self._visit(
            _id(resource),
            version,
            subject,
            line,
            status,
            _required(starts_at, "start"),
            made,
            _locations(actors, None),
        )

    def _visit(
        self,
        source_id: str,
        version: int,
        subject: Resource,
        line: ServiceLine,
        status: AppointmentStatus,
        starts_at: datetime,
        changed_at: datetime | None,
        places: Iterable[str],
    ) -> Read:
        who = logical(self.fhir, _patient_id(subject))
        site = next((self.fhir.sites[place] for place in places if place in self.fhir.sites), self.fhir.default_site)
        return Read(
            AppointmentNews(
                organisation_id=self.organisation_id,
                source=self.fhir.source,
                source_id=source_id,
                version=version,
                site=site,
                patient_site=who.site,
                mrn=who.mrn,
                service_line=line,
                status=as_known(status, starts_at, self.as_of),
                starts_at=starts_at,
                changed_at=changed_at,
            )
        )

    def _condition(self, resource: Resource, version: int) -> Outcome:
        rule = self._rule([resource.get("code")])
        clinical = set(codes(resource.get("clinicalStatus")))
        is_wrong = bool(_NO_CONDITION.intersection(codes(resource.get("verificationStatus"))))
        is_closed = is_wrong or bool(clinical & _CLOSED_CONDITION)
        if rule is None or not (is_closed or clinical & _OPEN_CONDITION):
            return IGNORED
        onset = text(resource.get("onsetDateTime")) or text(resource.get("recordedDate"))
        ended = text(resource.get("abatementDateTime"))
        return self._gap("Condition", resource, version, rule, onset, ended, is_closed=is_closed)

    def _care_plan(self, resource: Resource, version: int) -> Outcome:
        rule = self._rule(parts(resource, "category"))
        status = text(resource.get("status"))
        if rule is None or not (status == "active" or status in _CLOSED_PLAN):
            return IGNORED
        period = part(resource, "period")
        onset, ended = text(period.get("start")), text(period.get("end"))
        return self._gap("CarePlan", resource, version, rule, onset, ended, is_closed=status != "active")

    def _gap(
        self, kind: str, resource: Resource, version: int, rule: CareGapRule, onset: str, ended: str, *, is_closed: bool
    ) -> Outcome:
        who = logical(self.fhir, _patient_id(part(resource, "subject")))
        since = instant_of(onset)
        if since is None and not is_closed:
            raise Unusable("onset", "missing or not a date")
        return Read(
            GapNews(
                organisation_id=self.organisation_id,
                source=self.fhir.source,
                source_id=f"{kind}/{_id(resource)}",
                version=version,
                patient_site=who.site,
                mrn=who.mrn,
                measure=rule.measure,
                every_months=rule.due_every_months,
                since=since,
                closed_at=(instant_of(ended) or self.as_of) if is_closed else None,
            )
        )

    def _line(self, said: Iterable[str], name: str) -> ServiceLine | None:
        """The line the first known code or text stands for; None = a visit that counts on no line."""
        line = next((self.fhir.service_lines[each] for each in said if each in self.fhir.service_lines), None)
        line = line or self.fhir.default_line
        if line is None:
            raise Unusable(name, "no service line is configured for it (fhir.service_lines, fhir.default_line)")
        return None if line == IGNORE else ServiceLine(line)

    def _rule(self, concepts: Iterable[Any]) -> CareGapRule | None:
        return next((self._gap_rules[each] for each in chain(*map(codes, concepts)) if each in self._gap_rules), None)


def type_of(line: bytes) -> str:
    """The resource type a line says it is; empty where it is none."""
    try:
        resource = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ""
    return text(resource.get("resourceType")) if isinstance(resource, dict) else ""


def _id(resource: Resource) -> str:
    found = text(resource.get("id"))
    if not found:
        raise Unusable("id", "missing")
    return found


def _patient_id(subject: Resource) -> str:
    kind, found = reference(subject)
    if not found or kind not in ("Patient", ""):
        raise Unusable("subject", "names no patient")
    return found


def _locations(values: Iterable[Resource], name: str | None) -> Iterator[str]:
    for value in values:
        kind, found = reference(part(value, name) if name else value)
        if kind in ("Location", ""):
            yield found


def _required(instant: datetime | None, name: str) -> datetime:
    if instant is None:
        raise Unusable(name, "missing or not a date and time")
    return instant
