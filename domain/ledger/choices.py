"""What patients choose takes effect here: opting out and in, each under the locks of all whom it concerns.

Choices may be told in any order. Every one is kept, and what is in force is what the one made last says; of a STOP
and a START at the same instant, the STOP.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, String, bindparam, exists, or_, select, update

from domain.ledger import enrolments, outbox
from domain.ledger.choice_history import (
    IN_FORCE,
    OPTED_OUT,
    Note,
    Subject,
    is_known,
    lift,
    remember,
    suppress,
    suppression,
)
from domain.ledger.columns import Id
from domain.ledger.last_words import last_starts, last_words, opted_out_elsewhere, suppressed_since
from domain.ledger.patients import MAY_BE_USED, contact_point, patient, patient_contact

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
_SYSTEM: Final = select(contact_point.c.system).where(contact_point.c.id == bindparam("point", type_=Id))
_other = contact_point.alias("other")
#: Patients whom a contact point of another system still reaches.
_REACHED_OTHERWISE: Final = (
    select(patient_contact.c.patient_id)
    .join(_other, _other.c.id == patient_contact.c.contact_point_id)
    .where(
        patient_contact.c.patient_id.in_(_PATIENTS),
        MAY_BE_USED,
        _other.c.quality != "bad",
        _other.c.system != bindparam("medium", type_=String),
        ~exists().where(IN_FORCE, suppression.c.contact_point_id == _other.c.id, suppression.c.channel.is_(None)),
        ~exists().where(
            IN_FORCE,
            suppression.c.patient_id == patient_contact.c.patient_id,
            or_(suppression.c.channel.is_(None), suppression.c.channel == _other.c.system),
        ),
    )
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
    is_limited: bool = False,
) -> bool:
    """Stop everything to this contact point and to every patient attached to it, on every channel, at once.

    The law presumes "everything" where a patient does not say otherwise (47 CFR 64.1200(a)(10)). Live enrolments end
    and planned touches are revoked in the same transaction. A choice made again while it is in force is history that a
    START made before it cannot undo; one that a START made after it has overtaken is history only.

    Args:
        source: who told us: `reply`, `one_click`, `provider`, `staff`, an event's source.
        at: when the patient chose; `now`: when we write it.
        is_limited: the patients are stopped at every contact point of this one's system (calls and texts; mail), and
            may be reached by the other. Enrolments of those who cannot be end.

    Returns:
        Whether the contact point was free until now.
    """
    subjects = lock(conn, [contact_point_id])[contact_point_id]
    point = ("contact_point_id", contact_point_id)
    # each reply is a choice of its own; whatever else says the same of the same instant, repeats itself
    is_told_again = reply_id is None and is_known(conn, contact_point_id, source, at, reason)
    medium = _system_of(conn, contact_point_id) if is_limited else None
    restored = last_words(conn, contact_point_id, ()).get((point, "restored"))
    if reason == OPTED_OUT and restored is not None and at < restored:
        told = [] if is_told_again else [point]
        remember(conn, organisation_id, told, "suppressed", source, reply_id, at, now, note=note, channel=medium)
        return False
    wanted = [point, *(("patient_id", patient_id) for patient_id in subjects.patient_ids)]
    stopped = suppressed_since(conn, contact_point_id, subjects.patient_ids, reason, medium)
    fresh = [subject for subject in wanted if subject not in stopped]
    told = fresh if is_told_again else wanted
    remember(conn, organisation_id, told, "suppressed", source, reply_id, at, now, reason, note, medium)
    newly_out = [subject for subject in fresh if subject != point]
    suppress(conn, organisation_id, [point] if point in fresh else [], reason, at)
    suppress(conn, organisation_id, newly_out, reason, at, medium)
    ended = set(subjects.patient_ids) - (_reached_otherwise(conn, subjects.patient_ids, medium) if medium else set())
    enrolments.stop_for_opt_out(conn, ended, now)
    tell_opted_out(conn, [number for _, number in newly_out], source, at, now, medium)
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
    START counts that they made at any contact point of theirs. Opt-outs from everything, and those limited to calls and
    texts, or to mail, are judged apart, as if nothing else had been said.

    Returns:
        Whether the START is the patient's last word at this contact point.
    """
    subjects = lock(conn, [contact_point_id])[contact_point_id]
    point = ("contact_point_id", contact_point_id)
    since = suppressed_since(conn, contact_point_id, (), OPTED_OUT).get(point)
    remember(conn, organisation_id, [point], "restored", source, reply_id, at, now, note=note)
    mediums = (None, _system_of(conn, contact_point_id))
    words = {medium: last_words(conn, contact_point_id, subjects.patient_ids, medium) for medium in mediums}
    is_free = all(_is_last_word(words[medium], since, point, at) for medium in mediums)
    if is_free:
        lift(conn, [point], OPTED_OUT, at)
    for medium in mediums:
        if not _is_last_word(words[medium], None, point, at):
            continue
        for patient_id, start in _freed(conn, subjects, words[medium], at, medium).items():
            who: list[Subject] = [("patient_id", patient_id)]
            remember(conn, organisation_id, who, "restored", source, reply_id, start, now, note=note, channel=medium)
            lift(conn, who, OPTED_OUT, start, medium)
    return is_free


def _freed(
    conn: Connection,
    subjects: Subjects,
    words: Mapping[tuple[Subject, str], datetime],
    at: datetime,
    medium: str | None,
) -> dict[int, datetime]:
    """The patients whom a START of `at` frees from opt-outs of one reach, and since when."""
    point, patient_ids = subjects.contact_point_id, subjects.patient_ids
    stopped = suppressed_since(conn, point, patient_ids, OPTED_OUT, medium)
    starts = last_starts(conn, patient_ids, medium)
    still_out = opted_out_elsewhere(conn, point, patient_ids, medium)
    found = {
        patient_id: max(at, starts.get(patient_id, at)) for patient_id in patient_ids if patient_id not in still_out
    }
    return {
        patient_id: start
        for patient_id, start in found.items()
        if (since := stopped.get(("patient_id", patient_id))) is not None
        and _is_last_word(words, since, ("patient_id", patient_id), start)
    }


def _is_last_word(
    words: Mapping[tuple[Subject, str], datetime], since: datetime | None, subject: Subject, start: datetime
) -> bool:
    """Whether a START is later than every stop of this subject; `since`: when what is in force began."""
    stops = [each for each in (since, words.get((subject, "suppressed"))) if each is not None]
    return all(stop < max(start, words.get((subject, "restored"), start)) for stop in stops)


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


def tell_opted_out(
    conn: Connection, patient_ids: Sequence[int], source: str, at: datetime, now: datetime, medium: str | None = None
) -> None:
    """Tell the organisation's other systems, by reference, who opted out, and of which contact system alone."""
    refs = conn.scalars(_REFS, {"patients": patient_ids}).all()
    limit = {"medium": medium} if medium else {}
    told = [{"patient": reference, "source": source, "at": at.isoformat(), **limit} for reference in refs]
    outbox.add_many(conn, "patient.opted_out", told, now)


def _system_of(conn: Connection, contact_point_id: int) -> str:
    return str(conn.execute(_SYSTEM, {"point": contact_point_id}).scalar_one())


def _reached_otherwise(conn: Connection, patient_ids: Sequence[int], medium: str) -> set[int]:
    return set(conn.scalars(_REACHED_OTHERWISE, {"patients": patient_ids, "medium": medium}))


def _attached(conn: Connection, contact_point_ids: Collection[int]) -> dict[int, list[int]]:
    attached: dict[int, list[int]] = {}
    for point, patient_id in conn.execute(_ATTACHED, {"points": sorted(contact_point_ids)}):
        attached.setdefault(point, []).append(patient_id)
    return attached
