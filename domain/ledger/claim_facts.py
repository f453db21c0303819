"""What a claim must know before it decides: the contact points of its touches, and everything the guard asks.

Every statement is built once; a claim runs thousands of times a minute, and building costs more than running.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from domain.ledger import holds, listeners, pauses
from domain.ledger.among import among
from domain.ledger.appointments import care
from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.claim_rows import AnyRow
from domain.ledger.claim_stops import revoked, suppressed
from domain.ledger.claim_texts import Usable
from domain.ledger.columns import Instant
from domain.ledger.households import Households
from domain.ledger.organisations import site
from domain.ledger.patients import MAY_BE_USED, contact_point, patient, patient_contact
from domain.rules import blackouts
from domain.rules.guard import Facts, held_by
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import LIVE, Arm, TouchKind

#: A claim's lease; provider timeouts stay below half of it.
LEASE = timedelta(seconds=60)

_NOW = bindparam("now", type_=Instant)
_SINCE = bindparam("since", type_=Instant)

_POINT = (
    contact_point.c.id,
    contact_point.c.system,
    contact_point.c.value,
    contact_point.c.quality,
    contact_point.c.zones,
)
_ATTACHED = (
    select(patient_contact.c.patient_id, *_POINT)
    .join(contact_point, contact_point.c.id == patient_contact.c.contact_point_id)
    .where(among(patient_contact.c.patient_id, "patients"), MAY_BE_USED, contact_point.c.quality != "bad")
    # `valid` before `possible`
    .order_by(patient_contact.c.patient_id, contact_point.c.quality.desc(), patient_contact.c.rank, contact_point.c.id)
)
_GIVEN = select(*_POINT).where(among(contact_point.c.id, "points"))
_HOUSEMATES = (
    select(
        patient_contact.c.contact_point_id,
        func.coalesce(patient.c.zone, site.c.zone).label("zone"),
        func.coalesce(patient.c.state, site.c.state).label("home_state"),
    )
    .join(patient, patient.c.id == patient_contact.c.patient_id)
    .join(site, site.c.id == patient.c.home_site_id)
    .where(among(patient_contact.c.contact_point_id, "points"), patient_contact.c.detached_at.is_(None))
)
_AHEAD = (
    select(care.c.patient_id, func.min(care.c.next_appointment_at))
    .where(among(care.c.patient_id, "patients"), care.c.next_appointment_at >= _NOW)
    .group_by(care.c.patient_id)
)


def _recent(column: Any, wanted: str) -> Select[Any]:
    at = func.coalesce(attempt.c.finished_at, attempt.c.claimed_at, type_=Instant)
    return select(column, at).where(
        among(column, wanted),
        MAY_HAVE_REACHED,
        attempt.c.kind != TouchKind.ANSWER.value,
        attempt.c.claimed_at > _SINCE,
    )


_RECENT_OF_PATIENTS = _recent(attempt.c.patient_id, "patients")
_RECENT_OF_POINTS = _recent(attempt.c.contact_point_id, "points")


@dataclass
class Contacts:
    """The working contact points of a batch, best first, and where somebody answering there may be."""

    best: dict[int, AnyRow] = field(default_factory=dict)
    """Patient -> contact point of the channel's system."""
    given: dict[int, AnyRow] = field(default_factory=dict)
    """Contact points that touches name themselves (answers)."""
    channels: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    zones: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    states: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Contact point -> the states of everybody who may answer there."""

    def of(self, row: AnyRow) -> AnyRow | None:
        """Where a touch would go; None = nowhere on this channel."""
        if row.contact_point_id is not None:
            return self.given.get(row.contact_point_id)
        return self.best.get(row.patient_id)


def read_contacts(conn: Connection, rows: Sequence[AnyRow], system: str, systems: Mapping[str, str]) -> Contacts:
    """The contact points of these touches; `systems` says which channels reach which system."""
    contacts = Contacts()
    patients = sorted({row.patient_id for row in rows if row.patient_id is not None})
    given = sorted({row.contact_point_id for row in rows if row.contact_point_id is not None})
    for row in conn.execute(_ATTACHED, {"patients": patients}):
        contacts.channels[row.patient_id] |= {name for name, reaches in systems.items() if reaches == row.system}
        if row.system == system:
            contacts.best.setdefault(row.patient_id, row)
    if given:
        contacts.given = {point.id: point for point in conn.execute(_GIVEN, {"points": given})}
    points: dict[int, AnyRow] = {row.id: row for row in (*contacts.best.values(), *contacts.given.values())}
    for point in points.values():
        contacts.zones[point.id] |= {zone for zone in point.zones.split(",") if zone}
    for point_id, zone, state in conn.execute(_HOUSEMATES, {"points": sorted(points)}):
        contacts.zones[point_id].add(zone)
        if state:
            contacts.states[point_id].add(state)
    return contacts


def read_facts(
    conn: Connection,
    rows: Sequence[AnyRow],
    contacts: Contacts,
    said: Mapping[int, Usable],
    families: Households,
    unwanted: Mapping[int, str | None],
    channel: str,
    rules: Rulebook,
    now: datetime,
) -> dict[int, Facts]:
    """What the guard asks, by touch id.

    `unwanted` says why the cadence of a touch does not want it any more. The rules are those of the state of the
    address, or of the site where no address is known, and of the states of everybody who shares the number.
    """
    points = sorted({point.id for row in rows if (point := contacts.of(row)) is not None})
    patients = sorted({row.patient_id for row in rows if row.patient_id is not None})
    # before the suppressions: what was kept is committed before it is said that nothing is
    are_kept = listeners.may_keep_choices(conn)
    stopped_points, stopped_patients = suppressed(conn, points, patients, channel)
    refused = revoked(conn, points, channel)
    since = now - rules.longest_cap - LEASE
    counted = sorted(families.relatives.union(patients))
    sent_patient = _by_key(conn.execute(_RECENT_OF_PATIENTS, {"patients": counted, "since": since}))
    sent_point = _by_key(conn.execute(_RECENT_OF_POINTS, {"points": points, "since": since}))
    ahead = {row[0]: row[1] for row in conn.execute(_AHEAD, {"patients": patients, "now": now})}
    held = holds.held(conn, patients)
    is_paused = channel in pauses.paused(conn)
    facts: dict[int, Facts] = {}
    for row in rows:
        point = contacts.of(row)
        point_id = None if point is None else point.id
        zones = set() if point is None else contacts.zones[point.id]
        states = (set() if point is None else contacts.states[point.id]) | (
            {row.home_state} if row.home_state else set()
        )
        facts[row.id] = Facts(
            kind=row.kind,
            answer=row.answer,
            expires_at=row.expires_at,
            rules=rules.in_force(row.organisation_key, states),
            live=row.enrolment_id is None or (row.enrolment_state in LIVE and row.arm == Arm.TREATMENT),
            unwanted=unwanted.get(row.id),
            deceased=row.deceased_at is not None,
            merged=row.merged_into_id is not None,
            reachable=point is not None,
            suppressed_contact=point_id in stopped_points,
            suppressed_patient=row.patient_id in stopped_patients,
            held=held.get(row.patient_id),
            consent_revoked=point_id in refused,
            channel_paused=is_paused,
            choices_kept=are_kept,
            campaign_paused=row.campaign_paused_at is not None,
            blackout=blackouts.from_text(row.blackout),
            text_held=said[row.id].hold if row.id in said else None,
            appointment_ahead=ahead.get(row.patient_id),
            zones=tuple(sorted(zones | ({row.zone} if row.zone else set()))),
            states=tuple(sorted(states)),
            sent_to_patient=tuple(sent_patient[row.patient_id]),
            sent_to_contact=tuple(sent_point[point_id]),
            sent_to_household=tuple(
                at for member in families.members(row.patient_id) for at in sent_patient.get(member, ())
            ),
            waited_for=held_by(row.reason, row.due_at, row.expires_at),
        )
    return facts


def _by_key(rows: Any) -> defaultdict[int | None, list[datetime]]:
    found: defaultdict[int | None, list[datetime]] = defaultdict(list)
    for key, instant in rows:
        found[key].append(instant)
    return found
