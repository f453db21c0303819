"""What patients choose takes effect here: opting out and in, each under the locks of all whom it concerns.

Choices may be told in any order. Every one is kept, and what is in force is what the one made last says; of a STOP
and a START at the same instant, the STOP.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from domain.ledger import enrolments, outbox
from domain.ledger.choice_history import (
    OPTED_OUT,
    Note,
    Subject,
    is_known,
    last_starts,
    last_words,
    lift,
    opted_out_elsewhere,
    remember,
    suppress,
    suppressed_since,
)
from domain.ledger.columns import Id
from domain.ledger.patients import contact_point, patient, patient_contact

_POINTS: Final = bindparam("points", type_=Id, expanding=True)
_PATIENTS: Final = bindparam("patients", type_=Id, expanding=True)

_ATTACHED: Final = (
    select(patient_contact.c.contact_point_id, patient_contact.c.patient_id)
    .where(patient_contact.c.contact_point_id.in_(_POINTS), patient_contact.c.detached_at.is_(None))
    .order_by(patient_contact.c.patient_id)
)
_LOCK_PATIENTS: Final = select(patient.c.id).where(patient.c.id.in_(_PATIENTS)).order_by(patient.c.id).with_for_update()
_LOCK_POINTS: Final = (
    select(contact_point.c.id).where(contact_point.c.id.in_(_POINTS)).order_by(contact_point.c.id).with_for_update()
)
_REFS: Final = select(patient.c.ref).where(patient.c.id.in_(_PATIENTS)).order_by(patient.c.id)


@dataclass(frozen=True, slots=True)
class Subjects:
    """A locked contact point and the patients attached to it, in id order."""

    contact_point_id: int
    patient_ids: tuple[int, ...]


def lock(conn: Connection, contact_point_ids: Collection[int]) -> dict[int, Subjects]:
    """Lock patients, then contact points, each in id order; whoever needs several must ask for all of them at once."""
    locked: set[int] = set()
    attached = _attached(conn, contact_point_ids)
    # records may be merged while we wait for them: then their survivors are the ones to lock
    while missing := {patient_id for found in attached.values() for patient_id in found} - locked:
        locked |= set(conn.scalars(_LOCK_PATIENTS, {"patients": sorted(missing)}))
        attached = _attached(conn, contact_point_ids)
    conn.execute(_LOCK_POINTS, {"points": sorted(contact_point_ids)})
    return {point: Subjects(point, tuple(attached.get(point, ()))) for point in contact_point_ids}


def organisation_of(conn: Connection, contact_point_id: int) -> int:
    """Whose contact point it is."""
    owner = select(contact_point.c.organisation_id).where(contact_point.c.id == contact_point_id)
    return int(conn.execute(owner).scalar_one())


def opt_out(
    conn: Connection,
    *,
    organisation_id: int,
    contact_point_id: int,
    source: str,
    at: datetime,
    now: datetime,
    reason: str = OPTED_OUT,
    reply_id: int | None = None,
    note: Note | None = None,
) -> bool:
    """Stop everything to this contact point and to every patient attached to it, on every channel, at once.

    The law presumes "everything" where a patient does not say otherwise (47 CFR 64.1200(a)(10)). Live enrolments end
    and planned touches are revoked in the same transaction. A choice made again while it is in force is history that a
    START made before it cannot undo; one that a START made after it has overtaken is history only.

    Args:
        source: who told us: `reply`, `one_click`, `provider`, `staff`, an event's source.
        at: when the patient chose; `now`: when we write it.

    Returns:
        Whether the contact point was free until now.
    """
    subjects = lock(conn, [contact_point_id])[contact_point_id]
    point = ("contact_point_id", contact_point_id)
    # each reply is a choice of its own; whatever else says the same of the same instant, repeats itself
    is_told_again = reply_id is None and is_known(conn, contact_point_id, source, at, reason)
    restored = last_words(conn, contact_point_id, ()).get((point, "restored"))
    if reason == OPTED_OUT and restored is not None and at < restored:
        told = [] if is_told_again else [point]
        remember(conn, organisation_id, told, "suppressed", source, reply_id, at, now, note=note)
        return False
    wanted = [point, *(("patient_id", patient_id) for patient_id in subjects.patient_ids)]
    stopped = suppressed_since(conn, contact_point_id, subjects.patient_ids, reason)
    fresh = [subject for subject in wanted if subject not in stopped]
    told = fresh if is_told_again else wanted
    remember(conn, organisation_id, told, "suppressed", source, reply_id, at, now, reason, note)
    suppress(conn, organisation_id, fresh, reason, at)
    enrolments.stop_for_opt_out(conn, subjects.patient_ids, now)
    tell_opted_out(conn, [number for column, number in fresh if column == "patient_id"], source, at, now)
    return point in fresh


def opt_in(
    conn: Connection,
    *,
    organisation_id: int,
    contact_point_id: int,
    source: str,
    at: datetime,
    now: datetime,
    reply_id: int | None = None,
    note: Note | None = None,
) -> bool:
    """Lift the opt-outs of this contact point and of its patients; ended enrolments stay ended.

    A patient who also opted out at another contact point stays suppressed, and no other reason (deceased, do not
    contact, …) is lifted: those words were not theirs to take back here. Nor is an opt-out chosen at `at` or after, by
    a message that overtook this one; the START is kept all the same, for one that comes late. For a patient the latest
    START counts that they made at any contact point of theirs.

    Returns:
        Whether the START is the patient's last word at this contact point.
    """
    subjects = lock(conn, [contact_point_id])[contact_point_id]
    point = ("contact_point_id", contact_point_id)
    stopped = suppressed_since(conn, contact_point_id, subjects.patient_ids, OPTED_OUT)
    words = last_words(conn, contact_point_id, subjects.patient_ids)
    starts = last_starts(conn, subjects.patient_ids)

    def is_last_word(subject: Subject, start: datetime) -> bool:
        stops = [each for each in (stopped.get(subject), words.get((subject, "suppressed"))) if each is not None]
        return all(stop < max(start, words.get((subject, "restored"), start)) for stop in stops)

    remember(conn, organisation_id, [point], "restored", source, reply_id, at, now, note=note)
    if not is_last_word(point, at):
        return False
    lift(conn, [point], OPTED_OUT, at)
    still_out = opted_out_elsewhere(conn, contact_point_id, subjects.patient_ids)
    for patient_id in subjects.patient_ids:
        subject, start = ("patient_id", patient_id), max(at, starts.get(patient_id, at))
        if patient_id not in still_out and subject in stopped and is_last_word(subject, start):
            remember(conn, organisation_id, [subject], "restored", source, reply_id, start, now, note=note)
            lift(conn, [subject], OPTED_OUT, start)
    return True


def mark_bad(conn: Connection, contact_point_id: int, source: str, now: datetime) -> None:
    """Remember that a provider cannot reach this contact point; the patient's other contact points stay in use."""
    lock(conn, [contact_point_id])
    organisation_id = conn.scalar(
        update(contact_point)
        .where(contact_point.c.id == contact_point_id, contact_point.c.quality != "bad")
        .values(quality="bad")
        .returning(contact_point.c.organisation_id)
    )
    if organisation_id is not None:
        subject = [("contact_point_id", contact_point_id)]
        remember(conn, organisation_id, subject, "bad_address", source, None, now, now)


def tell_opted_out(conn: Connection, patient_ids: Sequence[int], source: str, at: datetime, now: datetime) -> None:
    """Tell the organisation's other systems, by reference, who opted out."""
    refs = conn.scalars(_REFS, {"patients": patient_ids}).all()
    told = [{"patient": reference, "source": source, "at": at.isoformat()} for reference in refs]
    outbox.add_many(conn, "patient.opted_out", told, now)


def _attached(conn: Connection, contact_point_ids: Collection[int]) -> dict[int, list[int]]:
    attached: dict[int, list[int]] = {}
    for point, patient_id in conn.execute(_ATTACHED, {"points": sorted(contact_point_ids)}):
        attached.setdefault(point, []).append(patient_id)
    return attached
