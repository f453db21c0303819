"""Link targets: where a booking link leads, and whom an unsubscribe link silences, given the touch it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, exists, func, select

from domain.ledger.attempts import attempt
from domain.ledger.columns import Id
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import patient, patient_contact
from domain.ledger.touches import tell, touch, touch_event

_CLICKED = "clicked"


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """What a page may say and do for one touch; nothing in it is about the patient but the language."""

    touch_id: int
    organisation_id: int
    organisation: str
    phone: str
    language: str
    contact_point_id: int | None
    booking_url: str | None


def _target() -> Select[Any]:
    latest_attempt = (
        select(attempt.c.contact_point_id)
        .where(attempt.c.touch_id == touch.c.id)
        .order_by(attempt.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    contact_point_id = func.coalesce(latest_attempt, touch.c.contact_point_id)
    # an answer to a household's number may name no patient: then whoever comes first there tells the site
    somebody = (
        select(patient_contact.c.patient_id)
        .where(patient_contact.c.contact_point_id == contact_point_id, patient_contact.c.detached_at.is_(None))
        .order_by(patient_contact.c.rank, patient_contact.c.patient_id)
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(
            touch.c.id,
            touch.c.organisation_id,
            organisation.c.name,
            organisation.c.phone,
            patient.c.language,
            contact_point_id.label("contact_point_id"),
            site.c.booking_url,
        )
        .join(organisation, organisation.c.id == touch.c.organisation_id)
        .outerjoin(patient, patient.c.id == func.coalesce(touch.c.patient_id, somebody))
        .outerjoin(site, site.c.id == func.coalesce(touch.c.site_id, patient.c.home_site_id))
        .where(touch.c.id == _TOUCH)
    )


_TOUCH: Final = bindparam("touch", type_=Id)
_TARGET: Final = _target()
_LOCK: Final = select(touch.c.id).where(touch.c.id == _TOUCH).with_for_update()
_IS_CLICKED: Final = select(exists().where(touch_event.c.touch_id == _TOUCH, touch_event.c.what == _CLICKED))


def find(conn: Connection, touch_id: int) -> LinkTarget | None:
    """The target of a link in this touch, or None if the touch is gone."""
    row = conn.execute(_TARGET, {"touch": touch_id}).one_or_none()
    if row is None:
        return None
    return LinkTarget(
        touch_id=row.id,
        organisation_id=row.organisation_id,
        organisation=row.name,
        phone=row.phone,
        language=row.language or "en",
        contact_point_id=row.contact_point_id,
        booking_url=row.booking_url,
    )


def record_click(conn: Connection, touch_id: int, now: datetime) -> bool:
    """Note in the touch's history that its link was opened, once; whether it was the first time.

    It proves little: scanners open links too. Nothing is decided on it but what a campaign's file asks of it.
    """
    conn.execute(_LOCK, {"touch": touch_id})
    if conn.scalar(_IS_CLICKED, {"touch": touch_id}):
        return False
    tell(conn, [{"touch_id": touch_id, "what": _CLICKED}], now)
    return True
