"""Explain: one patient's timeline, every touch and every non-send with its reason, in words and without PHI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select

from domain.ledger import explain_choices, explain_touches
from domain.ledger.campaigns import campaign_event
from domain.ledger.deciding import GOES_ON
from domain.ledger.enrolments import enrolment
from domain.ledger.incentives import incentive_offer
from domain.ledger.lapses import lapse
from domain.ledger.organisations import site
from domain.ledger.outcomes import outcome
from domain.ledger.patients import contact_point, patient, patient_contact, registration
from domain.ledger.timeline import Entry, Timeline
from domain.rules.reasons import sentence
from domain.rules.vocabulary import Arm

AnyRow = Row[*tuple[Any, ...]]


class UnknownPatientError(LookupError):
    """No patient has this reference."""


def explain(conn: Connection, ref: str, now: datetime) -> Timeline:
    """The timeline of the patient with this public reference.

    Raises:
        UnknownPatientError: there is none.
    """
    who = conn.execute(
        select(patient, site.c.key.label("home"), func.coalesce(patient.c.zone, site.c.zone).label("local"))
        .join(site, site.c.id == patient.c.home_site_id)
        .where(patient.c.ref == ref.strip().upper())
    ).one_or_none()
    if who is None:
        raise UnknownPatientError(f"no patient has the reference {ref!r}")
    points = _points(conn, who.id)
    # causes before what came of them: their order stands where instants are equal
    entries = [
        *_lapses(conn, who.id),
        *explain_choices.replies(conn, points),
        *explain_choices.choices(conn, who.id, points),
        *_enrolments(conn, who.id),
        *_halts(conn, who.id),
        *_offers(conn, who.id),
        *explain_touches.touches(conn, who.id),
    ]
    return Timeline(
        ref=who.ref,
        zone=who.local,
        facts=tuple(_facts(conn, who, points)),
        entries=tuple(sorted((each for each in entries if each.at <= now), key=lambda each: each.at)),
        ahead=tuple(sorted(explain_touches.ahead(conn, who.id), key=lambda each: each.at)),
    )


def _points(conn: Connection, patient_id: int) -> dict[int, AnyRow]:
    rows = conn.execute(
        select(
            contact_point.c.id,
            contact_point.c.system,
            contact_point.c.quality,
            patient_contact.c.detached_at,
            patient_contact.c.confidential_since,
        )
        .join(patient_contact, patient_contact.c.contact_point_id == contact_point.c.id)
        .where(patient_contact.c.patient_id == patient_id)
        .order_by(patient_contact.c.rank, contact_point.c.id)
    )
    return {row.id: row for row in rows}


def _facts(conn: Connection, who: AnyRow, points: Mapping[int, AnyRow]) -> Iterator[str]:
    keys = conn.scalars(
        select(site.c.key)
        .join(registration, registration.c.site_id == site.c.id)
        .where(registration.c.patient_id == who.id)
        .order_by(site.c.key)
    ).all()
    yield f"registered at {', '.join(keys) or who.home}; home site {who.home}; language {who.language}"
    for row in points.values():
        state = "detached" if row.detached_at is not None else row.quality
        only = ", and nowhere else: the patient asked for it" if row.confidential_since is not None else ""
        yield f"reachable at contact point {row.id} ({row.system}, {state}){only}"
    if not points:
        yield "no contact point is known"
    if who.deceased_at is not None:
        yield "deceased: never contacted"
    if who.merged_into_id is not None:
        into = conn.scalar(select(patient.c.ref).where(patient.c.id == who.merged_into_id))
        yield f"merged into {into}, who is contacted instead"
    yield from explain_choices.suppressions(conn, who.id, points)


def _lapses(conn: Connection, patient_id: int) -> Iterator[Entry]:
    its = enrolment.c
    own: dict[int, int] = {
        row.lapse_id: row.id
        for row in conn.execute(select(its.id, its.lapse_id).where(its.patient_id == patient_id).order_by(its.id))
    }
    for row in conn.execute(select(lapse).where(lapse.c.patient_id == patient_id).order_by(lapse.c.id)):
        subject = f"lapse {row.id}"
        has_moved = row.segment_at > row.detected_at
        found = f"found inactive in {row.service_line} since {row.inactive_since:%Y-%m-%d}"
        # the row has the present segment alone
        yield Entry(row.detected_at, subject, found if has_moved else f"{found}, segment {row.segment}")
        if has_moved:
            yield Entry(row.segment_at, subject, f"still inactive, and in segment {row.segment} from now on")
        if row.declined is not None and row.decided_at is not None:
            yield Entry(row.decided_at, subject, _decision(row.declined, own.get(row.id)))
        if row.closed_at is not None:
            yield Entry(row.closed_at, subject, f"closed: {sentence(row.closed_by)}")


def _decision(declined: str, enrolment_id: int | None) -> str:
    if declined == GOES_ON:
        return f"looked at again: it is enrolled already, and enrolment {enrolment_id} goes on"
    if enrolment_id is not None:
        return f"not enrolled again after enrolment {enrolment_id}: {sentence(declined)}"
    return f"not enrolled: {sentence(declined)}"


def _enrolments(conn: Connection, patient_id: int) -> Iterator[Entry]:
    rows = conn.execute(select(enrolment).where(enrolment.c.patient_id == patient_id).order_by(enrolment.c.id)).all()
    for row in rows:
        subject = f"enrolment {row.id}"
        left_alone = f": {sentence('holdout')}" if row.arm == Arm.HOLDOUT else ""
        yield Entry(row.enrolled_at, subject, f"enrolled in {row.campaign_key}, {row.arm} arm{left_alone}")
        if row.ended_at is not None:
            yield Entry(row.ended_at, subject, f"ended as {row.state}: {sentence(row.reason)}")
    outcomes = conn.execute(
        select(outcome.c.at, outcome.c.kind, outcome.c.enrolment_id, outcome.c.touch_id)
        .where(outcome.c.enrolment_id.in_([row.id for row in rows]))
        .order_by(outcome.c.id)
    )
    for row in outcomes:
        after = f", after touch {row.touch_id}" if row.touch_id is not None else ""
        what = "booked an appointment" if row.kind == "rebooked" else "came back for a visit"
        yield Entry(row.at, f"enrolment {row.enrolment_id}", what + after)


def _halts(conn: Connection, patient_id: int) -> Iterator[Entry]:
    """What people did to the campaigns of a patient while they were enrolled."""
    rows = conn.execute(
        select(campaign_event.c.at, campaign_event.c.campaign_key, campaign_event.c.what)
        .join(
            enrolment,
            and_(
                enrolment.c.organisation_id == campaign_event.c.organisation_id,
                enrolment.c.campaign_key == campaign_event.c.campaign_key,
                enrolment.c.enrolled_at <= campaign_event.c.at,
                or_(enrolment.c.ended_at.is_(None), enrolment.c.ended_at >= campaign_event.c.at),
            ),
        )
        .where(enrolment.c.patient_id == patient_id)
        .order_by(campaign_event.c.id)
    )
    for row in rows:
        yield Entry(row.at, f"campaign {row.campaign_key}", f"{row.what} by a person")


def _offers(conn: Connection, patient_id: int) -> Iterator[Entry]:
    """What a patient was offered, and what it comes to in the calendar year."""
    of = incentive_offer.c
    sums: Counter[int] = Counter()
    for row in conn.execute(select(incentive_offer).where(of.patient_id == patient_id).order_by(of.id)):
        sums[row.year] += row.cents
        ceiling = "a federal or unknown payer's ceilings hold" if row.is_federal else "no federal ceiling"
        told = f"offered {row.incentive}, worth ${row.cents / 100:.2f}; ${sums[row.year] / 100:.2f} in {row.year}"
        if row.carried_at is not None:
            told += ", to a record that was merged into this one"
        yield Entry(row.offered_at, f"enrolment {row.enrolment_id}", f"{told} ({ceiling})")
