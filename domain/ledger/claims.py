"""The claim: which of a batch of touches may go now. Locks, facts, decisions and writes of one short transaction."""

from __future__ import annotations

import base64
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, or_, select, update

from domain.ledger import pauses
from domain.ledger.appointments import care
from domain.ledger.choices import consent, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import contact_point, patient, patient_contact
from domain.ledger.replies import reply
from domain.ledger.touches import IS_PLANNED, MAY_HAVE_REACHED, attempt, tell, touch
from domain.rules import caps
from domain.rules.guard import Facts, decide, with_sent
from domain.rules.vocabulary import (
    LIVE,
    Arm,
    AttemptState,
    Decision,
    Send,
    TouchKind,
    TouchState,
    Wait,
)

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]

#: A claim's lease; provider timeouts stay below half of it.
LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Claimed:
    """One touch this process alone may now send, once, before `lease_until`."""

    touch_id: int
    token: str
    kind: str
    answer: str | None
    channel: str
    organisation_id: int
    patient_id: int | None
    contact_point_id: int
    sealed_address: bytes
    campaign_id: int | None
    segment: str
    language: str
    organisation: str
    organisation_phone: str
    postal_address: str
    site: str
    valid_until: datetime
    due_at: datetime
    dispatched_until: datetime | None
    attempts: int
    """This one included."""


@dataclass
class Claim:
    """What a claim decided, touch by touch."""

    claimed: list[Claimed] = field(default_factory=list)
    waits: list[tuple[int, Wait]] = field(default_factory=list)
    nevers: list[tuple[int, str]] = field(default_factory=list)
    rerouted: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class _Contacts:
    """The working contact points of the patients in a batch, best first, and everything judged by them."""

    best: dict[int, AnyRow]
    channels: dict[int, set[str]]
    by_id: dict[int, AnyRow]
    zones: dict[int, set[str]]


def claim(
    conn: Connection, ids: Collection[int], *, channel: str, system: str, systems: Mapping[str, str], now: datetime
) -> Claim:
    """Decide about each planned, due touch among `ids` and write the decisions.

    Those that may go become `sending` under a fresh attempt; those that must wait get a new `due_at`; those that may
    never go end `suppressed`. A patient without a working contact point for this channel is moved to another channel
    of `systems` (channel -> contact system) that reaches them. Touches that are not planned any more are left alone.
    """
    rows = _locked(conn, ids, channel, system, now)
    if not rows:
        return Claim()
    contacts = _contacts(conn, rows, system, systems)
    facts = _facts(conn, rows, contacts, channel, now)
    result = _decide(rows, contacts, facts, channel, now)
    _write(conn, result, facts, now)
    return result


def _locked(conn: Connection, ids: Collection[int], channel: str, system: str, now: datetime) -> Sequence[AnyRow]:
    """Lock patients, contact points and touches, each in id order, and only then read."""
    wanted = and_(
        touch.c.id.in_(sorted(ids)),
        touch.c.channel == channel,
        IS_PLANNED,
        touch.c.due_at <= now,
    )
    patients = select(touch.c.patient_id).where(wanted, touch.c.patient_id.is_not(None))
    conn.execute(select(patient.c.id).where(patient.c.id.in_(patients)).order_by(patient.c.id).with_for_update())
    points = (
        select(patient_contact.c.contact_point_id)
        .where(patient_contact.c.patient_id.in_(patients))
        .union_all(select(touch.c.contact_point_id).where(wanted, touch.c.contact_point_id.is_not(None)))
    )
    conn.execute(
        select(contact_point.c.id)
        .where(contact_point.c.id.in_(points), contact_point.c.system == system)
        .order_by(contact_point.c.id)
        .with_for_update()
    )
    conn.execute(select(touch.c.id).where(wanted).order_by(touch.c.id).with_for_update())
    return conn.execute(_details().where(wanted).order_by(touch.c.priority, touch.c.due_at, touch.c.id)).all()


def _details() -> Any:
    return (
        select(
            touch.c.id,
            touch.c.kind,
            touch.c.answer,
            touch.c.organisation_id,
            touch.c.patient_id,
            touch.c.contact_point_id,
            touch.c.enrolment_id,
            touch.c.due_at,
            touch.c.expires_at,
            touch.c.dispatched_until,
            touch.c.attempts,
            enrolment.c.state.label("enrolment_state"),
            enrolment.c.arm,
            enrolment.c.campaign_id,
            enrolment.c.segment,
            patient.c.deceased_at,
            patient.c.merged_into_id,
            func.coalesce(reply.c.language, patient.c.language, "en").label("language"),
            func.coalesce(patient.c.zone, site.c.zone).label("zone"),
            site.c.key.label("site"),
            organisation.c.name.label("organisation"),
            organisation.c.phone,
            organisation.c.postal_address,
        )
        .select_from(touch)
        .join(organisation, organisation.c.id == touch.c.organisation_id)
        .outerjoin(enrolment, enrolment.c.id == touch.c.enrolment_id)
        .outerjoin(patient, patient.c.id == touch.c.patient_id)
        .outerjoin(site, site.c.id == func.coalesce(touch.c.site_id, patient.c.home_site_id))
        .outerjoin(reply, reply.c.id == touch.c.reply_id)
    )


def _contacts(conn: Connection, rows: Sequence[AnyRow], system: str, systems: Mapping[str, str]) -> _Contacts:
    patient_ids = {row.patient_id for row in rows if row.patient_id is not None}
    fixed = {row.contact_point_id for row in rows if row.contact_point_id is not None}
    columns = (
        contact_point.c.id,
        contact_point.c.system,
        contact_point.c.value,
        contact_point.c.quality,
        contact_point.c.zones,
    )
    attached = conn.execute(
        select(patient_contact.c.patient_id, *columns)
        .join(contact_point, contact_point.c.id == patient_contact.c.contact_point_id)
        .where(
            patient_contact.c.patient_id.in_(sorted(patient_ids)),
            patient_contact.c.detached_at.is_(None),
            contact_point.c.quality != "bad",
        )
        .order_by(
            patient_contact.c.patient_id, contact_point.c.quality.desc(), patient_contact.c.rank, contact_point.c.id
        )
    ).all()
    contacts = _Contacts({}, defaultdict(set), {}, defaultdict(set))
    for row in attached:
        contacts.channels[row.patient_id] |= {name for name, reaches in systems.items() if reaches == row.system}
        if row.system == system:
            contacts.best.setdefault(row.patient_id, row)
    contacts.by_id = {
        point.id: point for point in conn.execute(select(*columns).where(contact_point.c.id.in_(sorted(fixed))))
    }
    _add_zones(conn, contacts)
    return contacts


def _add_zones(conn: Connection, contacts: _Contacts) -> None:
    """Every zone someone answering at a contact point may be in: the number's own, and all its patients' addresses."""
    points: dict[int, AnyRow] = {row.id: row for row in (*contacts.best.values(), *contacts.by_id.values())}
    for row in points.values():
        contacts.zones[row.id] |= {zone for zone in row.zones.split(",") if zone}
    housemates = conn.execute(
        select(patient_contact.c.contact_point_id, func.coalesce(patient.c.zone, site.c.zone).label("zone"))
        .join(patient, patient.c.id == patient_contact.c.patient_id)
        .join(site, site.c.id == patient.c.home_site_id)
        .where(patient_contact.c.contact_point_id.in_(sorted(points)), patient_contact.c.detached_at.is_(None))
    )
    for row in housemates:
        contacts.zones[row.contact_point_id].add(row.zone)


def _facts(
    conn: Connection, rows: Sequence[AnyRow], contacts: _Contacts, channel: str, now: datetime
) -> dict[int, tuple[Facts, AnyRow | None]]:
    chosen = {row.id: _point_of(row, contacts) for row in rows}
    points = sorted({point.id for point in chosen.values() if point is not None})
    patients = sorted({row.patient_id for row in rows if row.patient_id is not None})
    stopped_points, stopped_patients = _suppressed(conn, points, patients, channel)
    revoked = _revoked(conn, points, channel)
    sent_patient, sent_point = _recent(conn, points, patients, now)
    ahead = _ahead(conn, patients, now)
    is_paused = channel in pauses.paused(conn)
    facts: dict[int, tuple[Facts, AnyRow | None]] = {}
    for row in rows:
        point = chosen[row.id]
        point_id = None if point is None else point.id
        zones = set() if point is None else contacts.zones[point.id]
        facts[row.id] = (
            Facts(
                kind=row.kind,
                answer=row.answer,
                expires_at=row.expires_at,
                live=row.enrolment_id is None or (row.enrolment_state in LIVE and row.arm == Arm.TREATMENT),
                deceased=row.deceased_at is not None,
                merged=row.merged_into_id is not None,
                reachable=point is not None,
                suppressed_contact=point_id in stopped_points,
                suppressed_patient=row.patient_id in stopped_patients,
                consent_revoked=point_id in revoked,
                channel_paused=is_paused,
                appointment_ahead=ahead.get(row.patient_id),
                zones=tuple(sorted(zones | ({row.zone} if row.zone else set()))),
                sent_to_patient=tuple(sent_patient[row.patient_id]),
                sent_to_contact=tuple(sent_point[point_id]),
            ),
            point,
        )
    return facts


def _point_of(row: AnyRow, contacts: _Contacts) -> AnyRow | None:
    if row.contact_point_id is not None:
        return contacts.by_id.get(row.contact_point_id)
    return contacts.best.get(row.patient_id)


def _suppressed(
    conn: Connection, points: Sequence[int], patients: Sequence[int], channel: str
) -> tuple[set[int], set[int]]:
    rows = conn.execute(
        select(suppression.c.contact_point_id, suppression.c.patient_id).where(
            suppression.c.lifted_at.is_(None),
            or_(suppression.c.channel.is_(None), suppression.c.channel == channel),
            or_(suppression.c.contact_point_id.in_(points), suppression.c.patient_id.in_(patients)),
        )
    ).all()
    return (
        {row.contact_point_id for row in rows if row.contact_point_id is not None},
        {row.patient_id for row in rows if row.patient_id is not None},
    )


def still_suppressed(conn: Connection, claimed: Sequence[Claimed]) -> set[int]:
    """Touch ids among an aged claim that an opt-out committed since then must stop."""
    touches_of = {each.touch_id: each for each in claimed if each.kind != TouchKind.ANSWER}
    points = sorted({each.contact_point_id for each in touches_of.values()})
    patients = sorted({each.patient_id for each in touches_of.values() if each.patient_id is not None})
    channel = claimed[0].channel if claimed else ""
    stopped_points, stopped_patients = _suppressed(conn, points, patients, channel)
    return {
        id_
        for id_, each in touches_of.items()
        if each.contact_point_id in stopped_points or each.patient_id in stopped_patients
    }


def _revoked(conn: Connection, points: Sequence[int], channel: str) -> set[int]:
    return set(
        conn.scalars(
            select(consent.c.contact_point_id).where(
                consent.c.contact_point_id.in_(points), consent.c.channel == channel, consent.c.status == "revoked"
            )
        )
    )


def _recent(
    conn: Connection, points: Sequence[int], patients: Sequence[int], now: datetime
) -> tuple[defaultdict[int | None, list[datetime]], defaultdict[int | None, list[datetime]]]:
    """When each patient and contact point was (or may have been) reached within the longest cap's window."""
    since = now - caps.LONGEST - LEASE
    by_patient: defaultdict[int | None, list[datetime]] = defaultdict(list)
    by_point: defaultdict[int | None, list[datetime]] = defaultdict(list)
    at = func.coalesce(attempt.c.finished_at, attempt.c.claimed_at, type_=attempt.c.claimed_at.type)
    for column, wanted, found in (
        (attempt.c.patient_id, patients, by_patient),
        (attempt.c.contact_point_id, points, by_point),
    ):
        rows = conn.execute(
            select(column, at).where(
                column.in_(wanted),
                MAY_HAVE_REACHED,
                attempt.c.kind != TouchKind.ANSWER.value,
                attempt.c.claimed_at > since,
            )
        )
        for key, instant in rows:
            found[key].append(instant)
    return by_patient, by_point


def _ahead(conn: Connection, patients: Sequence[int], now: datetime) -> dict[int, datetime]:
    rows = conn.execute(
        select(care.c.patient_id, func.min(care.c.next_appointment_at))
        .where(care.c.patient_id.in_(patients), care.c.next_appointment_at >= now)
        .group_by(care.c.patient_id)
    )
    return {row[0]: row[1] for row in rows}


def _decide(
    rows: Sequence[AnyRow],
    contacts: _Contacts,
    facts: dict[int, tuple[Facts, AnyRow | None]],
    channel: str,
    now: datetime,
) -> Claim:
    """Row by row, so that a send counts at once for its patient and contact point in the same batch."""
    result = Claim()
    sent_patient: defaultdict[int | None, list[datetime]] = defaultdict(list)
    sent_point: defaultdict[int, list[datetime]] = defaultdict(list)
    for row in rows:
        known, point = facts[row.id]
        others = contacts.channels.get(row.patient_id, set()) - {channel}
        if point is None and others and known.live:
            result.rerouted.append((row.id, min(others)))
            continue
        if point is not None and row.kind != TouchKind.ANSWER:
            known = with_sent(known, to_patient=sent_patient[row.patient_id], to_contact=sent_point[point.id])
        decision: Decision = decide(known, now)
        if isinstance(decision, Wait):
            result.waits.append((row.id, decision))
        elif isinstance(decision, Send) and point is not None:
            result.claimed.append(_claimed(row, point, channel, decision))
            if row.kind != TouchKind.ANSWER:
                sent_patient[row.patient_id].append(now)
                sent_point[point.id].append(now)
        else:
            result.nevers.append((row.id, getattr(decision, "why", "unreachable")))
    return result


def _claimed(row: AnyRow, point: AnyRow, channel: str, decision: Send) -> Claimed:
    return Claimed(
        touch_id=row.id,
        token=new_token(),
        kind=row.kind,
        answer=row.answer,
        channel=channel,
        organisation_id=row.organisation_id,
        patient_id=row.patient_id,
        contact_point_id=point.id,
        sealed_address=point.value,
        campaign_id=row.campaign_id,
        segment=row.segment or "",
        language=row.language,
        organisation=row.organisation,
        organisation_phone=row.phone,
        postal_address=row.postal_address,
        site=row.site or "",
        valid_until=decision.valid_until,
        due_at=row.due_at,
        dispatched_until=row.dispatched_until,
        attempts=row.attempts + 1,
    )


def new_token() -> str:
    """A fresh attempt token: 26 characters base32, lower case; unguessable, and valid in an address or a Message-ID."""
    return base64.b32encode(os.urandom(16)).decode().rstrip("=").lower()


def _write(conn: Connection, result: Claim, facts: dict[int, tuple[Facts, AnyRow | None]], now: datetime) -> None:
    if result.claimed:
        conn.execute(
            insert(attempt),
            [
                {
                    "touch_id": each.touch_id,
                    "token": each.token,
                    "channel": each.channel,
                    "kind": each.kind,
                    "patient_id": each.patient_id,
                    "contact_point_id": each.contact_point_id,
                    "state": AttemptState.SENDING.value,
                    "claimed_at": now,
                    "lease_until": now + LEASE,
                    "zones": ",".join(facts[each.touch_id][0].zones),
                }
                for each in result.claimed
            ],
        )
        conn.execute(
            update(touch)
            .where(touch.c.id.in_([each.touch_id for each in result.claimed]))
            .values(state=TouchState.SENDING.value, attempts=touch.c.attempts + 1, reason=None, dispatched_until=None)
        )
    _write_waits(conn, result.waits, now)
    _write_nevers(conn, result.nevers, now)
    _write_reroutes(conn, result.rerouted, now)


def _write_waits(conn: Connection, waits: Sequence[tuple[int, Wait]], now: datetime) -> None:
    groups: defaultdict[tuple[datetime, str], list[int]] = defaultdict(list)
    for id_, wait in waits:
        groups[wait.until, wait.why].append(id_)
    for (until, why), ids in groups.items():
        _update(conn, ids, due_at=until, reason=why, dispatched_until=None)
    tell(
        conn,
        [{"touch_id": id_, "what": "waited", "reason": wait.why, "until": wait.until} for id_, wait in waits],
        now,
    )


def _write_nevers(conn: Connection, nevers: Sequence[tuple[int, str]], now: datetime) -> None:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for id_, why in nevers:
        groups[why].append(id_)
    for why, ids in groups.items():
        state = TouchState.EXPIRED if why == "expired" else TouchState.SUPPRESSED
        _update(conn, ids, state=state.value, reason=why, ended_at=now, dispatched_until=None)
        tell(conn, [{"touch_id": id_, "what": state.value, "reason": why} for id_ in ids], now)


def _write_reroutes(conn: Connection, rerouted: Sequence[tuple[int, str]], now: datetime) -> None:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for id_, channel in rerouted:
        groups[channel].append(id_)
    for channel, ids in groups.items():
        _update(conn, ids, channel=channel, reason="rerouted", dispatched_until=None)
        tell(conn, [{"touch_id": id_, "what": "rerouted", "reason": f"to_{channel}"} for id_ in ids], now)


def _update(conn: Connection, ids: Sequence[int], **values: Any) -> None:
    where: ColumnElement[bool] = touch.c.id.in_(ids)
    conn.execute(update(touch).where(where).values(**values))
