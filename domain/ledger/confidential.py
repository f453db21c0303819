"""Confidential communication: the contact points a patient asked to be reached at, instead of all others.

The right to it is the patient's (45 CFR 164.522(b)); what they asked for last counts, in whatever order it is told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Update, bindparam, func, insert, literal, select, update

from domain.ledger import patients, store
from domain.ledger.choice_history import Note, choice_event
from domain.ledger.columns import Id, Instant
from domain.ledger.patients import patient_contact

_REQUESTED: Final = "confidential"
_ENDED: Final = "confidential_end"

_PATIENT: Final = bindparam("patient", type_=Id)
_LINKS: Final = select(patient_contact.c.contact_point_id, patient_contact.c.confidential_since).where(
    patient_contact.c.patient_id == _PATIENT, patient_contact.c.confidential_since.is_not(None)
)
_LAST: Final = select(func.max(choice_event.c.at)).where(
    choice_event.c.patient_id == _PATIENT, choice_event.c.kind.in_((_REQUESTED, _ENDED))
)


def ask(
    conn: Connection, patient_id: int, contact_point_ids: Collection[int], note: Note, at: datetime, now: datetime
) -> bool:
    """Reach the patient at these contact points from now on, and at no other; none = wherever they can be reached.

    What was asked for before ends. One asked for before the last is kept as history and changes nothing. A contact
    point that had been detached is theirs again: they say so. What is planned goes where they asked, at its claim.

    Args:
        at: when the patient asked; `now`: when we write it.

    Returns:
        Whether it is what the patient asked for last.
    """
    who = patients.standing(conn, patient_id)
    last = conn.scalar(_LAST, {"patient": who.id})
    before = set(conn.scalars(_LINKS, {"patient": who.id}))
    wanted = set(contact_point_ids)
    told = {"organisation_id": who.organisation_id, "patient_id": who.id, "source": "staff", "recorded_at": now}
    told |= note.columns()
    if last is not None and at < last:
        # overtaken: it ended when what was asked for later began
        _write(conn, told, _REQUESTED, wanted, at)
        _write(conn, told, _ENDED, wanted, last)
        return False
    _write(conn, told, _REQUESTED, wanted, at)
    _write(conn, told, _ENDED, before - wanted, at)
    conn.execute(_mark(who.id, before - wanted, None))
    if wanted:
        links = [{"patient_id": who.id, "contact_point_id": each} for each in sorted(wanted)]
        conn.execute(store.insert(conn, patient_contact).on_conflict_do_nothing(), links)
        conn.execute(_mark(who.id, wanted, at).values(detached_at=None))
    # which of them outreach may use is another now
    conn.execute(update(patient_contact).where(patient_contact.c.patient_id == who.id).values(since=now))
    return True


def has_asked(conn: Connection, patient_id: int) -> bool:
    """Whether the patient is reached only where they asked to be."""
    who = patients.standing(conn, patient_id)
    return conn.scalars(_LINKS, {"patient": who.id}).first() is not None


def carry_over(conn: Connection, gone: int, survivor: int, now: datetime) -> None:
    """What the record `gone` asked for, the `survivor` asks for. Call it before the contact points are moved."""
    links = patient_contact.alias("links")
    conn.execute(
        insert(choice_event).from_select(
            ["organisation_id", "patient_id", "contact_point_id", "kind", "source", "at", "recorded_at"],
            select(
                patients.patient.c.organisation_id,
                literal(survivor, Id),
                links.c.contact_point_id,
                literal(_REQUESTED),
                literal("merge"),
                links.c.confidential_since,
                literal(now, Instant),
            )
            .join(patients.patient, patients.patient.c.id == links.c.patient_id)
            .where(links.c.patient_id == gone, links.c.confidential_since.is_not(None)),
        )
    )


def _mark(patient_id: int, points: Collection[int], since: datetime | None) -> Update:
    return (
        update(patient_contact)
        .where(patient_contact.c.patient_id == patient_id, patient_contact.c.contact_point_id.in_(sorted(points)))
        .values(confidential_since=since)
    )


def _write(conn: Connection, told: dict[str, Any], kind: str, points: Collection[int], at: datetime) -> None:
    rows: Sequence[dict[str, Any]] = [
        told | {"contact_point_id": point, "kind": kind, "at": at} for point in sorted(points)
    ]
    if rows:
        conn.execute(insert(choice_event), rows)
