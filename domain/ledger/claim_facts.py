"""What a claim must know before it decides: the touches, their contact points, and everything the guard asks.

Every statement is built once; a claim runs thousands of times a minute, and building costs more than running.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, String, and_, bindparam, func, or_, select

from domain.ledger import holds, pauses
from domain.ledger.appointments import care
from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.campaigns import campaign
from domain.ledger.choice_history import suppression
from domain.ledger.claim_texts import Usable
from domain.ledger.columns import Id, Instant
from domain.ledger.consents import consent
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import reply
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import MAY_BE_USED, contact_point, patient, patient_contact
from domain.ledger.touches import IS_PLANNED, touch
from domain.rules import blackouts
from domain.rules.guard import Facts, held_by
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import LIVE, Arm, TouchKind

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]

#: A claim's lease; provider timeouts stay below half of it.
LEASE = timedelta(seconds=60)

_CHANNEL, _SYSTEM = bindparam("channel", type_=String), bindparam("system", type_=String)
_NOW, _SINCE = bindparam("now", type_=Instant), bindparam("since", type_=Instant)
_IDS = bindparam("ids", type_=Id, expanding=True)
_PATIENTS = bindparam("patients", type_=Id, expanding=True)
_POINTS = bindparam("points", type_=Id, expanding=True)

_WANTED = and_(touch.c.id.in_(_IDS), touch.c.channel == _CHANNEL, IS_PLANNED, touch.c.due_at <= _NOW)
_LOCK_PATIENTS = (
    select(patient.c.id)
    .where(patient.c.id.in_(select(touch.c.patient_id).where(_WANTED, touch.c.patient_id.is_not(None))))
    .order_by(patient.c.id)
    .with_for_update()
)
_LOCK_POINTS = (
    select(contact_point.c.id)
    .where(
        contact_point.c.system == _SYSTEM,
        contact_point.c.id.in_(
            select(patient_contact.c.contact_point_id)
            .where(patient_contact.c.patient_id.in_(_PATIENTS))
            .union_all(select(touch.c.contact_point_id).where(_WANTED, touch.c.contact_point_id.is_not(None)))
        ),
    )
    .order_by(contact_point.c.id)
    .with_for_update()
)
_LOCK_TOUCHES = (
    select(touch.c.id)
    .where(_WANTED, or_(touch.c.patient_id.is_(None), touch.c.patient_id.in_(_PATIENTS)))
    .order_by(touch.c.id)
    .with_for_update()
)

_DETAILS = (
    select(
        touch.c.id,
        touch.c.kind,
        touch.c.step,
        touch.c.answer,
        touch.c.organisation_id,
        touch.c.patient_id,
        touch.c.contact_point_id,
        touch.c.enrolment_id,
        touch.c.due_at,
        touch.c.expires_at,
        touch.c.dispatched_until,
        touch.c.attempts,
        touch.c.reason,
        enrolment.c.state.label("enrolment_state"),
        enrolment.c.arm,
        enrolment.c.campaign_id,
        enrolment.c.segment,
        campaign.c.paused_at.label("campaign_paused_at"),
        campaign.c.blackout,
        patient.c.deceased_at,
        patient.c.merged_into_id,
        func.coalesce(reply.c.language, patient.c.language, "en").label("language"),
        func.coalesce(patient.c.zone, site.c.zone).label("zone"),
        func.coalesce(patient.c.state, site.c.state).label("home_state"),
        site.c.key.label("site"),
        organisation.c.key.label("organisation_key"),
        organisation.c.name.label("organisation"),
        organisation.c.phone,
        organisation.c.postal_address,
    )
    .select_from(touch)
    .join(organisation, organisation.c.id == touch.c.organisation_id)
    .outerjoin(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .outerjoin(campaign, campaign.c.id == enrolment.c.campaign_id)
    .outerjoin(patient, patient.c.id == touch.c.patient_id)
    .outerjoin(site, site.c.id == func.coalesce(touch.c.site_id, patient.c.home_site_id))
    .outerjoin(reply, reply.c.id == touch.c.reply_id)
    .where(_WANTED)
    .order_by(touch.c.priority, touch.c.due_at, touch.c.id)
)

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
    .where(patient_contact.c.patient_id.in_(_PATIENTS), MAY_BE_USED, contact_point.c.quality != "bad")
    # `valid` before `possible`
    .order_by(patient_contact.c.patient_id, contact_point.c.quality.desc(), patient_contact.c.rank, contact_point.c.id)
)
_GIVEN = select(*_POINT).where(contact_point.c.id.in_(_POINTS))
_HOUSEMATES = (
    select(
        patient_contact.c.contact_point_id,
        func.coalesce(patient.c.zone, site.c.zone).label("zone"),
        func.coalesce(patient.c.state, site.c.state).label("home_state"),
    )
    .join(patient, patient.c.id == patient_contact.c.patient_id)
    .join(site, site.c.id == patient.c.home_site_id)
    .where(patient_contact.c.contact_point_id.in_(_POINTS), patient_contact.c.detached_at.is_(None))
)
_SUPPRESSED = select(suppression.c.contact_point_id, suppression.c.patient_id).where(
    suppression.c.lifted_at.is_(None),
    # these wait for a person instead
    suppression.c.reason.not_in(holds.REASONS),
    or_(suppression.c.channel.is_(None), suppression.c.channel == _CHANNEL),
    or_(suppression.c.contact_point_id.in_(_POINTS), suppression.c.patient_id.in_(_PATIENTS)),
)
_REVOKED = select(consent.c.contact_point_id).where(
    consent.c.contact_point_id.in_(_POINTS), consent.c.channel == _CHANNEL, consent.c.status == "revoked"
)
_DEPARTED = select(patient.c.id).where(
    patient.c.id.in_(_PATIENTS), or_(patient.c.merged_into_id.is_not(None), patient.c.deceased_at.is_not(None))
)
_USABLE = select(patient_contact.c.patient_id, patient_contact.c.contact_point_id).where(
    patient_contact.c.patient_id.in_(_PATIENTS), patient_contact.c.contact_point_id.in_(_POINTS), MAY_BE_USED
)
_AHEAD = (
    select(care.c.patient_id, func.min(care.c.next_appointment_at))
    .where(care.c.patient_id.in_(_PATIENTS), care.c.next_appointment_at >= _NOW)
    .group_by(care.c.patient_id)
)


def _recent(column: Any, wanted: Any) -> Select[Any]:
    at = func.coalesce(attempt.c.finished_at, attempt.c.claimed_at, type_=Instant)
    return select(column, at).where(
        column.in_(wanted),
        MAY_HAVE_REACHED,
        attempt.c.kind != TouchKind.ANSWER.value,
        attempt.c.claimed_at > _SINCE,
    )


_RECENT_OF_PATIENTS = _recent(attempt.c.patient_id, _PATIENTS)
_RECENT_OF_POINTS = _recent(attempt.c.contact_point_id, _POINTS)


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


def lock_and_read(conn: Connection, ids: Sequence[int], channel: str, system: str, now: datetime) -> Sequence[AnyRow]:
    """Lock patients, contact points and touches, each in id order, and only then read the touches."""
    values: dict[str, Any] = {"ids": sorted(ids), "channel": channel, "system": system, "now": now}
    if conn.dialect.name != "sqlite":  # there, a write transaction is the only one as it is
        values["ids"] = _lock(conn, values)
    return conn.execute(_DETAILS, values).all() if values["ids"] else []


def _lock(conn: Connection, values: Mapping[str, Any]) -> Sequence[int]:
    """The touches locked, all with their patients: one that comes back to `planned` meanwhile is not among them."""
    patients = conn.scalars(_LOCK_PATIENTS, values).all()
    conn.execute(_LOCK_POINTS, {**values, "patients": patients})
    return conn.scalars(_LOCK_TOUCHES, {**values, "patients": patients}).all()


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
    channel: str,
    rules: Rulebook,
    now: datetime,
) -> dict[int, Facts]:
    """What the guard asks, by touch id.

    The rules are those of the state of the address, or of the site where no address is known, and of the states of
    everybody who shares the number.
    """
    points = sorted({point.id for row in rows if (point := contacts.of(row)) is not None})
    patients = sorted({row.patient_id for row in rows if row.patient_id is not None})
    stopped_points, stopped_patients = suppressed(conn, points, patients, channel)
    refused = revoked(conn, points, channel)
    since = now - rules.longest_cap - LEASE
    sent_patient = _by_key(conn.execute(_RECENT_OF_PATIENTS, {"patients": patients, "since": since}))
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
            deceased=row.deceased_at is not None,
            merged=row.merged_into_id is not None,
            reachable=point is not None,
            suppressed_contact=point_id in stopped_points,
            suppressed_patient=row.patient_id in stopped_patients,
            held=held.get(row.patient_id),
            consent_revoked=point_id in refused,
            channel_paused=is_paused,
            campaign_paused=row.campaign_paused_at is not None,
            blackout=blackouts.from_text(row.blackout),
            text_held=said[row.id].hold if row.id in said else None,
            appointment_ahead=ahead.get(row.patient_id),
            zones=tuple(sorted(zones | ({row.zone} if row.zone else set()))),
            states=tuple(sorted(states)),
            sent_to_patient=tuple(sent_patient[row.patient_id]),
            sent_to_contact=tuple(sent_point[point_id]),
            waited_for=held_by(row.reason, row.due_at, row.expires_at),
        )
    return facts


def suppressed(
    conn: Connection, points: Sequence[int], patients: Sequence[int], channel: str
) -> tuple[set[int], set[int]]:
    """Which of these contact points, and which of these patients, a suppression in force covers on this channel."""
    rows = conn.execute(_SUPPRESSED, {"points": points, "patients": patients, "channel": channel}).all()
    return (
        {row.contact_point_id for row in rows if row.contact_point_id is not None},
        {row.patient_id for row in rows if row.patient_id is not None},
    )


def revoked(conn: Connection, points: Sequence[int], channel: str) -> set[int]:
    """Which of these contact points withdrew their consent to this channel."""
    return set(conn.scalars(_REVOKED, {"points": points, "channel": channel}))


def departed(conn: Connection, patients: Sequence[int]) -> set[int]:
    """Which of these records were merged into another, and which of these patients died."""
    return set(conn.scalars(_DEPARTED, {"patients": patients}))


def usable(conn: Connection, patients: Sequence[int], points: Sequence[int]) -> set[tuple[int, int]]:
    """Pairs of patient and contact point that outreach may use: attached, and no other one was asked for instead."""
    return {(row[0], row[1]) for row in conn.execute(_USABLE, {"patients": patients, "points": points})}


def _by_key(rows: Any) -> defaultdict[int | None, list[datetime]]:
    found: defaultdict[int | None, list[datetime]] = defaultdict(list)
    for key, instant in rows:
        found[key].append(instant)
    return found
