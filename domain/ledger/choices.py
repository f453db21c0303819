"""What patients chose: consents and suppressions, each as append-only history plus current state.

Choices may be told in any order. Every one is kept, and what is in force is what the one made last says; of a STOP
and a START at the same instant, the STOP.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    exists,
    func,
    insert,
    select,
    union_all,
    update,
)

from domain.ledger import enrolments, outbox
from domain.ledger.columns import Id, Instant, id_column, metadata, ref
from domain.ledger.patients import contact_point, patient, patient_contact

#: Append-only. `kind`: granted | revoked | suppressed | restored.
choice_event = Table(
    "choice_event",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("contact_point_id", "contact_point", nullable=True),
    ref("patient_id", "patient", nullable=True),
    Column("kind", String(16), nullable=False),
    Column("channel", String(16)),
    Column("purpose", String(32)),
    Column("source", String(64), nullable=False),
    ref("reply_id", "reply", nullable=True),
    Column("at", Instant, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)
Index("ix_choice_event_contact_point_id", choice_event.c.contact_point_id)
Index("ix_choice_event_patient_id", choice_event.c.patient_id)

#: Current state: a row in force stops every send it covers. `channel` null = every channel that reaches the subject.
suppression = Table(
    "suppression",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("contact_point_id", "contact_point", nullable=True),
    ref("patient_id", "patient", nullable=True),
    Column("channel", String(16)),
    Column("reason", String(32), nullable=False),
    #: When the choice that put it in force was made; choices made again meanwhile are in the history only.
    Column("since", Instant, nullable=False),
    Column("lifted_at", Instant),
)
_in_force = suppression.c.lifted_at.is_(None)
Index(
    "ix_suppression_contact_point_id",
    suppression.c.contact_point_id,
    sqlite_where=_in_force,
    postgresql_where=_in_force,
)
Index("ix_suppression_patient_id", suppression.c.patient_id, sqlite_where=_in_force, postgresql_where=_in_force)

#: Current state of consent; absence means the organisation's default for that channel.
consent = Table(
    "consent",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("contact_point_id", "contact_point"),
    Column("channel", String(16), nullable=False),
    Column("purpose", String(32), nullable=False, default="outreach"),
    Column("status", String(16), nullable=False),
    Column("since", Instant, nullable=False),
    UniqueConstraint("contact_point_id", "channel", "purpose"),
)

#: The patient said so, by whatever route; START lifts it.
OPTED_OUT: Final = "opt_out"

_POINT: Final = bindparam("point", type_=Id)
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


def _stopped(subject: ColumnElement[bool]) -> Select[Any]:
    return select(suppression.c.contact_point_id, suppression.c.patient_id, suppression.c.since).where(
        _in_force,
        subject,
        suppression.c.reason == bindparam("reason", type_=String),
        suppression.c.channel.is_(None),
    )


# one index step for each side; with `or` between them both stores read every suppression there is
_STOPPED: Final = union_all(
    _stopped(suppression.c.contact_point_id == _POINT), _stopped(suppression.c.patient_id.in_(_PATIENTS))
)


def _last_chosen(subject: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            choice_event.c.contact_point_id,
            choice_event.c.patient_id,
            choice_event.c.kind,
            func.max(choice_event.c.at).label("at"),
        )
        .where(subject, choice_event.c.kind.in_(("suppressed", "restored")))
        .group_by(choice_event.c.contact_point_id, choice_event.c.patient_id, choice_event.c.kind)
    )


_LAST_CHOSEN: Final = union_all(
    _last_chosen(choice_event.c.contact_point_id == _POINT), _last_chosen(choice_event.c.patient_id.in_(_PATIENTS))
)
_OUT_ELSEWHERE: Final = (
    select(patient_contact.c.patient_id)
    .join(suppression, suppression.c.contact_point_id == patient_contact.c.contact_point_id)
    .where(
        patient_contact.c.patient_id.in_(_PATIENTS),
        patient_contact.c.contact_point_id != _POINT,
        patient_contact.c.detached_at.is_(None),
        suppression.c.reason == OPTED_OUT,
        _in_force,
    )
)
_IS_KNOWN: Final = select(
    exists().where(
        choice_event.c.contact_point_id == _POINT,
        choice_event.c.kind == "suppressed",
        choice_event.c.source == bindparam("source", type_=String),
        choice_event.c.at == bindparam("at", type_=Instant),
    )
)
_REMEMBER: Final = insert(choice_event)
_SUPPRESS: Final = insert(suppression)
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


def is_known(conn: Connection, contact_point_id: int, source: str, at: datetime) -> bool:
    """Whether an opt-out made at this very instant, told by this source, is in the contact point's history."""
    return bool(conn.scalar(_IS_KNOWN, {"point": contact_point_id, "source": source, "at": at}))


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
    is_told_again = reply_id is None and is_known(conn, contact_point_id, source, at)
    restored = _last_words(conn, contact_point_id, ()).get((point, "restored"))
    if reason == OPTED_OUT and restored is not None and at < restored:
        _remember(conn, organisation_id, [] if is_told_again else [point], "suppressed", source, reply_id, at, now)
        return False
    wanted = [point, *(("patient_id", patient_id) for patient_id in subjects.patient_ids)]
    stopped = _suppressed(conn, contact_point_id, subjects.patient_ids, reason)
    fresh = [subject for subject in wanted if subject not in stopped]
    _remember(conn, organisation_id, fresh if is_told_again else wanted, "suppressed", source, reply_id, at, now)
    _suppress(conn, organisation_id, fresh, reason, at)
    enrolments.stop_for_opt_out(conn, subjects.patient_ids, now)
    _tell_opted_out(conn, [number for column, number in fresh if column == "patient_id"], source, at, now)
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
) -> bool:
    """Lift the opt-outs of this contact point and of its patients; ended enrolments stay ended.

    A patient who also opted out at another contact point stays suppressed, and no other reason (deceased, do not
    contact, …) is lifted: those words were not theirs to take back here. Nor is an opt-out chosen at `at` or after, by
    a message that overtook this one; the START is kept all the same, for one that comes late.

    Returns:
        Whether the START is the patient's last word at this contact point.
    """
    subjects = lock(conn, [contact_point_id])[contact_point_id]
    point = ("contact_point_id", contact_point_id)
    stopped = _suppressed(conn, contact_point_id, subjects.patient_ids, OPTED_OUT)
    words = _last_words(conn, contact_point_id, subjects.patient_ids)

    def is_last_word(subject: _Subject) -> bool:
        stops = [each for each in (stopped.get(subject), words.get((subject, "suppressed"))) if each is not None]
        return all(stop < max(at, words.get((subject, "restored"), at)) for stop in stops)

    if not is_last_word(point):
        _remember(conn, organisation_id, [point], "restored", source, reply_id, at, now)
        return False
    still_out = _opted_out_elsewhere(conn, contact_point_id, subjects.patient_ids)
    patients = [("patient_id", patient_id) for patient_id in subjects.patient_ids if patient_id not in still_out]
    lifted = [subject for subject in patients if subject in stopped and is_last_word(subject)]
    _remember(conn, organisation_id, [point, *lifted], "restored", source, reply_id, at, now)
    patient_ids = [patient_id for _, patient_id in lifted]
    for whose in (suppression.c.contact_point_id == contact_point_id, suppression.c.patient_id.in_(patient_ids)):
        conn.execute(
            update(suppression).where(_in_force, whose, suppression.c.reason == OPTED_OUT).values(lifted_at=at)
        )
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
        _remember(conn, organisation_id, subject, "bad_address", source, None, now, now)


#: The column that names it, and its id.
_Subject = tuple[str, int]


def _attached(conn: Connection, contact_point_ids: Collection[int]) -> dict[int, list[int]]:
    attached: dict[int, list[int]] = {}
    for point, patient_id in conn.execute(_ATTACHED, {"points": sorted(contact_point_ids)}):
        attached.setdefault(point, []).append(patient_id)
    return attached


def _suppressed(
    conn: Connection, contact_point_id: int, patient_ids: Sequence[int], reason: str
) -> dict[_Subject, datetime]:
    """Since when these subjects have a suppression for this reason in force, on every channel; the others miss."""
    rows = conn.execute(_STOPPED, {"point": contact_point_id, "patients": patient_ids, "reason": reason})
    return {_subject(row): row.since for row in rows}


def _last_words(
    conn: Connection, contact_point_id: int, patient_ids: Sequence[int]
) -> dict[tuple[_Subject, str], datetime]:
    """When each of these subjects was last `suppressed`, and last `restored`, by the dates of the choices."""
    rows = conn.execute(_LAST_CHOSEN, {"point": contact_point_id, "patients": patient_ids})
    return {(_subject(row), row.kind): row.at for row in rows}


def _subject(row: Row[*tuple[Any, ...]]) -> _Subject:
    if row.contact_point_id is None:
        return "patient_id", row.patient_id
    return "contact_point_id", row.contact_point_id


def _suppress(
    conn: Connection, organisation_id: int, subjects: Sequence[_Subject], reason: str, since: datetime
) -> None:
    if not subjects:
        return
    fixed = {"organisation_id": organisation_id, "reason": reason, "since": since}
    rows = [{"contact_point_id": None, "patient_id": None, column: number} | fixed for column, number in subjects]
    conn.execute(_SUPPRESS, rows)


def _opted_out_elsewhere(conn: Connection, contact_point_id: int, patient_ids: Sequence[int]) -> set[int]:
    return set(conn.scalars(_OUT_ELSEWHERE, {"point": contact_point_id, "patients": patient_ids}))


def _remember(
    conn: Connection,
    organisation_id: int,
    subjects: Sequence[_Subject],
    kind: str,
    source: str,
    reply_id: int | None,
    at: datetime,
    now: datetime,
) -> None:
    if not subjects:
        return
    fixed = {"organisation_id": organisation_id, "kind": kind, "source": source, "reply_id": reply_id}
    conn.execute(
        _REMEMBER,
        [
            {"contact_point_id": None, "patient_id": None, column: number} | fixed | {"at": at, "recorded_at": now}
            for column, number in subjects
        ],
    )


def _tell_opted_out(conn: Connection, patient_ids: Sequence[int], source: str, at: datetime, now: datetime) -> None:
    refs = conn.scalars(_REFS, {"patients": patient_ids}).all()
    told = [{"patient": reference, "source": source, "at": at.isoformat()} for reference in refs]
    outbox.add_many(conn, "patient.opted_out", told, now)
