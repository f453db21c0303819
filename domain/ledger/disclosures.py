"""Disclosures: whose record numbers and contact points were shown to whom, when and why.

Append-only: a row is written in the transaction that opens the values, and no code changes or removes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, LargeBinary, String, Table, bindparam, insert, or_, select

from domain.ledger.columns import Id, Instant, id_column, metadata, ref
from domain.ledger.directory import RecordNumber
from domain.ledger.organisations import site
from domain.ledger.patients import CONTACT_VALUE, MRN, contact_point, patient, patient_contact, registration
from domain.ledger.vault import Vault

#: Written by people one at a time: so few that no index but the key is worth its upkeep.
disclosure = Table(
    "disclosure",
    metadata,
    id_column(),
    ref("patient_id", "patient"),
    Column("at", Instant, nullable=False),
    #: Whoever asked, by the name they gave; the account where they gave none.
    Column("who", String(256), nullable=False),
    #: The operating system's account the command ran under.
    Column("account", String(256), nullable=False),
    #: Sealed: in free text people write names.
    Column("why", LargeBinary, nullable=False),
)

#: Context of the sealed reason (see `Vault.seal`).
WHY: Final = "disclosure.why"

_PATIENT: Final = bindparam("patient", type_=Id)
_WRITE: Final = insert(disclosure).returning(disclosure.c.id)
_RECORD_NUMBERS: Final = (
    select(site.c.key, registration.c.mrn)
    .join(site, site.c.id == registration.c.site_id)
    .where(registration.c.patient_id == _PATIENT)
    .order_by(site.c.key, registration.c.id)
)
_CONTACTS: Final = (
    select(
        contact_point.c.system,
        contact_point.c.value,
        contact_point.c.quality,
        patient_contact.c.rank,
        patient_contact.c.use,
        patient_contact.c.detached_at,
    )
    .join(patient_contact, patient_contact.c.contact_point_id == contact_point.c.id)
    .where(patient_contact.c.patient_id == _PATIENT)
    .order_by(patient_contact.c.rank, contact_point.c.id)
)
_PAST: Final = (
    select(disclosure.c.id, disclosure.c.at, patient.c.ref, disclosure.c.who, disclosure.c.account, disclosure.c.why)
    .join(patient, patient.c.id == disclosure.c.patient_id)
    .order_by(disclosure.c.id.desc())
    .limit(bindparam("at_most", type_=Id))
)
_PAST_OF_ONE: Final = _PAST.where(or_(patient.c.id == _PATIENT, patient.c.merged_into_id == _PATIENT))


@dataclass(frozen=True, slots=True)
class Asking:
    """Who wants to see a patient's details, and why."""

    who: str
    account: str
    why: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reachable:
    """A contact point in clear; `detached_at` = since when it is known not to be the patient's."""

    system: str
    value: str = field(repr=False)
    quality: str
    rank: int
    use: str | None
    detached_at: datetime | None


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What may be shown once the transaction is committed, and the row that says so."""

    disclosure: int
    record_numbers: tuple[RecordNumber, ...]
    contacts: tuple[Reachable, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """One disclosure, with its reason opened."""

    id: int
    at: datetime
    patient: str
    who: str
    account: str
    why: str = field(repr=False)


def disclose(conn: Connection, vault: Vault, patient_id: int, asking: Asking, now: datetime) -> Disclosed:
    """Write down that a patient's details are shown, and open them. Show them only once this is committed.

    Raises:
        VaultError: a value does not open; roll back, and nothing was disclosed.
    """
    row: dict[str, Any] = {
        "patient_id": patient_id,
        "at": now,
        "who": asking.who,
        "account": asking.account,
        "why": vault.seal(asking.why, WHY),
    }
    number = int(conn.scalars(_WRITE, [row]).one())
    known = conn.execute(_RECORD_NUMBERS, {"patient": patient_id})
    reached = conn.execute(_CONTACTS, {"patient": patient_id})
    return Disclosed(
        number,
        tuple(RecordNumber(each.key, vault.open(each.mrn, MRN)) for each in known),
        tuple(Reachable(each[0], vault.open(each[1], CONTACT_VALUE), *each[2:]) for each in reached),
    )


def past(conn: Connection, vault: Vault, limit: int, patient_id: int | None = None) -> Sequence[Past]:
    """Past disclosures, newest first; of one patient, those of the records merged into theirs as well.

    Raises:
        VaultError: the key of a reason is not configured.
    """
    statement = _PAST if patient_id is None else _PAST_OF_ONE
    rows = conn.execute(statement, {"at_most": limit, **({} if patient_id is None else {"patient": patient_id})})
    return [Past(*row[:-1], vault.open(row[-1], WHY)) for row in rows]
