"""The directory: which patients a record number, a phone number or a mail address leads to, told by reference only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, LargeBinary, Row, String, bindparam, func, null, select

from domain.ledger.columns import Id
from domain.ledger.enrolments import IS_LIVE, enrolment
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import contact_index, contact_point, mrn_index, patient, patient_contact, registration
from domain.ledger.vault import Vault
from domain.rules.identity import Email, Phone
from domain.rules.vocabulary import ContactSystem

#: A sentence about what is there names at most so many keys.
_NAMED: Final = 20

_IDS: Final = bindparam("ids", type_=Id, expanding=True)
_INDEX: Final = bindparam("value_index", type_=LargeBinary)
_survivor: Final = patient.alias("survivor")
_OPEN: Final = (
    select(func.count()).where(enrolment.c.patient_id == patient.c.id, IS_LIVE).correlate(patient).scalar_subquery()
)
_SAFE: Final = (
    select(
        patient.c.id,
        patient.c.ref,
        organisation.c.key.label("organisation"),
        site.c.key.label("site"),
        patient.c.deceased_at.is_not(None).label("is_deceased"),
        _survivor.c.ref.label("merged_into"),
        _OPEN.label("open_enrolments"),
    )
    .select_from(patient)
    .join(organisation, organisation.c.id == patient.c.organisation_id)
    .join(site, site.c.id == patient.c.home_site_id)
    .outerjoin(_survivor, _survivor.c.id == patient.c.merged_into_id)
    .order_by(organisation.c.key, patient.c.id)
)
_BY_REFERENCE: Final = _SAFE.add_columns(null()).where(patient.c.ref == bindparam("ref", type_=String))
_BY_RECORD_NUMBER: Final = (
    _SAFE.add_columns(null())
    .join(registration, registration.c.patient_id == patient.c.id)
    .where(registration.c.site_id.in_(_IDS), registration.c.mrn_index == _INDEX)
)
_BY_CONTACT: Final = (
    _SAFE.add_columns(patient_contact.c.detached_at)
    .join(patient_contact, patient_contact.c.patient_id == patient.c.id)
    .join(contact_point, contact_point.c.id == patient_contact.c.contact_point_id)
    .where(
        contact_point.c.organisation_id.in_(_IDS),
        contact_point.c.system == bindparam("system", type_=String),
        contact_point.c.value_index == _INDEX,
    )
)
_ORGANISATIONS: Final = select(organisation.c.key, organisation.c.id).order_by(organisation.c.key)
_SITES: Final = select(site.c.key, site.c.id).where(site.c.organisation_id.in_(_IDS)).order_by(site.c.key)


class UnknownPlaceError(LookupError):
    """No organisation or site has the key that was asked for.

    The message names the keys there are, never the one asked for: that may be a record number in the wrong place.
    """


@dataclass(frozen=True, slots=True)
class RecordNumber:
    """A record number, and the key of the site that gave it."""

    site: str
    number: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """One patient, as far as a bystander may see."""

    id: int
    ref: str
    organisation: str
    site: str
    """Key of the home site."""
    is_deceased: bool
    merged_into: str | None
    """Reference of the patient this record was merged into: ask for that one."""
    open_enrolments: int
    """Campaigns under way, holdouts among them."""
    detached_at: datetime | None
    """Since when the number or address they were found by is known not to be theirs."""


def by_reference(conn: Connection, ref: str) -> Found | None:
    """The patient with this public reference, also where the record was merged into another."""
    return next(iter(_found(conn.execute(_BY_REFERENCE, {"ref": ref.upper()}))), None)


def by_record_number(
    conn: Connection, vault: Vault, sought: RecordNumber, organisation_key: str | None = None
) -> list[Found]:
    """Who is registered under a record number; several only where organisations call a site by the same key.

    Raises:
        UnknownPlaceError: there is no such organisation, or no such site.
    """
    sites = conn.execute(_SITES, {"ids": _organisations(conn, organisation_key)}).all()
    ids = [row.id for row in sites if row.key == sought.site]
    if not ids:
        known = _named({row.key for row in sites})
        raise UnknownPlaceError(f"no site has this key (there are: {known})")
    return _found(conn.execute(_BY_RECORD_NUMBER, {"ids": ids, "value_index": mrn_index(vault, sought.number)}))


def by_contact(
    conn: Connection, vault: Vault, sought: Phone | Email, organisation_key: str | None = None
) -> list[Found]:
    """Everybody who is, or was until it was detached, reached at a number or address: a household shares its phone.

    Raises:
        UnknownPlaceError: there is no such organisation.
    """
    system, value = (
        (ContactSystem.PHONE, sought.e164) if isinstance(sought, Phone) else (ContactSystem.EMAIL, sought.address)
    )
    key = {"system": system.value, "value_index": contact_index(vault, system.value, value)}
    return _found(conn.execute(_BY_CONTACT, {"ids": _organisations(conn, organisation_key), **key}))


def _organisations(conn: Connection, key: str | None) -> list[int]:
    known: dict[str, int] = {row.key: row.id for row in conn.execute(_ORGANISATIONS)}
    if key is None:
        return list(known.values())
    if key not in known:
        raise UnknownPlaceError(f"no organisation has this key (there are: {_named(known)})")
    return [known[key]]


def _found(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[Found]:
    return [Found(*row) for row in rows]


def _named(keys: Iterable[str]) -> str:
    some = sorted(keys)
    if not some:
        return "none yet: import an organisation first"
    more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
    return ", ".join(some[:_NAMED]) + more
