"""Intake: takes news of patients, appointments and care gaps into the ledger, and makes all that follows agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Table

from domain.ledger import care, demographics, following, lapses, organisations, patients
from domain.ledger.appointments import appointment, care_gap
from domain.ledger.organisations import SiteFacts
from domain.ledger.vault import Vault
from domain.ledger.versions import Row, store_newer
from domain.rules.inactivity import gap_due
from domain.rules.news import AppointmentNews, GapNews, PatientNews, as_known

#: Instants outside these years are mistakes, and would leave the calendar when months are added.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fault:
    """A field of one piece of news that could not be used (`index` in the batch), and why, without its value."""

    index: int
    field: str
    reason: str


@dataclass(slots=True)
class Taken:
    """What became of a batch: applied + stale + ignored + rejected = its length."""

    applied: int = 0
    stale: int = 0
    #: Understood, and nothing to do: merged where already one.
    ignored: int = 0
    #: News not taken, one fault each.
    rejected: list[Fault] = field(default_factory=list)
    #: Fields left out of news that was taken.
    left_out: list[Fault] = field(default_factory=list)


def take_patients(conn: Connection, vault: Vault, news: Sequence[PatientNews], now: datetime) -> Taken:
    """Take news of patients, deaths and merges among it.

    A registration nobody knew makes a patient, unless an alias or the shared identifier tells whose it is. Unusable
    contact values and other fields are left out, each with its reason; the patient is taken without them.
    """
    taken = Taken()
    sites = organisations.sites_of(conn, {each.organisation_id for each in news})
    usable = []
    for index, each in enumerate(news):
        fault = _first(
            _unknown_site(sites, each, "site", each.site),
            _unknown_site(sites, each, "merged_into", each.merged_into.site if each.merged_into else each.site),
            *(_unknown_site(sites, each, "aliases", alias.site) for alias in each.aliases),
            None if each.mrn else ("mrn", "missing"),
        )
        if fault is None:
            usable.append((index, each))
        else:
            taken.rejected.append(Fault(index, *fault))
    done = demographics.store_patients(conn, vault, usable, sites, now)
    taken.left_out += [Fault(*fault) for fault in done.left_out]
    taken.stale = done.stale
    taken.applied = len(usable) - done.stale
    follow(conn, done.concerned, now)
    return taken


def take_appointments(conn: Connection, vault: Vault, news: Sequence[AppointmentNews], now: datetime) -> Taken:
    """Take news of appointments and encounters, of patients already known.

    A visit reported as completed that lies after `now` has not happened: it is an appointment ahead, until news says
    more.
    """

    def row(each: AppointmentNews, patient_id: int, site_id: int) -> dict[str, Any]:
        return {
            "organisation_id": each.organisation_id,
            "patient_id": patient_id,
            "site_id": site_id,
            "service_line": each.service_line.value,
            "source": each.source,
            "source_id": each.source_id,
            "version": each.version,
            "status": as_known(each.status, each.starts_at, now).value,
            "starts_at": each.starts_at,
            "changed_at": each.changed_at or _EPOCH + timedelta(microseconds=each.version),
        }

    def check(each: AppointmentNews) -> Told | None:
        return _first(_bad_instant("starts_at", each.starts_at), _bad_instant("changed_at", each.changed_at))

    return _take(conn, vault, appointment, news, row, check, now)


def take_gaps(conn: Connection, vault: Vault, news: Sequence[GapNews], now: datetime) -> Taken:
    """Take news of care gaps, of patients already known; a closed one nobody knew is kept: order is no matter."""

    def row(each: GapNews, patient_id: int, site_id: int) -> dict[str, Any]:
        told_at = _EPOCH + timedelta(microseconds=each.version)
        return {
            "organisation_id": each.organisation_id,
            "patient_id": patient_id,
            "site_id": site_id,
            "source": each.source,
            "source_id": each.source_id,
            "measure": each.measure,
            "due_at": gap_due(each.due_at or each.closed_at or told_at, each.every_months, each.since, None),
            "every_months": each.every_months,
            "since": each.since,
            "closed_at": each.closed_at,
            "version": each.version,
        }

    def check(each: GapNews) -> Told | None:
        recurs = each.every_months is not None and each.since is not None
        return _first(
            None if recurs or each.due_at or each.closed_at else ("due_at", "missing, and nothing says that it recurs"),
            None if each.every_months is None or 1 <= each.every_months <= 120 else ("every_months", "not 1 to 120"),
            None if 0 < len(each.measure) <= 64 else ("measure", "missing or longer than 64 characters"),
            _bad_instant("due_at", each.due_at),
            _bad_instant("since", each.since),
            _bad_instant("closed_at", each.closed_at),
        )

    return _take(conn, vault, care_gap, news, row, check, now)


def follow(conn: Connection, patient_ids: Collection[int], now: datetime) -> None:
    """Make all that depends on these patients' history agree with it: the digest, enrolments, lapses."""
    if not patient_ids:
        return
    care.refresh(conn, patient_ids, now)
    following.follow_appointments(conn, patient_ids, now)
    lapses.close_untrue(conn, patient_ids, now)


Told = tuple[str, str]


class _OfPatient(Protocol):
    """What appointments and gaps have in common."""

    @property
    def organisation_id(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def source_id(self) -> str: ...
    @property
    def mrn(self) -> str: ...
    @property
    def site(self) -> str | None: ...
    @property
    def patient_site(self) -> str | None: ...


N = TypeVar("N", bound=_OfPatient)
Sites = Mapping[tuple[int, str], SiteFacts]


def _take(
    conn: Connection,
    vault: Vault,
    table: Table,
    news: Sequence[N],
    row: Callable[[N, int, int], Row],
    check: Callable[[N], Told | None],
    now: datetime,
) -> Taken:
    taken = Taken()
    sites = organisations.sites_of(conn, {each.organisation_id for each in news})
    usable: list[tuple[int, N, tuple[int, bytes]]] = []
    indexes: dict[str, bytes] = {}
    for index, each in enumerate(news):
        at = each.patient_site or each.site or ""
        fault = _first(
            _unknown_site(sites, each, "site", each.site or at),
            _unknown_site(sites, each, "patient_site", at),
            _bad_id(each),
            check(each),
        )
        if fault is not None:
            taken.rejected.append(Fault(index, *fault))
            continue
        if each.mrn not in indexes:
            indexes[each.mrn] = patients.mrn_index(vault, each.mrn)
        usable.append((index, each, (sites[each.organisation_id, at].id, indexes[each.mrn])))
    registered = patients.by_registration(conn, {key for _, _, key in usable})
    locked = patients.lock(conn, {found.patient_id for found in registered.values()})
    rows = []
    for index, each, key in usable:
        if key not in registered:
            taken.rejected.append(Fault(index, "patient", "nobody is registered under this record number at this site"))
            continue
        found = locked[registered[key].patient_id]
        site_id = sites[each.organisation_id, each.site].id if each.site else found.home_site_id
        # a merge may have come between the look-up and the lock
        rows.append(row(each, found.merged_into_id or found.id, site_id))
    stored = store_newer(conn, table, rows)
    taken.stale = len(stored.stale)
    taken.applied = len(rows) - taken.stale
    follow(conn, stored.patient_ids, now)
    return taken


def _unknown_site(sites: Sites, each: _OfPatient | PatientNews, name: str, key: str) -> Told | None:
    return None if (each.organisation_id, key) in sites else (name, "no site of the organisation has this key")


def _bad_id(each: _OfPatient) -> Told | None:
    if not each.mrn:
        return "mrn", "missing"
    if not 0 < len(each.source) <= 64:
        return "source", "missing or longer than 64 characters"
    if not 0 < len(each.source_id) <= 128 or "\0" in each.source_id:
        return "id", "missing or longer than 128 characters"
    return None


def _bad_instant(name: str, instant: datetime | None) -> Told | None:
    if instant is None or EARLIEST <= instant < LATEST:
        return None
    return name, f"not between {EARLIEST.year} and {LATEST.year}"


def _first(*faults: Told | None) -> Told | None:
    return next((fault for fault in faults if fault is not None), None)
