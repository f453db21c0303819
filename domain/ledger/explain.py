"""Explain: one patient's timeline, every touch and every non-send with its reason, in words and without PHI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select

from domain.ledger import explain_choices, explain_touches
from domain.ledger.campaigns import campaign_event
from domain.ledger.enrolments import enrolment
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
    for row in conn.execute(select(lapse).where(lapse.c.patient_id == patient_id).order_by(lapse.c.id)):
        subject = f"lapse {row.id}"
        yield Entry(
            row.detected_at,
            subject,
            f"found inactive in {row.service_line} since {row.inactive_since:%Y-%m-%d}, segment {row.segment}",
        )
        if row.declined is not None and row.decided_at is not None:
            yield Entry(row.decided_at, subject, f"not enrolled: {sentence(row.declined)}")
        if row.closed_at is not None:
            yield Entry(row.closed_at, subject, f"closed: {sentence(row.closed_by)}")


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
