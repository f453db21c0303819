"""Patients, their registrations at sites, and the contact points they can be reached at.

Names, record numbers and contact values are stored only encrypted, beside a keyed blind index for look-up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
)

from domain.ledger.columns import Id, Instant, id_column, metadata, ref
from domain.ledger.lookup import by_key
from domain.ledger.store import chunks
from domain.ledger.vault import Vault

patient = Table(
    "patient",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    #: Stable public reference (keyed hash of organisation, first site and record number); safe in logs.
    Column("ref", String(24), nullable=False, unique=True),
    ref("home_site_id", "site"),
    Column("given_name", LargeBinary),
    Column("family_name", LargeBinary),
    Column("birth_date", LargeBinary),
    Column("language", String(8), nullable=False, default="en"),
    #: Zone of the home address; null = unknown, then the home site's zone speaks.
    Column("zone", String(64)),
    Column("state", String(8)),
    Column("preferred_channel", String(16)),
    Column("high_risk", Boolean, nullable=False, default=False),
    #: Class of payer (`Payer`); null = unknown, and taken for a federal one.
    Column("payer", String(16)),
    #: The month (1 to 12) with which the patient's benefit year begins; null = that of the payer's class.
    Column("benefit_month", Integer),
    Column("deceased_at", Instant),
    ref("merged_into_id", "patient", nullable=True),
    #: Blind index of the identifier that several registrations of one person share, where a source has one.
    Column("person_index", LargeBinary),
    #: Version (microseconds since 1970) of the newest news taken; older news is ignored.
    Column("version", id_column().type, nullable=False, default=0),
    UniqueConstraint("organisation_id", "person_index"),
)
Index("ix_patient_merged_into_id", patient.c.merged_into_id)

registration = Table(
    "registration",
    metadata,
    id_column(),
    ref("patient_id", "patient", index=True),
    ref("site_id", "site"),
    Column("mrn", LargeBinary, nullable=False),
    Column("mrn_index", LargeBinary, nullable=False),
    #: Version of the newest news taken about this registration; older news is stale.
    Column("version", id_column().type, nullable=False, default=0),
    UniqueConstraint("site_id", "mrn_index"),
)

contact_point = Table(
    "contact_point",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    Column("system", String(16), nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("value_index", LargeBinary, nullable=False),
    #: `valid`, `possible` (libphonenumber: right length, unassigned range) or `bad` (a provider said so).
    Column("quality", String(16), nullable=False),
    #: Comma-separated IANA zones the number may be in; empty where the number says nothing.
    Column("zones", String(2000), nullable=False, default=""),
    UniqueConstraint("organisation_id", "system", "value_index"),
)

#: Who can be reached where. Households share contact points; `detached_at` ends one patient's link only.
patient_contact = Table(
    "patient_contact",
    metadata,
    id_column(),
    ref("patient_id", "patient"),
    ref("contact_point_id", "contact_point"),
    Column("rank", Integer, nullable=False, default=1),
    Column("use", String(16)),
    Column("detached_at", Instant),
    #: Since when the patient asks to be reached here and nowhere else (45 CFR 164.522(b)).
    Column("confidential_since", Instant),
    #: For the audit: since when outreach may use it; null = for longer than anybody wrote it down.
    Column("since", Instant),
    UniqueConstraint("patient_id", "contact_point_id"),
)


def may_be_used(link: FromClause) -> ColumnElement[bool]:
    """Whether outreach may use a link: who asked for a confidential one is reached there or not at all.

    That holds even if it was a wrong one.
    """
    other = patient_contact.alias(f"{link.description}_of_theirs")
    return and_(
        link.c.detached_at.is_(None),
        or_(
            link.c.confidential_since.is_not(None),
            ~exists().where(other.c.patient_id == link.c.patient_id, other.c.confidential_since.is_not(None)),
        ),
    )


#: Links outreach may use.
MAY_BE_USED: Final = may_be_used(patient_contact)
Index("ix_patient_contact_contact_point_id", patient_contact.c.contact_point_id)

#: Contexts of sealed values (see `Vault.seal`).
GIVEN_NAME: Final = "patient.given_name"
FAMILY_NAME: Final = "patient.family_name"
BIRTH_DATE: Final = "patient.birth_date"
MRN: Final = "registration.mrn"
CONTACT_VALUE: Final = "contact_point.value"


_LOCK: Final = (
    select(patient)
    .where(patient.c.id.in_(bindparam("ids", type_=Id, expanding=True)))
    .order_by(patient.c.id)
    .with_for_update()
)


_STANDS_FOR: Final = select(func.coalesce(patient.c.merged_into_id, patient.c.id)).where(
    patient.c.id == bindparam("id", type_=Id)
)


@dataclass(frozen=True, slots=True)
class Registered:
    """The patient behind a registration, and the version of the newest news taken about it."""

    patient_id: int
    version: int


def mrn_index(vault: Vault, mrn: str) -> bytes:
    """The blind index a record number is found by, together with its site."""
    return vault.index(mrn, MRN)


def person_index(vault: Vault, person: str) -> bytes:
    """The blind index of an identifier that all registrations of one person share."""
    return vault.index(person, "patient.person")


def contact_index(vault: Vault, system: str, value: str) -> bytes:
    """The blind index of a normalised contact value."""
    return vault.index(value, f"contact_point.{system}")


def by_registration(conn: Connection, keys: Collection[tuple[int, bytes]]) -> dict[tuple[int, bytes], Registered]:
    """Who is registered under these pairs of site id and record number index."""
    at_site: defaultdict[int, set[bytes]] = defaultdict(set)
    for site_id, index in keys:
        at_site[site_id].add(index)
    found: dict[tuple[int, bytes], Registered] = {}
    columns = registration.c
    for site_id, indexes in at_site.items():
        wanted = (columns.mrn_index, columns.patient_id, columns.version)
        rows = by_key(conn, registration, {"site_id": site_id}, columns.mrn_index, indexes, *wanted)
        found.update({(site_id, bytes(row[0])): Registered(row[1], row[2]) for row in rows})
    return found


def lock(conn: Connection, patient_ids: Collection[int]) -> dict[int, Row[Any]]:
    """Lock these patients in id order, and return their rows as they are then."""
    found: dict[int, Row[Any]] = {}
    for ids in chunks(sorted(patient_ids)):
        found.update({row.id: row for row in conn.execute(_LOCK, {"ids": ids})})
    return found


def standing(conn: Connection, patient_id: int) -> Row[Any]:
    """Lock a patient, or the survivor of a record that was merged, and return the row as it is then."""
    wanted = conn.scalar(_STANDS_FOR, {"id": patient_id})
    row = lock(conn, [wanted])[wanted]
    # a merge may have come between the look-up and the lock
    return row if row.merged_into_id is None else standing(conn, row.merged_into_id)
