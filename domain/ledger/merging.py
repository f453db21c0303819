"""Merging two records of one person: everything moves to the survivor, and no opt-out is lost on the way."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, and_, bindparam, case, delete, exists, func, insert, literal, or_, select, update

from domain.ledger import confidential, enrolments, holds, store
from domain.ledger.appointments import appointment, care, care_gap
from domain.ledger.attempts import attempt
from domain.ledger.choice_history import CONFIRMED_DEATH, IN_FORCE, OPTED_OUT, choice_event, suppression
from domain.ledger.columns import Id, Instant
from domain.ledger.incentives import incentive_offer
from domain.ledger.patients import patient, patient_contact, registration
from domain.ledger.touches import touch
from domain.rules.vocabulary import TouchKind, TouchState

_WANTS_NOTHING: Final = select(
    exists().where(
        suppression.c.patient_id == bindparam("patient", type_=Id),
        suppression.c.reason == OPTED_OUT,
        suppression.c.channel.is_(None),
        IN_FORCE,
    )
)


def merge(conn: Connection, gone: int, survivor: int, now: datetime) -> None:
    """Merge the record `gone` into `survivor`. Call it with both locked, then refresh both.

    Merges are rare and each depends on the one before, so they come one at a time. Enrolments and lapses of the gone
    record are not moved: they end (see `following`, `close_untrue`), and the survivor's history speaks.
    """
    for table in (registration, appointment, care_gap):
        conn.execute(update(table).where(table.c.patient_id == gone).values(patient_id=survivor))
    conn.execute(delete(care).where(care.c.patient_id == gone))
    confidential.carry_over(conn, gone, survivor, now)
    _move_contacts(conn, gone, survivor, now)
    _copy_suppressions(conn, gone, survivor, now)
    if conn.scalar(_WANTS_NOTHING, {"patient": survivor}):
        enrolments.stop_for_opt_out(conn, [survivor], now)
    # caps count a person's calls: whom the gone record was called for yesterday must not be called today
    conn.execute(update(attempt).where(attempt.c.patient_id == gone).values(patient_id=survivor))
    # and what they were offered counts for the ceilings of the year
    theirs = incentive_offer.c.patient_id == gone
    conn.execute(update(incentive_offer).where(theirs).values(patient_id=survivor, carried_at=now))
    _move_answers(conn, gone, survivor)
    _join(conn, gone, survivor)


def _move_answers(conn: Connection, gone: int, survivor: int) -> None:
    """An answer is for the number that wrote, whichever record it is known by: it goes on, as the row it is."""
    on_their_way = touch.c.state.in_((TouchState.PLANNED.value, TouchState.SENDING.value))
    conn.execute(
        update(touch)
        .where(touch.c.patient_id == gone, touch.c.kind == TouchKind.ANSWER.value, on_their_way)
        # a claim that waited for the merge finds nothing to take: it is handed out again at once
        .values(
            patient_id=survivor,
            dispatched_until=case((touch.c.state == TouchState.SENDING.value, touch.c.dispatched_until)),
        )
    )


def _move_contacts(conn: Connection, gone: int, survivor: int, now: datetime) -> None:
    mine = patient_contact.alias("mine")
    own = patient_contact.c
    shared = exists().where(mine.c.patient_id == gone, mine.c.contact_point_id == own.contact_point_id)
    detached = exists().where(
        mine.c.patient_id == gone,
        mine.c.contact_point_id == own.contact_point_id,
        mine.c.detached_at.is_not(None),
    )
    # a wrong number stays one, whichever record heard of it
    when = select(func.max(mine.c.detached_at)).where(
        mine.c.patient_id == gone, mine.c.contact_point_id == own.contact_point_id
    )
    conn.execute(
        update(patient_contact)
        .where(own.patient_id == survivor, own.detached_at.is_(None), shared, detached)
        .values(detached_at=when.scalar_subquery())
    )
    chosen = select(func.max(mine.c.confidential_since)).where(
        mine.c.patient_id == gone, mine.c.contact_point_id == own.contact_point_id
    )
    conn.execute(
        update(patient_contact)
        .where(own.patient_id == survivor, own.confidential_since.is_(None), shared)
        .values(confidential_since=chosen.scalar_subquery())
    )
    kept = select(mine.c.contact_point_id).where(mine.c.patient_id == survivor)
    conn.execute(delete(patient_contact).where(own.patient_id == gone, own.contact_point_id.in_(kept)))
    conn.execute(update(patient_contact).where(own.patient_id == gone).values(patient_id=survivor, since=now))


def _copy_suppressions(conn: Connection, gone: int, survivor: int, now: datetime) -> None:
    theirs = suppression.alias("theirs")
    same_channel = or_(
        suppression.c.channel == theirs.c.channel, and_(suppression.c.channel.is_(None), theirs.c.channel.is_(None))
    )
    there = exists().where(
        suppression.c.patient_id == survivor,
        suppression.c.reason == theirs.c.reason,
        same_channel,
        suppression.c.lifted_at.is_(None),
    )
    in_force = and_(theirs.c.patient_id == gone, theirs.c.lifted_at.is_(None))
    to = literal(survivor, Id).label("patient_id")
    kind = case(
        (theirs.c.reason.in_(holds.REASONS), "held"),
        (theirs.c.reason == CONFIRMED_DEATH, CONFIRMED_DEATH),
        else_="suppressed",
    )
    # also where the survivor has the like: their later choice must not be overtaken by what overtakes the survivor's
    conn.execute(
        insert(choice_event).from_select(
            ["organisation_id", "patient_id", "kind", "reason", "channel", "source", "at", "recorded_at"],
            select(
                theirs.c.organisation_id,
                to,
                kind,
                func.nullif(theirs.c.reason, OPTED_OUT),
                theirs.c.channel,
                literal("merge"),
                theirs.c.since,
                literal(now, Instant),
            ).where(in_force),
        )
    )
    conn.execute(
        store.insert(conn, suppression).from_select(
            ["organisation_id", "patient_id", "channel", "reason", "since"],
            select(theirs.c.organisation_id, to, theirs.c.channel, theirs.c.reason, theirs.c.since).where(
                in_force, ~there
            ),
        )
    )


def _join(conn: Connection, gone: int, survivor: int) -> None:
    old = conn.execute(select(patient).where(patient.c.id == gone)).one()
    conn.execute(update(patient).where(patient.c.id == gone).values(merged_into_id=survivor, person_index=None))
    conn.execute(update(patient).where(patient.c.merged_into_id == gone).values(merged_into_id=survivor))
    conn.execute(
        update(patient)
        .where(patient.c.id == survivor)
        .values(
            person_index=func.coalesce(patient.c.person_index, old.person_index),
            deceased_at=func.coalesce(patient.c.deceased_at, literal(old.deceased_at, Instant)),
        )
    )
