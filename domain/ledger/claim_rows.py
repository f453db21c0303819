"""The rows of a claim: the touches it may decide about, locked with their patients and contact points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, String, and_, bindparam, func, or_, select, union_all

from domain.ledger import households
from domain.ledger.among import among
from domain.ledger.campaigns import campaign
from domain.ledger.columns import Instant
from domain.ledger.enrolments import enrolment
from domain.ledger.households import Households
from domain.ledger.inbound import reply
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import contact_point, patient, patient_contact
from domain.ledger.touches import IS_PLANNED, touch

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]

_CHANNEL = bindparam("channel", type_=String)
_SYSTEM = bindparam("system", type_=String)
_NOW = bindparam("now", type_=Instant)

_WANTED = and_(among(touch.c.id, "ids"), touch.c.channel == _CHANNEL, IS_PLANNED, touch.c.due_at <= _NOW)
_LOCK_PATIENTS = (
    select(patient.c.id)
    .where(patient.c.id.in_(select(touch.c.patient_id).where(_WANTED, touch.c.patient_id.is_not(None))))
    .order_by(patient.c.id)
    .with_for_update()
)
_OF_RELATIVES = select(patient_contact.c.contact_point_id).where(among(patient_contact.c.patient_id, "relatives"))
# all a household has, whatever the channel: two claims for members of one meet at what they share
_LOCK_POINTS = (
    select(contact_point.c.id)
    .where(
        or_(contact_point.c.system == _SYSTEM, contact_point.c.id.in_(_OF_RELATIVES)),
        contact_point.c.id.in_(
            union_all(
                select(patient_contact.c.contact_point_id).where(among(patient_contact.c.patient_id, "patients")),
                _OF_RELATIVES,
                select(touch.c.contact_point_id).where(_WANTED, touch.c.contact_point_id.is_not(None)),
            )
        ),
    )
    .order_by(contact_point.c.id)
    .with_for_update()
)
_LOCK_TOUCHES = (
    select(touch.c.id)
    .where(_WANTED, or_(touch.c.patient_id.is_(None), among(touch.c.patient_id, "patients")))
    .order_by(touch.c.id)
    .with_for_update()
)

_running = campaign.alias("running")
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
        enrolment.c.campaign_key,
        enrolment.c.service_line,
        _running.c.daily_touches.label("campaign_daily"),
        _running.c.bookings_per_touch,
        campaign.c.paused_at.label("campaign_paused_at"),
        campaign.c.blackout,
        campaign.c.terms,
        patient.c.preferred_channel,
        patient.c.high_risk,
        patient.c.payer,
        patient.c.benefit_month,
        patient.c.deceased_at,
        patient.c.merged_into_id,
        reply.c.provider.label("came_by"),
        func.coalesce(reply.c.language, patient.c.language, "en").label("language"),
        func.coalesce(patient.c.zone, site.c.zone).label("zone"),
        func.coalesce(patient.c.state, site.c.state).label("home_state"),
        site.c.key.label("site"),
        site.c.id.label("site_id"),
        site.c.zone.label("site_zone"),
        site.c.daily_touches.label("site_daily"),
        organisation.c.key.label("organisation_key"),
        organisation.c.name.label("organisation"),
        organisation.c.phone,
        organisation.c.postal_address,
    )
    .select_from(touch)
    .join(organisation, organisation.c.id == touch.c.organisation_id)
    .outerjoin(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .outerjoin(campaign, campaign.c.id == enrolment.c.campaign_id)
    .outerjoin(
        _running,
        and_(
            _running.c.organisation_id == enrolment.c.organisation_id,
            _running.c.key == enrolment.c.campaign_key,
            _running.c.ended_at.is_(None),
        ),
    )
    .outerjoin(patient, patient.c.id == touch.c.patient_id)
    .outerjoin(site, site.c.id == func.coalesce(touch.c.site_id, patient.c.home_site_id))
    .outerjoin(reply, reply.c.id == touch.c.reply_id)
    .where(_WANTED)
    .order_by(touch.c.priority, touch.c.due_at, touch.c.id)
)


def lock_and_read(
    conn: Connection, ids: Sequence[int], channel: str, system: str, now: datetime
) -> tuple[Sequence[AnyRow], Households]:
    """Lock patients, contact points and touches, each in id order, and only then read the touches.

    Beside them the households of their patients, all of whose contact points are locked.
    """
    if conn.dialect.name == "sqlite":  # there, a write transaction is the only one as it is
        return read(conn, ids, channel, system, now)
    values: dict[str, Any] = {"ids": sorted(ids), "channel": channel, "system": system, "now": now}
    values["ids"], families = _lock(conn, values)
    return conn.execute(_DETAILS, values).all() if values["ids"] else [], families


def read(
    conn: Connection, ids: Sequence[int], channel: str, system: str, now: datetime
) -> tuple[Sequence[AnyRow], Households]:
    """The same without a lock."""
    rows = conn.execute(_DETAILS, {"ids": sorted(ids), "channel": channel, "system": system, "now": now}).all()
    return rows, households.of(conn, {row.patient_id for row in rows if row.patient_id is not None})


def _lock(conn: Connection, values: Mapping[str, Any]) -> tuple[Sequence[int], Households]:
    """The touches locked, all with their patients: one that comes back to `planned` meanwhile is not among them."""
    patients = conn.scalars(_LOCK_PATIENTS, values).all()
    families = households.of(conn, patients)
    conn.execute(_LOCK_POINTS, {**values, "patients": patients, "relatives": sorted(families.relatives)})
    return conn.scalars(_LOCK_TOUCHES, {**values, "patients": patients}).all(), families
