"""Which patient a piece of news is about: registrations, aliases and shared identifiers joined to one person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select, update

from domain.ledger import store
from domain.ledger.columns import Id
from domain.ledger.lookup import by_key
from domain.ledger.organisations import SiteFacts
from domain.ledger.patients import MRN, by_registration, mrn_index, patient, person_index, registration
from domain.ledger.store import chunks
from domain.ledger.vault import Vault

_RAISE: Final = (
    update(registration)
    .where(
        registration.c.site_id == bindparam("at_site"),
        registration.c.mrn_index == bindparam("under"),
        registration.c.version < bindparam("new_version"),
    )
    .values(version=bindparam("new_version"))
)
_REGISTRATIONS: Final = select(registration.c.patient_id, registration.c.site_id, registration.c.mrn_index).where(
    registration.c.patient_id.in_(bindparam("ids", type_=Id, expanding=True))
)
_CREATE: Final = insert(patient).returning(patient.c.id, sort_by_parameter_order=True)

#: ("r", site id, record number index) | ("p", organisation id, person index) | ("id", patient id, b"")
Token = tuple[str, int, bytes]


@dataclass(frozen=True, slots=True)
class Known:
    """One record number at one site, ready to be stored."""

    site: SiteFacts
    mrn: str = field(repr=False)
    index: bytes

    @property
    def token(self) -> Token:
        """What identifies it."""
        return ("r", self.site.id, self.index)


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything a piece of news says about who it is: the registrations, first the one that speaks, and a person."""

    registrations: tuple[Known, ...]
    person: bytes | None

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Whatever the person may be found by."""
        person = [("p", self.registrations[0].site.organisation_id, self.person)] if self.person is not None else []
        return (*(each.token for each in self.registrations), *person)


@dataclass
class Persons:
    """The outcome: patient ids by token, record versions by token as stored, and pairs of records found to be one."""

    ids: dict[Token, int]
    versions: dict[Token, int]
    #: (record to be merged, survivor)
    doubles: list[tuple[int, int]]
    created: set[int]


def known(vault: Vault, site: SiteFacts, mrn: str) -> Known:
    """A record number at a site, with its blind index."""
    return Known(site, mrn, mrn_index(vault, mrn))


def identity(vault: Vault, registrations: Iterable[Known], person: str | None) -> Identity:
    """Who a piece of news is about; repeated registrations count once."""
    unique = tuple({each.token: each for each in registrations}.values())
    return Identity(unique, person_index(vault, person) if person else None)


def find_or_create(conn: Connection, vault: Vault, identities: Sequence[Identity]) -> Persons:
    """Give every identity its patient, creating those nobody knew. Call it under the organisations' lock.

    Records that an identity shows to be one person's are returned as `doubles`; the oldest of them survives.
    """
    versions, stored = _stored(conn, identities)
    groups = _joined([*(each.tokens for each in identities), *((token, ("id", found, b"")) for token, found in stored)])
    persons = Persons({}, versions, [], set())
    speakers = _speakers(identities)
    fresh: list[tuple[Known, frozenset[Token]]] = []
    for group in groups:
        ids = sorted(token[1] for token in group if token[0] == "id")
        if ids:
            persons.doubles += [(other, ids[0]) for other in ids[1:]]
            persons.ids |= dict.fromkeys(group, ids[0])
        else:
            fresh.append((min((speakers[token] for token in group if token in speakers), key=_place)[1], group))
    _create(conn, vault, fresh, persons)
    _register(conn, vault, identities, persons)
    return persons


def raise_versions(conn: Connection, versions: Mapping[Token, int]) -> None:
    """Remember the version of the newest news taken about each registration."""
    rows = [{"at_site": t[1], "under": t[2], "new_version": version} for t, version in sorted(versions.items())]
    if rows:
        conn.execute(_RAISE, rows)


def registrations_of(conn: Connection, patient_ids: Collection[int]) -> dict[int, set[Token]]:
    """All registrations of these patients."""
    found: defaultdict[int, set[Token]] = defaultdict(set)
    for ids in chunks(sorted(patient_ids)):
        for row in conn.execute(_REGISTRATIONS, {"ids": ids}):
            found[row[0]].add(("r", row[1], bytes(row[2])))
    return found


def sealed_date(vault: Vault, value: date, context: str) -> bytes:
    """A date, sealed."""
    return vault.seal(value.isoformat(), context)


def _stored(conn: Connection, identities: Sequence[Identity]) -> tuple[dict[Token, int], list[tuple[Token, int]]]:
    keys = {(each.site.id, each.index) for one in identities for each in one.registrations}
    registered = by_registration(conn, keys)
    versions: dict[Token, int] = {("r", *key): found.version for key, found in registered.items()}
    stored: list[tuple[Token, int]] = [(("r", *key), found.patient_id) for key, found in registered.items()]
    persons: defaultdict[int, set[bytes]] = defaultdict(set)
    for one in identities:
        if one.person is not None:
            persons[one.registrations[0].site.organisation_id].add(one.person)
    index = patient.c.person_index
    for organisation_id, indexes in persons.items():
        rows = by_key(conn, patient, {"organisation_id": organisation_id}, index, indexes, index, patient.c.id)
        stored += [(("p", organisation_id, bytes(row[0])), row[1]) for row in rows]
    return versions, stored


def _joined(sets: Iterable[Sequence[Token]]) -> list[frozenset[Token]]:
    """Groups of tokens that some set holds together, in the order in which their first token came (union-find)."""
    parent: dict[Token, Token] = {}

    def root(token: Token) -> Token:
        while parent.setdefault(token, token) != token:
            parent[token] = parent[parent[token]]
            token = parent[token]
        return token

    for tokens in sets:
        first = root(tokens[0])
        for token in tokens[1:]:
            parent[root(token)] = first
    groups: defaultdict[Token, set[Token]] = defaultdict(set)
    for token in list(parent):
        groups[root(token)].add(token)
    return [frozenset(group) for group in groups.values()]


def _speakers(identities: Sequence[Identity]) -> dict[Token, tuple[int, Known]]:
    """The registrations that speak, each with the place of its first news."""
    speakers: dict[Token, tuple[int, Known]] = {}
    for place, one in enumerate(identities):
        speakers.setdefault(one.registrations[0].token, (place, one.registrations[0]))
    return speakers


def _place(speaker: tuple[int, Known]) -> int:
    return speaker[0]


def _create(conn: Connection, vault: Vault, fresh: Sequence[tuple[Known, frozenset[Token]]], persons: Persons) -> None:
    if not fresh:
        return
    rows = [
        {
            "organisation_id": first.site.organisation_id,
            "ref": vault.reference(first.site.organisation_key, first.site.key, first.mrn),
            "home_site_id": first.site.id,
        }
        for first, _ in fresh
    ]
    for (_, group), patient_id in zip(fresh, conn.scalars(_CREATE, rows), strict=True):
        persons.ids |= dict.fromkeys(group, patient_id)
        persons.created.add(patient_id)


def _register(conn: Connection, vault: Vault, identities: Sequence[Identity], persons: Persons) -> None:
    missing = {
        each.token: each for one in identities for each in one.registrations if each.token not in persons.versions
    }
    rows: list[dict[str, Any]] = [
        {
            "patient_id": persons.ids[token],
            "site_id": each.site.id,
            "mrn": vault.seal(each.mrn, MRN),
            "mrn_index": each.index,
        }
        for token, each in missing.items()
    ]
    if rows:
        conn.execute(_registering(conn.dialect.name), rows)


@cache
def _registering(dialect: str) -> Any:
    return store.insert_on(dialect, registration).on_conflict_do_nothing()
