"""Enrolment: which campaign a lapse enters, in which arm, and which touches are planned for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    insert,
    literal_column,
    select,
    update,
)

from domain.ledger import campaigns, deciding, outbox, rooms, touches
from domain.ledger.campaigns import Running
from domain.ledger.columns import Id, Instant
from domain.ledger.deciding import AnyRow
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.patients import patient
from domain.ledger.reach import is_reachable, reachable_channels
from domain.ledger.store import chunks
from domain.rules import cadence
from domain.rules.cadence import Cadence, Planned
from domain.rules.holdout import arm, draw
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Arm, EnrolmentState


def enrol_lapses(
    conn: Connection, lapse_ids: Collection[int], systems: Mapping[str, str], rules: Rulebook, now: datetime
) -> Counter[str]:
    """Decide about each undecided lapse, and the others of its patient: enrol it, or note why not; repeats do nothing.

    A patient's most urgent lapse is decided first, the patients in the order in which they were found inactive: what
    becomes of them does not depend on how a transport cut their events into batches.

    `systems` maps each channel to the contact system it reaches. While there is none nothing is decided: a fleet whose
    channels are not set up yet must not decline everybody as unreachable. The holdout is drawn among exactly those who
    would otherwise be contacted, so that the arms are comparable. Touches are planned into the hours that `rules` allow
    in the patient's state (the site's where no address is known). Counts per arm and per reason are returned.
    """
    counts: Counter[str] = Counter()
    for ids in chunks(sorted(lapse_ids)) if systems else ():
        counts += _enrol_chunk(conn, ids, systems, rules, now)
    return counts


#: Lapses detected up to `before` that nobody decided about.
IS_FORGOTTEN: ColumnElement[bool] = and_(
    lapse.c.decided_at.is_(None), lapse.c.detected_at <= bindparam("before", type_=Instant)
)

_UNDECIDED = select(lapse.c.id).where(IS_FORGOTTEN).order_by(lapse.c.detected_at, lapse.c.id).limit(500)


def undecided(conn: Connection, before: datetime) -> Sequence[int]:
    """Lapses detected before `before` that nobody decided about: their event was lost."""
    return conn.scalars(_UNDECIDED, {"before": before}).all()


# by their letter: the planner then walks the index of just these rows
_IS_UNREACHABLE = and_(lapse.c.declined == literal_column("'unreachable'"), lapse.c.closed_at.is_(None))
_UNREACHABLE = (
    select(
        lapse.c.id,
        lapse.c.organisation_id,
        lapse.c.patient_id,
        lapse.c.service_line,
        lapse.c.segment,
        is_reachable(lapse.c.patient_id).label("is_reachable"),
    )
    .where(_IS_UNREACHABLE, lapse.c.id > bindparam("after", type_=Id))
    .order_by(lapse.c.id)
    .limit(500)
)
_OWE_AGAIN = (
    update(lapse)
    .where(lapse.c.id.in_(bindparam("ids", type_=Id, expanding=True)), _IS_UNREACHABLE)
    .values(decided_at=None, declined=None)
)


def reconsider(conn: Connection, systems: Mapping[str, str], after: int) -> int | None:
    """Owe open lapses declined as unreachable another decision once their campaign reaches the patient.

    A number or address arrived, an opt-out was taken back, a channel was set up: whatever it was, the ledger shows it
    now. Who is in the holdout was settled by patient and campaign, not by when they could be reached. Looks at a
    batch of lapses beyond the id `after`, and returns where to go on; None = all were looked at.
    """
    rows = conn.execute(_UNREACHABLE, {"after": after, "reached": sorted(set(systems.values()))}).all()
    if not rows:
        return None
    maybe = [row for row in rows if row.is_reachable]
    if maybe:
        running = campaigns.running(conn)
        reachable = reachable_channels(conn, {row.patient_id for row in maybe}, systems)
        ids = [
            row.id
            for row in maybe
            if deciding.is_reached(deciding.campaign_for(row, running), reachable.get(row.patient_id, ()))
        ]
        conn.execute(_OWE_AGAIN, {"ids": ids})
    return int(rows[-1].id)


def _enrol_chunk(
    conn: Connection, ids: Sequence[int], systems: Mapping[str, str], rules: Rulebook, now: datetime
) -> Counter[str]:
    # before the patients, as a stop locks them: who is enrolled here is seen by it, or not enrolled
    rooms.take_turns(conn, campaigns.running(conn))
    running = campaigns.running(conn, held=True)
    rows = _locked(conn, ids)
    decided = deciding.decide(conn, rows, running, systems, now, rooms.Rooms(conn, running, now).take)
    arms = _enrol(conn, decided.chosen, decided.reachable, rules, now)
    declined: defaultdict[str, list[int]] = defaultdict(list)
    for row, reason in decided.declined:
        declined[reason].append(row.id)
    for reason, lapses in declined.items():
        conn.execute(update(lapse).where(lapse.c.id.in_(lapses)).values(decided_at=now, declined=reason))
    return arms + Counter({reason: len(lapses) for reason, lapses in declined.items()})


def _locked(conn: Connection, ids: Sequence[int]) -> Sequence[AnyRow]:
    named = select(lapse.c.patient_id).where(lapse.c.id.in_(ids), lapse.c.decided_at.is_(None))
    patients = conn.scalars(
        select(patient.c.id).where(patient.c.id.in_(named)).order_by(patient.c.id).with_for_update()
    ).all()
    return deciding.read_lapses(conn, patients, lapse.c.decided_at.is_(None))


def planned(row: AnyRow, plan: Cadence, reachable: Sequence[str], rules: Rulebook, now: datetime) -> list[Planned]:
    """The touches of who is enrolled at `now` for this lapse, within the hours of the patient's state."""
    return cadence.plan(
        plan,
        start=now,
        zone=row.zone,
        hours=rules.in_force(row.organisation_key, filter(None, [row.home_state])).hours,
        reachable=reachable,
        preferred=row.preferred_channel,
        draw=draw("send_at", row.ref),
        high_risk=row.high_risk,
    )


def _enrol(
    conn: Connection,
    chosen: Sequence[tuple[AnyRow, Running]],
    reachable: Mapping[int, list[str]],
    rules: Rulebook,
    now: datetime,
) -> Counter[str]:
    if not chosen:
        return Counter()
    plans = {campaign.id: cadence.from_definition(campaign.definition) for _, campaign in chosen}
    values = [
        {
            "organisation_id": row.organisation_id,
            "campaign_id": campaign.id,
            "campaign_key": campaign.key,
            "patient_id": row.patient_id,
            "site_id": row.site_id,
            "lapse_id": row.id,
            "service_line": row.service_line,
            "segment": row.segment,
            "arm": arm(campaign.key, row.ref, campaign.holdout).value,
            "state": EnrolmentState.WAITING.value,
            "enrolled_at": now,
            "review_at": cadence.review_after(plans[campaign.id], now),
        }
        for row, campaign in chosen
    ]
    ids = conn.scalars(insert(enrolment).returning(enrolment.c.id, sort_by_parameter_order=True), values).all()
    touches.plan_many(
        conn,
        [
            {
                "organisation_id": row.organisation_id,
                "patient_id": row.patient_id,
                "site_id": row.site_id,
                "enrolment_id": enrolment_id,
                "priority": row.priority,
                "planned": each,
            }
            for (row, campaign), enrolment_id, value in zip(chosen, ids, values, strict=True)
            if value["arm"] == Arm.TREATMENT.value
            for each in planned(row, plans[campaign.id], reachable[row.patient_id], rules, now)
        ],
    )
    conn.execute(update(lapse).where(lapse.c.id.in_([row.id for row, _ in chosen])).values(decided_at=now))
    outbox.add_many(
        conn,
        "patient.enrolled",
        [
            {"patient": row.ref, "campaign": campaign.key, "arm": value["arm"], "segment": row.segment}
            for (row, campaign), value in zip(chosen, values, strict=True)
        ],
        now,
    )
    return Counter(str(value["arm"]) for value in values)
