"""Reviews: enrolments whose cadence is over graduate to a light reminder, get the next one, or are finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, select, update

from domain.ledger import campaigns, enrolments, following, touches
from domain.ledger.appointments import care
from domain.ledger.campaigns import Running
from domain.ledger.enrolments import enrolment
from domain.ledger.hearing import hear
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import patient
from domain.ledger.reach import reachable_channels
from domain.ledger.touches import touch
from domain.rules import cadence
from domain.rules.cadence import Cadence, Planned
from domain.rules.holdout import draw
from domain.rules.inactivity import OUTCOME_WITHIN
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Arm, EnrolmentState, TouchKind, TouchState

AnyRow = Row[*tuple[Any, ...]]

#: A review that finds a touch still on its way, or an appointment ahead, looks again after so long.
_LATER = timedelta(days=7)


def review(conn: Connection, systems: dict[str, str], rules: Rulebook, now: datetime, limit: int = 500) -> int:
    """Review the enrolments whose `review_at` has come; how many.

    The holdout passes the same stations at the same times, without touches.
    """
    rows = _locked(conn, now, limit)
    if not rows:
        return 0
    booked = [row for row in rows if row.booked_at is not None]
    _put_off(conn, [(row.id, now + _LATER) for row in booked])
    _go_on(conn, [row for row in rows if row.booked_at is None], systems, rules, now)
    # their time passed and nobody told how it went: these enrolments go on
    passed = {row.patient_id for row in booked if row.booked_for is None or row.booked_for + OUTCOME_WITHIN <= now}
    if passed:
        following.follow_appointments(conn, sorted(passed), now)
    return len(rows)


def _locked(conn: Connection, now: datetime, limit: int) -> Sequence[AnyRow]:
    """The due enrolments, read after their patients are locked: a STOP or a visit is seen whole, or waits for us.

    A patient whom somebody else holds is left for the next time: one must not keep the others waiting.
    """
    due = select(enrolment.c.patient_id).where(enrolment.c.review_at <= now).order_by(enrolment.c.review_at)
    patients = conn.scalars(
        select(patient.c.id)
        .where(patient.c.id.in_(due.limit(limit)))
        .order_by(patient.c.id)
        .with_for_update(skip_locked=True)
    ).all()
    return _due(conn, patients, now) if patients else []


def _due(conn: Connection, patients: Sequence[int], now: datetime) -> Sequence[AnyRow]:
    on_its_way = (
        select(func.count())
        .where(
            touch.c.enrolment_id == enrolment.c.id,
            touch.c.state.in_([TouchState.PLANNED.value, TouchState.SENDING.value, TouchState.UNCERTAIN.value]),
        )
        .scalar_subquery()
    )
    under_way = (
        select(func.count())
        .where(
            touch.c.enrolment_id == enrolment.c.id,
            touch.c.state.in_([TouchState.SENDING.value, TouchState.UNCERTAIN.value]),
        )
        .scalar_subquery()
    )
    booked_for = (
        select(func.max(care.c.next_appointment_at))
        .where(care.c.patient_id == enrolment.c.patient_id)
        .scalar_subquery()
    )
    last_step = (
        select(func.coalesce(func.max(touch.c.step), -1))
        .where(touch.c.enrolment_id == enrolment.c.id)
        .scalar_subquery()
    )
    reminders = (
        select(func.count())
        .where(touch.c.enrolment_id == enrolment.c.id, touch.c.kind == TouchKind.REMINDER.value)
        .scalar_subquery()
    )
    return conn.execute(
        select(
            enrolment,
            patient.c.ref,
            patient.c.preferred_channel,
            func.coalesce(patient.c.zone, site.c.zone).label("zone"),
            func.coalesce(patient.c.state, site.c.state).label("home_state"),
            organisation.c.key.label("organisation_key"),
            on_its_way.label("on_its_way"),
            under_way.label("under_way"),
            booked_for.label("booked_for"),
            reminders.label("reminders"),
            last_step.label("last_step"),
        )
        .join(patient, patient.c.id == enrolment.c.patient_id)
        .join(site, site.c.id == patient.c.home_site_id)
        .join(organisation, organisation.c.id == patient.c.organisation_id)
        .where(enrolment.c.patient_id.in_(patients), enrolment.c.review_at <= now, enrolment.c.ended_at.is_(None))
        .order_by(enrolment.c.id)
    ).all()


def _go_on(conn: Connection, rows: Sequence[AnyRow], systems: dict[str, str], rules: Rulebook, now: datetime) -> None:
    """Whoever has a touch on its way or the cadence ahead waits; the others get a reminder, or are finished."""
    versions = campaigns.by_ids(conn, sorted({row.campaign_id for row in rows}))
    reachable = reachable_channels(conn, {row.patient_id for row in rows}, systems)
    heard = hear(conn, [row.id for row in rows if _listens(row, versions)])
    waiting: list[tuple[int, datetime]] = []
    exhausted: list[int] = []
    over: defaultdict[bool, list[int]] = defaultdict(list)
    graduates: list[tuple[AnyRow, Planned]] = []
    for row in rows:
        plan = cadence.from_definition(versions[row.campaign_id].definition)
        is_exhausted = row.id in heard and heard[row.id].unanswered(plan.answers) >= (plan.unanswered or 0)
        # who answered in between gets every step
        over_at = (cadence.over_after if row.id in heard and not is_exhausted else cadence.review_after)(
            plan, row.enrolled_at
        )
        if is_exhausted and not row.under_way and now >= over_at:
            exhausted.append(row.id)
        elif row.on_its_way or now < over_at:
            waiting.append((row.id, max(over_at, now + _LATER)))
            continue
        channels = [channel for channel in reachable.get(row.patient_id, []) if channel in plan.channels]
        nth = row.reminders if row.arm == Arm.TREATMENT.value else _virtual_reminders(row, plan, now)
        if nth >= plan.reminders or not channels:
            over[bool(channels)].append(row.id)
        else:
            reminder = reminder_of(row, plan, nth, channels, rules, now)
            # who was moved from a longer cadence has rows of steps beyond the present one
            graduates.append((row, replace(reminder, step=max(reminder.step, row.last_step + 1))))
    _put_off(conn, waiting)
    touches.revoke(conn, exhausted, "unanswered", now)
    for is_reachable, ids in over.items():
        state = EnrolmentState.FINISHED if is_reachable else EnrolmentState.INELIGIBLE
        enrolments.end(conn, ids, state, "cadence_over" if is_reachable else "unreachable", now)
    _graduate(conn, graduates)


def reminder_of(
    row: AnyRow, plan: Cadence, nth: int, channels: Sequence[str], rules: Rulebook, now: datetime
) -> Planned:
    """The `nth` reminder (from 0) of an enrolment that is reviewed at `now`."""
    return cadence.reminder(
        plan,
        nth,
        after=now,
        zone=row.zone,
        hours=rules.in_force(row.organisation_key, filter(None, [row.home_state])).hours,
        reachable=channels,
        preferred=row.preferred_channel,
        draw=draw("send_at", row.ref),
    )


def _graduate(conn: Connection, graduates: Sequence[tuple[AnyRow, Planned]]) -> None:
    touches.plan_many(
        conn,
        [
            {
                "organisation_id": row.organisation_id,
                "patient_id": row.patient_id,
                "site_id": row.site_id,
                "enrolment_id": row.id,
                "priority": touches.REMINDER_PRIORITY,
                "planned": planned,
            }
            for row, planned in graduates
            if row.arm == Arm.TREATMENT.value
        ],
    )
    if graduates:
        conn.execute(_GRADUATE, [{"b_id": row.id, "b_at": planned.expires_at} for row, planned in graduates])


def _listens(row: AnyRow, versions: Mapping[int, Running]) -> bool:
    """Whether unanswered touches end this enrolment's cadence before its last step."""
    is_treated = row.arm == Arm.TREATMENT.value and row.state == EnrolmentState.WAITING.value
    return is_treated and cadence.from_definition(versions[row.campaign_id].definition).unanswered is not None


def _virtual_reminders(row: AnyRow, plan: Cadence, now: datetime) -> int:
    """How many reminders the holdout would have had by now, were it treated."""
    since = now - cadence.review_after(plan, row.enrolled_at)
    return max(0, round(since / timedelta(days=30.4 * plan.reminder_every_months)))


def _put_off(conn: Connection, reviews: Sequence[tuple[int, datetime]]) -> None:
    if reviews:
        conn.execute(_PUT_OFF, [{"b_id": enrolment_id, "b_at": at} for enrolment_id, at in reviews])


_LIVE_ONE = and_(enrolment.c.id == bindparam("b_id"), enrolment.c.ended_at.is_(None))
_PUT_OFF = update(enrolment).where(_LIVE_ONE).values(review_at=bindparam("b_at"))
_GRADUATE = _PUT_OFF.values(state=EnrolmentState.GRADUATED.value)
