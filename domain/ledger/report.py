"""The report: what a ledger adds up to, in counts and rates; equal ledgers give equal reports to the last digit.

Whether outreach works is judged per patient and campaign, by the arm first drawn (intention to treat): a patient
enrolled again after a return counts once, and whoever died or opted out meanwhile stays in the denominator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Subquery, and_, func, select

from domain.ledger.attempts import attempt
from domain.ledger.audit import audit
from domain.ledger.audit_terms import Declared
from domain.ledger.choice_history import OPTED_OUT, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import reply
from domain.ledger.lapses import lapse
from domain.ledger.organisations import site
from domain.ledger.outcomes import outcome
from domain.ledger.patients import patient
from domain.ledger.touches import touch, touch_event
from domain.ledger.uncertainty import uncertainty
from domain.rules.experiment import Share, lift, median_days
from domain.rules.vocabulary import Arm, AttemptState, Delivery, TouchKind, TouchState

AnyRow = Row[*tuple[Any, ...]]
Counts = dict[str, int]

_outreach = touch.c.kind != TouchKind.ANSWER.value


def report(conn: Connection, now: datetime, declared: Declared | None = None) -> dict[str, Any]:
    """Everything a campaign is judged by, ready for JSON. Reads only (`store.reading`).

    Percentage points have two decimals, days one. What cannot be known yet (an empty arm's lift) is None.
    """
    units = _units(conn)
    lapsed = _lapsed(conn)
    return {
        "sites": _count(conn, site),
        "patients": conn.scalar(select(func.count()).select_from(patient).where(patient.c.merged_into_id.is_(None))),
        "lapsed": sum(lapsed.values()),
        "by_segment": lapsed,
        "enrolled": {arm.value: sum(1 for unit in units if unit.arm == arm) for arm in Arm},
        "enrolments": _grouped(conn, select(enrolment.c.state, func.count()).group_by(enrolment.c.state)),
        "touches": _by_channel_and_state(conn, is_answer=False),
        "answers": _by_channel_and_state(conn, is_answer=True),
        "accepted": _accepted(conn),
        "not_sent": _not_sent(conn),
        "waits": _waits(conn),
        "uncertain": uncertainty(conn, now),
        "replies": _replies(conn),
        "opt_outs": _opt_outs(conn),
        **_effect(units),
        "rebooked_by_arm": {arm.value: _share(units, arm, "rebooked_at") for arm in Arm},
        "response_by_segment": _response_by_segment(units),
        "response_by_channel": _response_by_channel(conn),
        "promises": {each.promise: each.count for each in audit(conn, now, declared)},
    }


def _units(conn: Connection) -> Sequence[AnyRow]:
    """One row per patient and campaign: the first enrolment, and the first booking and visit after it."""
    nth = func.row_number().over(
        partition_by=[enrolment.c.campaign_key, enrolment.c.patient_id],
        order_by=[enrolment.c.enrolled_at, enrolment.c.id],
    )
    first: Subquery = select(
        enrolment.c.campaign_key,
        enrolment.c.patient_id,
        enrolment.c.arm,
        enrolment.c.segment,
        enrolment.c.enrolled_at,
        nth.label("nth"),
    ).subquery()
    rebooked, returned = _first_outcome("rebooked"), _first_outcome("returned")
    return conn.execute(
        select(
            first.c.arm,
            first.c.segment,
            first.c.enrolled_at,
            rebooked.c.at.label("rebooked_at"),
            returned.c.at.label("returned_at"),
        )
        .outerjoin(rebooked, _same_unit(first, rebooked))
        .outerjoin(returned, _same_unit(first, returned))
        .where(first.c.nth == 1)
    ).all()


def _first_outcome(kind: str) -> Subquery:
    return (
        select(enrolment.c.campaign_key, enrolment.c.patient_id, func.min(outcome.c.at).label("at"))
        .join(outcome, outcome.c.enrolment_id == enrolment.c.id)
        .where(outcome.c.kind == kind)
        .group_by(enrolment.c.campaign_key, enrolment.c.patient_id)
        .subquery(kind)
    )


def _same_unit(one: Subquery, other: Subquery) -> Any:
    return and_(one.c.campaign_key == other.c.campaign_key, one.c.patient_id == other.c.patient_id)


def _effect(units: Sequence[AnyRow]) -> dict[str, Any]:
    returned = {arm: _share(units, arm, "returned_at") for arm in Arm}
    days = {
        arm.value: _days([u.returned_at - u.enrolled_at for u in units if u.arm == arm and u.returned_at is not None])
        for arm in Arm
    }
    return {
        "rebooked": sum(1 for unit in units if unit.rebooked_at is not None),
        "returned": {arm.value: share for arm, share in returned.items()},
        "lift": _lift(returned[Arm.TREATMENT], returned[Arm.HOLDOUT]),
        "median_days_to_return": days[Arm.TREATMENT.value],
        "median_days_by_arm": days,
    }


def _share(units: Iterable[AnyRow], arm: Arm, column: str) -> Counts:
    mine = [unit for unit in units if unit.arm == arm]
    return {"n": sum(1 for unit in mine if getattr(unit, column) is not None), "of": len(mine)}


def _lift(treatment: Counts, holdout: Counts) -> dict[str, float | None]:
    found = lift(Share(treatment["n"], treatment["of"]), Share(holdout["n"], holdout["of"]))
    if found is None:
        return {"points": None, "low": None, "high": None}
    # `+ 0.0` turns a rounded -0.0 into 0.0
    return {name: round(getattr(found, name), 2) + 0.0 for name in ("points", "low", "high")}


def _days(durations: list[Any]) -> float | None:
    median = median_days(durations)
    return None if median is None else round(median, 1)


def _lapsed(conn: Connection) -> Counts:
    """Patients ever found lapsed, each under the segment of their most urgent lapse."""
    nth = func.row_number().over(
        partition_by=lapse.c.patient_id, order_by=[lapse.c.priority, lapse.c.segment, lapse.c.id]
    )
    ranked = select(lapse.c.segment, nth.label("nth")).subquery()
    return _grouped(conn, select(ranked.c.segment, func.count()).where(ranked.c.nth == 1).group_by(ranked.c.segment))


def _by_channel_and_state(conn: Connection, *, is_answer: bool) -> dict[str, Counts]:
    return _nested(
        conn,
        select(touch.c.channel, touch.c.state, func.count())
        .where(~_outreach if is_answer else _outreach)
        .group_by(touch.c.channel, touch.c.state),
    )


def _accepted(conn: Connection) -> Counts:
    """What providers accepted, answers included: the figure a provider's own books must agree with."""
    return _grouped(
        conn,
        select(attempt.c.channel, func.count())
        .where(attempt.c.state == AttemptState.ACCEPTED.value)
        .group_by(attempt.c.channel),
    )


def _not_sent(conn: Connection) -> Counts:
    """Touches that came to rest without being accepted, by their reason."""
    resting = (TouchState.REJECTED, TouchState.SUPPRESSED, TouchState.CANCELLED, TouchState.EXPIRED)
    return _grouped(
        conn,
        select(touch.c.reason, func.count())
        .where(touch.c.state.in_([state.value for state in resting]))
        .group_by(touch.c.reason),
    )


def _waits(conn: Connection) -> Counts:
    return _grouped(
        conn,
        select(touch_event.c.reason, func.count()).where(touch_event.c.what == "waited").group_by(touch_event.c.reason),
    )


def _replies(conn: Connection) -> Counts:
    intent = func.coalesce(reply.c.intent, "unread")
    return _grouped(conn, select(intent, func.count()).group_by(intent))


def _opt_outs(conn: Connection) -> int:
    """Numbers and addresses that ever opted out; a household's one STOP counts once."""
    return (
        conn.scalar(
            select(func.count(suppression.c.contact_point_id.distinct())).where(suppression.c.reason == OPTED_OUT)
        )
        or 0
    )


def _response_by_segment(units: Sequence[AnyRow]) -> dict[str, Any]:
    segments: defaultdict[str, list[AnyRow]] = defaultdict(list)
    for unit in units:
        segments[unit.segment].append(unit)
    return {name: _response(segments[name]) for name in sorted(segments)}


def _response(units: Sequence[AnyRow]) -> dict[str, Any]:
    returned = {arm.value: _share(units, arm, "returned_at") for arm in Arm}
    return {
        "rebooked": {arm.value: _share(units, arm, "rebooked_at") for arm in Arm},
        "returned": returned,
        "lift": _lift(returned[Arm.TREATMENT.value], returned[Arm.HOLDOUT.value]),
    }


def _response_by_channel(conn: Connection) -> dict[str, Counts]:
    """Per channel: outreach accepted and delivered, replies, and outcomes whose last touch before went that way."""
    accepted = and_(_outreach, touch.c.state == TouchState.ACCEPTED.value)
    columns = {
        "accepted": select(touch.c.channel, func.count()).where(accepted),
        "delivered": select(touch.c.channel, func.count()).where(
            accepted, touch.c.delivery == Delivery.DELIVERED.value
        ),
        "replies": select(reply.c.channel, func.count()),
        **{
            kind: select(touch.c.channel, func.count())
            .join(outcome, outcome.c.touch_id == touch.c.id)
            .where(outcome.c.kind == kind)
            for kind in ("rebooked", "returned")
        },
    }
    figures = {name: _grouped(conn, query.group_by(query.selected_columns[0])) for name, query in columns.items()}
    channels = sorted({channel for counts in figures.values() for channel in counts})
    return {channel: {name: counts.get(channel, 0) for name, counts in figures.items()} for channel in channels}


def _count(conn: Connection, table: Any) -> int:
    return conn.scalar(select(func.count()).select_from(table)) or 0


def _grouped(conn: Connection, query: Any) -> Counts:
    # sorted here: collations of the two stores order differently
    return {str(key or "none"): count for key, count in sorted(conn.execute(query).all(), key=lambda row: str(row[0]))}


def _nested(conn: Connection, query: Any) -> dict[str, Counts]:
    found: defaultdict[str, Counts] = defaultdict(dict)
    for outer, inner, count in sorted(tuple(row) for row in conn.execute(query)):
        found[outer][inner] = count
    return dict(found)
