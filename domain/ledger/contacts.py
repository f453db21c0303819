"""Contact points of patients: stored once per organisation, shared by households, linked to each patient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, delete, select, update

from domain.ledger import store
from domain.ledger.columns import Id
from domain.ledger.lookup import by_key
from domain.ledger.patients import CONTACT_VALUE, contact_index, contact_point, patient_contact
from domain.ledger.store import chunks
from domain.ledger.vault import Vault
from domain.rules.identity import Email, Phone, Problem, normalise_email, normalise_phone
from domain.rules.news import Contact
from domain.rules.vocabulary import ContactSystem

PointKey = tuple[int, str, bytes]

_IDS: Final = bindparam("ids", type_=Id, expanding=True)
_LINKS: Final = select(patient_contact).where(patient_contact.c.patient_id.in_(_IDS))
_UNLINK: Final = delete(patient_contact).where(patient_contact.c.id.in_(_IDS))
_RELINK: Final = (
    update(patient_contact)
    .where(patient_contact.c.id == bindparam("link_id"))
    .values(rank=bindparam("new_rank"), use=bindparam("new_use"))
)


@dataclass(frozen=True, slots=True)
class Point:
    """A usable contact point in its one form; `key` is organisation, system and blind index."""

    key: PointKey
    value: str = field(repr=False)
    quality: str
    zones: str
    rank: int
    use: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """One patient's contact points as news told them; `is_whole` = those not among them are no longer the patient's."""

    patient_id: int
    points: tuple[Point, ...]
    is_whole: bool


def point_of(vault: Vault, organisation_id: int, told: Contact) -> Point | Problem:
    """The contact point that was told, in its one form, or why it cannot be used."""
    usable: Phone | Email | Problem
    usable = normalise_phone(told.value) if told.system is ContactSystem.PHONE else normalise_email(told.value)
    if isinstance(usable, Problem):
        return usable
    value, quality, zones = (
        (usable.e164, usable.quality, ",".join(usable.zones))
        if isinstance(usable, Phone)
        else (usable.address, "valid", "")
    )
    system = told.system.value
    key = (organisation_id, system, contact_index(vault, system, value))
    return Point(key, value, quality, zones, told.rank, told.use)


def link(conn: Connection, vault: Vault, told: Sequence[Told], now: datetime) -> None:
    """Make the patients' links agree with what was told, later news over earlier. Call it with the patients locked.

    A link that ended by the patient's word (`detached_at`, a wrong number) stays ended however often a source repeats
    it, and one the patient asked for stays, listed or not; any other that the source no longer lists is removed.
    """
    ids = _stored_points(conn, vault, [point for each in told for point in each.points])
    before = _links(conn, {each.patient_id for each in told})
    after: dict[tuple[int, int], tuple[int, str | None]] = {key: (row.rank, row.use) for key, row in before.items()}
    linked: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
    for key in after:
        linked[key[0]].add(key)
    for each in told:
        listed = {(each.patient_id, ids[point.key]): point for point in sorted(each.points, key=lambda p: -p.rank)}
        if each.is_whole:
            for key in linked[each.patient_id] - listed.keys():
                if key not in before or (before[key].detached_at is None and before[key].confidential_since is None):
                    del after[key]
                    linked[each.patient_id].remove(key)
        after.update({key: (point.rank, point.use) for key, point in listed.items()})
        linked[each.patient_id] |= listed.keys()
    _write_links(conn, before, after, now)


def _stored_points(conn: Connection, vault: Vault, points: Iterable[Point]) -> dict[PointKey, int]:
    wanted = {point.key: point for point in points}
    ids = _point_ids(conn, wanted)
    missing = sorted(wanted.keys() - ids.keys())
    if missing:
        conn.execute(
            _adding(conn.dialect.name, contact_point),
            [
                {
                    "organisation_id": key[0],
                    "system": key[1],
                    "value": vault.seal(wanted[key].value, CONTACT_VALUE),
                    "value_index": key[2],
                    "quality": wanted[key].quality,
                    "zones": wanted[key].zones,
                }
                for key in missing
            ],
        )
        ids |= _point_ids(conn, missing)
    return ids


def _point_ids(conn: Connection, keys: Collection[PointKey]) -> dict[PointKey, int]:
    found: dict[PointKey, int] = {}
    columns = contact_point.c
    for organisation_id, system in sorted({key[:2] for key in keys}):
        within = {"organisation_id": organisation_id, "system": system}
        indexes = {key[2] for key in keys if key[:2] == (organisation_id, system)}
        rows = by_key(conn, contact_point, within, columns.value_index, indexes, columns.value_index, columns.id)
        found.update({(organisation_id, system, bytes(row[0])): row[1] for row in rows})
    return found


def _links(conn: Connection, patient_ids: Collection[int]) -> dict[tuple[int, int], Any]:
    found = {}
    for ids in chunks(sorted(patient_ids)):
        rows = conn.execute(_LINKS, {"ids": ids})
        found.update({(row.patient_id, row.contact_point_id): row for row in rows})
    return found


@cache
def _adding(dialect: str, table: Table) -> Any:
    return store.insert_on(dialect, table).on_conflict_do_nothing()


def _write_links(
    conn: Connection,
    before: Mapping[tuple[int, int], Any],
    after: Mapping[tuple[int, int], tuple[int, str | None]],
    now: datetime,
) -> None:
    gone = sorted(before[key].id for key in before.keys() - after.keys())
    for ids in chunks(gone):
        conn.execute(_UNLINK, {"ids": ids})
    fresh = [
        {"patient_id": key[0], "contact_point_id": key[1], "rank": after[key][0], "use": after[key][1], "since": now}
        for key in sorted(after.keys() - before.keys())
    ]
    if fresh:
        conn.execute(_adding(conn.dialect.name, patient_contact), fresh)
    changed = [
        {"link_id": before[key].id, "new_rank": after[key][0], "new_use": after[key][1]}
        for key in sorted(before.keys() & after.keys())
        if (before[key].rank, before[key].use) != after[key]
    ]
    if changed:
        conn.execute(_RELINK, changed)
