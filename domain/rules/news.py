"""News from the organisation's systems: what an export, an event or a message says, before the ledger takes it.

A `version` is an instant in microseconds since 1970 (see `version_of`): news older than what is stored about the
same thing is stale and changes nothing; news of the same version replaces it. Fields left at None were not told and
leave what is stored as it is. Sites are named by their keys, patients by a record number at a site.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from domain.rules.vocabulary import AppointmentStatus, ContactSystem, ServiceLine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def version_of(instant: datetime) -> int:
    """The version of news that was true at `instant` (aware): whole microseconds since 1970."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Registration:
    """A record number under which one site knows a patient."""

    site: str
    mrn: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contact:
    """A phone number or mail address as the source wrote it; `rank` 1 is tried first."""

    system: ContactSystem
    value: str = field(repr=False)
    use: str | None = None
    rank: int = 1


@dataclass(frozen=True, slots=True)
class PatientNews:
    """What is told of one patient at one registration."""

    organisation_id: int
    site: str
    mrn: str = field(repr=False)
    version: int
    #: Other record numbers of the same person that come with this news (a second site's, a FHIR server's own id).
    aliases: tuple[Registration, ...] = field(default=(), repr=False)
    #: An identifier that all registrations of one person share in the source (an enterprise id).
    person: str | None = field(default=None, repr=False)
    given_name: str | None = field(default=None, repr=False)
    family_name: str | None = field(default=None, repr=False)
    birth_date: date | None = field(default=None, repr=False)
    #: BCP 47; the first subtag is kept.
    language: str | None = None
    #: IANA zone of the home address; derived from `state` where it is not told.
    zone: str | None = None
    #: US state or territory of the home address, as a code or by name.
    state: str | None = None
    #: The whole list of contact points; None = not told.
    contacts: tuple[Contact, ...] | None = field(default=None, repr=False)
    preferred_channel: str | None = None
    high_risk: bool | None = None
    #: A class of payer (`Payer`), and the month (1 to 12) with which the patient's benefit year begins.
    payer: str | None = None
    benefit_month: int | None = None
    #: True or False where the source says so; a date of death alone says True.
    deceased: bool | None = None
    deceased_at: datetime | None = None
    #: The registration that this patient's record was merged into.
    merged_into: Registration | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AppointmentNews:
    """What is told of one appointment or encounter (an encounter that took place is a fulfilled appointment).

    `source` and `source_id` identify it: give the importing configuration and the publisher of later events the same
    `source`, and news of both finds the same row.
    """

    organisation_id: int
    source: str
    source_id: str
    version: int
    #: Where the visit is, and at which site `mrn` is known (None = the same site).
    site: str
    mrn: str = field(repr=False)
    service_line: ServiceLine
    status: AppointmentStatus
    starts_at: datetime
    #: When the status became what it is; None = at `version`.
    changed_at: datetime | None = None
    patient_site: str | None = None


@dataclass(frozen=True, slots=True)
class GapNews:
    """What is told of one care gap: a measure the patient is (or will be) due for, or is no longer.

    Either `due_at` is told, or the gap recurs: `every_months` after the last visit (after `since` where that is later).
    """

    organisation_id: int
    source: str
    source_id: str
    version: int
    #: At which site `mrn` is known; the gap itself belongs to `site`, or to the patient's home site where None.
    patient_site: str
    mrn: str = field(repr=False)
    measure: str
    site: str | None = None
    due_at: datetime | None = None
    every_months: int | None = None
    since: datetime | None = None
    closed_at: datetime | None = None


def as_known(status: AppointmentStatus, starts_at: datetime, now: datetime) -> AppointmentStatus:
    """The status as it can be at `now`: a visit that has not begun is no completed one, but an appointment ahead."""
    if status is AppointmentStatus.FULFILLED and starts_at > now:
        return AppointmentStatus.BOOKED
    return status
