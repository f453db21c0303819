"""Reach: whom outreach can reach at all, by a contact point that works and that no suppression covers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, Connection, and_, exists, select

from domain.ledger import holds
from domain.ledger.among import among
from domain.ledger.choice_history import suppression
from domain.ledger.patients import MAY_BE_USED, contact_point, patient_contact
from domain.ledger.store import chunks
from domain.rules.steps import PHONE
from domain.rules.vocabulary import ContactSystem

# whom a person has to look at first is reached later, not never
_stops = and_(suppression.c.lifted_at.is_(None), suppression.c.reason.not_in(holds.REASONS))
_in_force = and_(_stops, suppression.c.channel.is_(None))
#: The patient is stopped at every contact point of this system.
_is_out_of = exists().where(
    _stops,
    suppression.c.patient_id == patient_contact.c.patient_id,
    suppression.c.channel == contact_point.c.system,
)


def with_calls(systems: Mapping[str, str]) -> Mapping[str, str]:
    """These channels and the systems they reach, and the list of calls, which reaches a phone wherever there is one."""
    return {**systems, PHONE: ContactSystem.PHONE.value}


def reachable_channels(
    conn: Connection, patient_ids: Collection[int], systems: Mapping[str, str]
) -> dict[int, list[str]]:
    """Channels on which each patient has a working, unsuppressed contact point; absent = none."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for ids in chunks(sorted(patient_ids)):
        stopped = set(
            conn.scalars(select(suppression.c.patient_id).where(_in_force, suppression.c.patient_id.in_(ids)))
        )
        rows = conn.execute(
            select(patient_contact.c.patient_id, contact_point.c.system)
            .join(contact_point, contact_point.c.id == patient_contact.c.contact_point_id)
            .outerjoin(suppression, (suppression.c.contact_point_id == contact_point.c.id) & _in_force)
            .where(
                patient_contact.c.patient_id.in_(ids),
                MAY_BE_USED,
                contact_point.c.quality != "bad",
                suppression.c.id.is_(None),
                ~_is_out_of.correlate(patient_contact, contact_point),
            )
        )
        for row in rows:
            if row.patient_id not in stopped:
                found[row.patient_id] |= {name for name, system in systems.items() if system == row.system}
    return {patient_id: sorted(channels) for patient_id, channels in found.items() if channels}


def is_reachable(patient_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the patient of this column has such a contact point in one of the systems bound to `reached`."""
    reached = (
        select(patient_contact.c.id)
        .join(contact_point, contact_point.c.id == patient_contact.c.contact_point_id)
        .where(
            patient_contact.c.patient_id == patient_id,
            MAY_BE_USED,
            contact_point.c.quality != "bad",
            among(contact_point.c.system, "reached"),
            ~exists().where(_in_force, suppression.c.contact_point_id == contact_point.c.id),
            ~_is_out_of.correlate(patient_contact, contact_point),
        )
    )
    stopped = select(suppression.c.id).where(_in_force, suppression.c.patient_id == patient_id)
    return and_(reached.exists(), ~stopped.exists())
