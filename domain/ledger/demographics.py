"""What is stored of a patient: the newest news wins field by field, and what nobody told stays as it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, bindparam, select, update

from domain.ledger import contacts, merging, patients, registering
from domain.ledger.columns import Id
from domain.ledger.contacts import Point, Told
from domain.ledger.organisations import SiteFacts, organisation
from domain.ledger.patients import BIRTH_DATE, FAMILY_NAME, GIVEN_NAME, patient
from domain.ledger.registering import Identity, Persons
from domain.ledger.vault import Vault
from domain.rules.identity import Problem
from domain.rules.news import PatientNews
from domain.rules.places import state_code, zone_of_state
from domain.rules.vocabulary import Payer

Sites = Mapping[tuple[int, str], SiteFacts]

_FIELDS: Final = (
    "given_name",
    "family_name",
    "birth_date",
    "language",
    "zone",
    "state",
    "preferred_channel",
    "high_risk",
    "payer",
    "benefit_month",
    "deceased_at",
    "version",
    "person_index",
)
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?=$|[-_])")
_CHANNEL: Final = re.compile(r"[a-z][a-z_]{0,15}$")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_LOCK_ORGANISATIONS: Final = (
    select(organisation.c.id)
    .where(organisation.c.id.in_(bindparam("ids", type_=Id, expanding=True)))
    .order_by(organisation.c.id)
    .with_for_update(key_share=True)
)
_OVERWRITE: Final = (
    update(patient)
    .where(patient.c.id == bindparam("row_id"))
    .values({name: bindparam(f"new_{name}") for name in _FIELDS})
)


@dataclass(slots=True)
class Done:
    """How many were stale, (index, field, reason) of what was left out, and the patients whose history to follow."""

    stale: int = 0
    left_out: list[tuple[int, str, str]] = field(default_factory=list)
    concerned: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Person:
    """A patient's row while news is laid over it."""

    values: dict[str, Any]
    is_changed: bool = False


def store_patients(
    conn: Connection, vault: Vault, news: Sequence[tuple[int, PatientNews]], sites: Sites, now: datetime
) -> Done:
    """Store (index, news) whose sites exist, in order.

    News is stale where newer news was taken about the registration that speaks. News that a record was merged says
    nothing more: what the retired record holds is not laid over the survivor.
    """
    done = Done()
    if not news:
        return done
    _lock_organisations(conn, {each.organisation_id for _, each in news})
    identities = [_identity(vault, each, sites) for _, each in news]
    targets = [_target(vault, each, sites) for _, each in news]
    persons = registering.find_or_create(conn, vault, [*identities, *(target for target in targets if target)])
    doubles = {record for pair in persons.doubles for record in pair}
    patients.lock(conn, set(persons.ids.values()) | doubles)
    done.concerned |= _merge(conn, persons.doubles, now)
    before = patients.lock(conn, set(persons.ids.values()))
    rows = {key: _Person({name: getattr(row, name) for name in _FIELDS}) for key, row in before.items()}
    fresh = _fresh(news, identities, persons, done)
    registering.raise_versions(conn, persons.versions)
    told = []
    for position in fresh:
        (index, each), one = news[position], identities[position]
        if each.merged_into is None:
            patient_id = persons.ids[one.tokens[0]]
            _lay_over(vault, rows[patient_id], each, one, index, done)
            told.append((patient_id, one, _points(vault, each, index, done)))
    _write(conn, rows)
    _link(conn, vault, told, now)
    done.concerned |= {key for key, row in rows.items() if row.values["deceased_at"] != before[key].deceased_at}
    pairs = [(identities[position], target) for position in fresh if (target := targets[position])]
    done.concerned |= _merge(conn, [(persons.ids[a.tokens[0]], persons.ids[b.tokens[0]]) for a, b in pairs], now)
    return done


def _lock_organisations(conn: Connection, organisation_ids: Collection[int]) -> None:
    """One intake of patients at a time per organisation: two at once could make two patients of one person.

    Taken before any patient is locked; `key_share` lets other transactions insert rows that refer to it.
    """
    conn.execute(_LOCK_ORGANISATIONS, {"ids": sorted(organisation_ids)})


def _fresh(
    news: Sequence[tuple[int, PatientNews]], identities: Sequence[Identity], persons: Persons, done: Done
) -> list[int]:
    """Positions of the news that is not stale; the others are counted."""
    fresh = []
    for position, ((_, each), one) in enumerate(zip(news, identities, strict=True)):
        if each.version < persons.versions.get(one.tokens[0], 0):
            done.stale += 1
            continue
        persons.versions |= dict.fromkeys((known.token for known in one.registrations), each.version)
        fresh.append(position)
    return fresh


def _target(vault: Vault, each: PatientNews, sites: Sites) -> Identity | None:
    into = each.merged_into
    if into is None:
        return None
    return registering.identity(
        vault, [registering.known(vault, sites[each.organisation_id, into.site], into.mrn)], None
    )


def _identity(vault: Vault, each: PatientNews, sites: Sites) -> Identity:
    own = registering.known(vault, sites[each.organisation_id, each.site], each.mrn)
    aliases = (registering.known(vault, sites[each.organisation_id, one.site], one.mrn) for one in each.aliases)
    return registering.identity(vault, [own, *aliases], each.person)


def _lay_over(vault: Vault, row: _Person, each: PatientNews, one: Identity, index: int, done: Done) -> None:
    values = row.values
    if each.version < values["version"]:
        # another registration spoke since; a death it did not know of counts all the same
        if values["deceased_at"] is None and (each.deceased or each.deceased_at):
            row.is_changed = True
            values["deceased_at"] = _died_at(each)
        return
    row.is_changed = True
    values["version"] = each.version
    values["person_index"] = one.person or values["person_index"]
    for name, context in (("given_name", GIVEN_NAME), ("family_name", FAMILY_NAME)):
        if getattr(each, name):
            values[name] = vault.seal(getattr(each, name), context)
    if each.birth_date is not None:
        values["birth_date"] = registering.sealed_date(vault, each.birth_date, BIRTH_DATE)
    if each.high_risk is not None:
        values["high_risk"] = each.high_risk
    if each.deceased_at is not None or each.deceased:
        values["deceased_at"] = each.deceased_at or values["deceased_at"] or _died_at(each)
    elif each.deceased is False:
        values["deceased_at"] = None
    _lay_place(values, each, index, done)
    _lay_wishes(values, each, index, done)
    _lay_payer(values, each, index, done)


def _died_at(each: PatientNews) -> datetime:
    return each.deceased_at or _EPOCH + timedelta(microseconds=each.version)


def _lay_place(values: dict[str, Any], each: PatientNews, index: int, done: Done) -> None:
    """State and zone change together: an old zone must not outlive a move."""
    state = state_code(each.state) if each.state else None
    if each.state and state is None:
        done.left_out.append((index, "state", "not a US state or territory"))
    zone = each.zone
    if zone and not _is_zone(zone):
        done.left_out.append((index, "zone", "not an IANA time zone"))
        zone = None
    if state or zone:
        values["state"] = state or values["state"]
        values["zone"] = zone or (zone_of_state(state) if state else None)


def _lay_wishes(values: dict[str, Any], each: PatientNews, index: int, done: Done) -> None:
    if each.language:
        match = _LANGUAGE.match(each.language)
        if match:
            values["language"] = match.group().lower()
        else:
            done.left_out.append((index, "language", "not a BCP 47 language"))
    if each.preferred_channel:
        if _CHANNEL.match(each.preferred_channel):
            values["preferred_channel"] = each.preferred_channel
        else:
            done.left_out.append((index, "preferred_channel", "not a channel's name"))


def _lay_payer(values: dict[str, Any], each: PatientNews, index: int, done: Done) -> None:
    """One that is told and not known must not leave the old one standing: it may have been no federal one's."""
    if each.payer:
        payer = "_".join(re.findall("[a-z]+", each.payer.lower()))
        values["payer"] = payer if payer in set(Payer) else None
        if values["payer"] is None:
            done.left_out.append((index, "payer", f"not one of {', '.join(Payer)}: ceilings of a federal one hold"))
    if each.benefit_month is not None:
        if 1 <= each.benefit_month <= 12:
            values["benefit_month"] = each.benefit_month
        else:
            done.left_out.append((index, "benefit_month", "not a month from 1 to 12"))


def _points(vault: Vault, each: PatientNews, index: int, done: Done) -> tuple[Point, ...] | None:
    """The usable contact points that were told; None = nothing was told of them."""
    if each.contacts is None:
        return None
    usable = []
    for number, contact in enumerate(each.contacts):
        point = contacts.point_of(vault, each.organisation_id, contact)
        if isinstance(point, Problem):
            done.left_out.append((index, f"contacts[{number}].{contact.system.value}", point.reason))
        else:
            usable.append(point)
    return tuple(usable)


def _link(
    conn: Connection, vault: Vault, told: Sequence[tuple[int, Identity, tuple[Point, ...] | None]], now: datetime
) -> None:
    """A list of contact points is the whole list only if its news speaks for all registrations of the patient."""
    registrations = registering.registrations_of(conn, {patient_id for patient_id, _, _ in told})
    contacts.link(
        conn,
        vault,
        [
            Told(patient_id, points, is_whole=registrations[patient_id] <= set(one.tokens))
            for patient_id, one, points in told
            if points is not None
        ],
        now,
    )


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


def _write(conn: Connection, rows: Mapping[int, _Person]) -> None:
    changed = [
        {"row_id": key} | {f"new_{name}": value for name, value in row.values.items()}
        for key, row in sorted(rows.items())
        if row.is_changed
    ]
    if changed:
        conn.execute(_OVERWRITE, changed)


def _merge(conn: Connection, pairs: Sequence[tuple[int, int]], now: datetime) -> set[int]:
    """Merge each (record, survivor), also where a survivor was merged itself; every record concerned is returned."""
    survivors: dict[int, int] = {}

    def standing(patient_id: int) -> int:
        while patient_id in survivors:
            patient_id = survivors[patient_id]
        return patient_id

    for gone, into in pairs:
        old, new = standing(gone), standing(into)
        if old != new:
            merging.merge(conn, old, new, now)
            survivors[old] = new
    return survivors.keys() | set(survivors.values())
