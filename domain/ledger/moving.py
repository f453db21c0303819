"""Moving: live enrolments of older versions go over to a newer one, from their next step, and repeat none they got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, insert, select, update

from domain.ledger import campaigns, enrolling, touches
from domain.ledger.campaigns import Running, campaign, campaign_event
from domain.ledger.deciding import AnyRow
from domain.ledger.enrolments import IS_LIVE, enrolment
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import patient
from domain.ledger.reach import reachable_channels, with_calls
from domain.ledger.store import chunks
from domain.ledger.touches import IS_PLANNED, tell, touch
from domain.rules import cadence
from domain.rules.cadence import Cadence, Planned
from domain.rules.rulebook import Rulebook
from domain.rules.segments import PRIORITY
from domain.rules.vocabulary import Arm, EnrolmentState, Segment, TouchKind, TouchState

#: Why a planned touch of the older version was revoked, and why one of the newer one is planned.
SUPERSEDED, MOVED = "superseded", "campaign_moved"
_BOOKED = "booked"


@dataclass
class Moves:
    """How many enrolments went over, and how many stayed with their version, by reason."""

    moved: int = 0
    stayed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Move:
    """One enrolment that goes over."""

    row: AnyRow
    review_at: datetime
    remaining: tuple[Planned, ...]


def move(
    conn: Connection, version: Running, systems: Mapping[str, str], rules: Rulebook, *, who: str, now: datetime
) -> Moves:
    """Move the waiting enrolments of its campaign to this version, in both arms; the move is on record.

    What is planned for them is revoked, and what the new version has after the last step they got is planned. The next
    step keeps its distance from the last one; if that day has passed it is due now. Those who get light reminders
    already, are past the new cadence, are not in its audience or cannot be reached by its channels stay.
    """
    # before the patients, as enrolment locks them
    conn.execute(select(campaign.c.id).where(campaign.c.id == version.id).with_for_update(key_share=True))
    ours = and_(
        enrolment.c.organisation_id == version.organisation_id,
        enrolment.c.campaign_key == version.key,
        enrolment.c.campaign_id != version.id,
        IS_LIVE,
    )
    whose = select(enrolment.c.patient_id).where(ours)
    conn.execute(select(patient.c.id).where(patient.c.id.in_(whose)).order_by(patient.c.id).with_for_update())
    result = Moves()
    for ids in chunks(conn.scalars(select(enrolment.c.id).where(ours).order_by(enrolment.c.id)).all()):
        _move_chunk(conn, ids, version, systems, rules, now, result)
    if result.moved:
        noted = {"organisation_id": version.organisation_id, "campaign_key": version.key, "enrolments": result.moved}
        conn.execute(insert(campaign_event).values(at=now, what="moved", who=who, **noted))
    return result


def _move_chunk(
    conn: Connection,
    ids: Sequence[int],
    version: Running,
    systems: Mapping[str, str],
    rules: Rulebook,
    now: datetime,
    result: Moves,
) -> None:
    rows = _read(conn, ids)
    got = _steps_got(conn, ids)
    reachable = reachable_channels(conn, {row.patient_id for row in rows}, with_calls(systems))
    versions = campaigns.by_ids(conn, sorted({row.campaign_id for row in rows}))
    plan = cadence.from_definition(version.definition)
    moves: list[_Move] = []
    for row in rows:
        channels = [each for each in reachable.get(row.patient_id, ()) if each in plan.every_channel]
        before = cadence.from_definition(versions[row.campaign_id].definition)
        next_step, last_due = got.get(row.id, (0, None))
        if row.arm == Arm.HOLDOUT:
            next_step, last_due = _steps_passed(before, row.enrolled_at, now), None
        reason = _why_stay(row, version, plan, next_step, channels)
        if reason is not None:
            result.stayed[reason] += 1
            continue
        start = _start(plan, row.enrolled_at, next_step, last_due, now)
        ahead = enrolling.planned(row, plan, channels, rules, start)[next_step:]
        remaining = tuple(ahead) if row.arm == Arm.TREATMENT else ()
        moves.append(_Move(row, cadence.review_after(plan, start), remaining))
    result.moved += len(moves)
    _write(conn, moves, version, now)


def _read(conn: Connection, ids: Sequence[int]) -> Sequence[AnyRow]:
    return conn.execute(
        select(
            enrolment,
            patient.c.ref,
            patient.c.preferred_channel,
            patient.c.high_risk,
            func.coalesce(patient.c.zone, site.c.zone).label("zone"),
            func.coalesce(patient.c.state, site.c.state).label("home_state"),
            organisation.c.key.label("organisation_key"),
        )
        .join(patient, patient.c.id == enrolment.c.patient_id)
        .join(site, site.c.id == patient.c.home_site_id)
        .join(organisation, organisation.c.id == enrolment.c.organisation_id)
        .where(enrolment.c.id.in_(ids), IS_LIVE)
        .order_by(enrolment.c.id)
    ).all()


def _steps_got(conn: Connection, ids: Sequence[int]) -> dict[int, tuple[int, datetime]]:
    """Enrolment -> the step after the last one that went out, may have gone out or had its day; and when that was."""
    rows = conn.execute(
        select(touch.c.enrolment_id, func.max(touch.c.step), func.max(touch.c.due_at))
        .where(
            touch.c.enrolment_id.in_(ids),
            touch.c.kind == TouchKind.OUTREACH.value,
            touch.c.state.not_in([TouchState.PLANNED.value, TouchState.CANCELLED.value]),
        )
        .group_by(touch.c.enrolment_id)
    )
    return {enrolment_id: (step + 1, due_at) for enrolment_id, step, due_at in rows}


def _steps_passed(before: Cadence, enrolled_at: datetime, now: datetime) -> int:
    """How many steps the holdout would have had by now, were it treated."""
    return sum(enrolled_at + timedelta(days=days) <= now for days in before.offsets)


def _why_stay(row: AnyRow, version: Running, plan: Cadence, next_step: int, channels: Sequence[str]) -> str | None:
    if row.state != EnrolmentState.WAITING:
        return "graduated"
    if not version.wants(row.service_line, row.segment):
        return "not_in_audience"
    if next_step >= len(plan.offsets):
        return "past_the_cadence"
    return None if set(channels) & set(plan.channels) else "unreachable"


def _start(plan: Cadence, enrolled_at: datetime, next_step: int, last_due: datetime | None, now: datetime) -> datetime:
    """As of when the new cadence is counted: its next step keeps its distance from the last one, and is not over."""
    start = enrolled_at
    if last_due is not None and next_step > 0:
        start = last_due - timedelta(days=plan.offsets[next_step - 1])
    return max(start, now - timedelta(days=plan.offsets[next_step]))


def _write(conn: Connection, moves: Sequence[_Move], version: Running, now: datetime) -> None:
    if not moves:
        return
    ids = [each.row.id for each in moves]
    # what waited for an appointment to be lost comes back by the new plan
    revoked = and_(
        touch.c.enrolment_id.in_(ids),
        touch.c.kind == TouchKind.OUTREACH.value,
        IS_PLANNED | and_(touch.c.state == TouchState.CANCELLED.value, touch.c.reason == _BOOKED),
    )
    touches.settle(conn, revoked, TouchState.CANCELLED, SUPERSEDED, now)
    conn.execute(
        _GO_OVER,
        [{"b_id": each.row.id, "b_campaign": version.id, "b_review_at": each.review_at} for each in moves],
    )
    _plan(conn, moves, now)
    touches.revoke(conn, [each.row.id for each in moves if each.row.booked_at is not None], _BOOKED, now)


def _plan(conn: Connection, moves: Sequence[_Move], now: datetime) -> None:
    """Plan what remains; a step that was revoked comes back as the row it was, on whatever channel it is now.

    So a step has one row, and finds its place free wherever a claim moves it.
    """
    there: dict[tuple[int, int], int] = {}
    for row in conn.execute(
        select(touch.c.id, touch.c.enrolment_id, touch.c.step)
        .where(touch.c.enrolment_id.in_([each.row.id for each in moves]))
        .order_by(touch.c.id)
    ):
        there[row.enrolment_id, row.step] = row.id
    back, fresh = [], []
    for each in moves:
        for planned in each.remaining:
            id_ = there.get((each.row.id, planned.step))
            if id_ is None:
                fresh.append(_values(each.row, planned))
            else:
                back.append(
                    {
                        "b_id": id_,
                        "b_channel": planned.channel,
                        "b_due_at": planned.due_at,
                        "b_expires_at": planned.expires_at,
                    }
                )
    touches.plan_many(conn, fresh)
    if back:
        conn.execute(_COME_BACK, back)
        tell(conn, [{"touch_id": each["b_id"], "what": "planned", "reason": MOVED} for each in back], now)


def _values(row: AnyRow, planned: Planned) -> dict[str, Any]:
    return {
        "organisation_id": row.organisation_id,
        "patient_id": row.patient_id,
        "site_id": row.site_id,
        "enrolment_id": row.id,
        "priority": PRIORITY[Segment(row.segment)],
        "planned": planned,
    }


_GO_OVER = (
    update(enrolment)
    .where(enrolment.c.id == bindparam("b_id"), IS_LIVE)
    .values(campaign_id=bindparam("b_campaign"), review_at=bindparam("b_review_at"))
)
_COME_BACK = (
    update(touch)
    .where(touch.c.id == bindparam("b_id"))
    .values(
        state=TouchState.PLANNED.value,
        reason=None,
        ended_at=None,
        channel=bindparam("b_channel"),
        due_at=bindparam("b_due_at"),
        expires_at=bindparam("b_expires_at"),
    )
)
