"""Deciding: which campaign a lapse enters, or why none. It writes nothing; enrolment and preview share it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select

from domain.ledger.campaigns import Running
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import patient
from domain.ledger.reach import reachable_channels, with_calls
from domain.rules import terms
from domain.rules.quiet_hours import zone_info

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]

_at = site.alias("at")
#: Why a lapse waits although its campaign wants it: that is looked at again, day by day.
OUT_OF_SEASON = "out_of_season"
#: The lapse itself is enrolled, and was looked at again because it had moved on to another segment.
GOES_ON = "goes_on"

_LAPSE = (
    select(
        lapse.c.id,
        lapse.c.organisation_id,
        lapse.c.patient_id,
        lapse.c.site_id,
        lapse.c.service_line,
        lapse.c.segment,
        lapse.c.priority,
        lapse.c.closed_at,
        lapse.c.decided_at,
        lapse.c.declined,
        patient.c.ref,
        patient.c.language,
        patient.c.preferred_channel,
        patient.c.high_risk,
        patient.c.payer,
        patient.c.benefit_month,
        patient.c.deceased_at,
        patient.c.merged_into_id,
        func.coalesce(patient.c.zone, site.c.zone).label("zone"),
        func.coalesce(patient.c.state, site.c.state).label("home_state"),
        organisation.c.key.label("organisation_key"),
        _at.c.key.label("site"),
    )
    .join(patient, patient.c.id == lapse.c.patient_id)
    .join(site, site.c.id == patient.c.home_site_id)
    .join(_at, _at.c.id == lapse.c.site_id)
    .join(organisation, organisation.c.id == lapse.c.organisation_id)
    .order_by(lapse.c.id)
)


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of lapses, in the order in which they were looked at."""

    chosen: list[tuple[AnyRow, Running]]
    declined: list[tuple[AnyRow, str]]
    reachable: Mapping[int, list[str]]
    """Patient -> channels that reach them."""


def read_lapses(conn: Connection, patient_ids: Collection[int], which: ColumnElement[bool]) -> list[AnyRow]:
    """The lapses of these patients: the patients in the order of their oldest, each one's most urgent first."""
    rows = conn.execute(_LAPSE.where(lapse.c.patient_id.in_(patient_ids), which)).all()
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(row.patient_id, row.id)
    return sorted(rows, key=lambda row: (first[row.patient_id], row.priority, row.id))


def decide(
    conn: Connection,
    rows: Sequence[AnyRow],
    running: Sequence[Running],
    systems: Mapping[str, str],
    now: datetime,
    take_room: Callable[[Running, int, str], str | None] = lambda _version, _site, _line: None,
) -> Decided:
    """Which of the running campaigns each lapse enters, or why none; a patient enters a campaign once.

    `take_room` takes a place at a site for a line, or says why there was none: asked last, of who would otherwise be
    enrolled.
    """
    reachable = reachable_channels(conn, {row.patient_id for row in rows}, with_calls(systems) if systems else {})
    engaged = _engaged(conn, rows)
    decided = Decided([], [], reachable)
    for row in rows:
        campaign = campaign_for(row, running, now)
        reason = _why_not(row, campaign, reachable, engaged, now)
        if reason is None and campaign is not None:
            reason = take_room(campaign, row.site_id, row.service_line)
        if reason is not None or campaign is None:
            decided.declined.append((row, reason or "no_campaign"))
            continue
        engaged[row.patient_id, campaign.key] = "already_enrolled", row.id
        decided.chosen.append((row, campaign))
    return decided


def campaign_for(row: AnyRow, running: Sequence[Running], now: datetime | None = None) -> Running | None:
    """The oldest running campaign that wants this lapse; with `now`, the oldest whose season it is, if there is one."""
    theirs = [
        each
        for each in running
        if each.organisation_id == row.organisation_id and each.wants(row.service_line, row.segment)
    ]
    in_season = (each for each in theirs if now is None or is_in_season(each, row, now))
    return next(in_season, theirs[0] if theirs else None)


def is_reached(campaign: Running | None, channels: Collection[str]) -> bool:
    """Whether one of these channels is the campaign's."""
    return campaign is not None and not set(channels).isdisjoint(campaign.definition["channels"])


def _engaged(conn: Connection, rows: Sequence[AnyRow]) -> dict[tuple[int, str], tuple[str, int]]:
    """Patient and campaign pairs that may not start again, why (live already, or once for this lapse), which lapse."""
    earlier = conn.execute(
        select(enrolment.c.patient_id, enrolment.c.campaign_key, enrolment.c.lapse_id, enrolment.c.ended_at)
        .where(
            enrolment.c.patient_id.in_({row.patient_id for row in rows}),
            or_(enrolment.c.ended_at.is_(None), enrolment.c.lapse_id.in_([row.id for row in rows])),
        )
        .order_by(enrolment.c.id)
    )
    return {
        (row.patient_id, row.campaign_key): (
            "already_enrolled" if row.ended_at is None else "had_its_turn",
            row.lapse_id,
        )
        for row in earlier
    }


def _why_not(
    row: AnyRow,
    campaign: Running | None,
    reachable: Mapping[int, list[str]],
    engaged: Mapping[tuple[int, str], tuple[str, int]],
    now: datetime,
) -> str | None:
    if row.closed_at is not None:
        return "closed"
    if row.deceased_at is not None or row.merged_into_id is not None:
        return "deceased" if row.deceased_at is not None else "merged"
    if campaign is None:
        return "no_campaign"
    if campaign.paused_at is not None:
        return "campaign_paused"
    if (row.patient_id, campaign.key) in engaged:
        reason, lapse_id = engaged[row.patient_id, campaign.key]
        return GOES_ON if reason == "already_enrolled" and lapse_id == row.id else reason
    if not is_reached(campaign, reachable.get(row.patient_id, ())):
        return "unreachable"
    return None if is_in_season(campaign, row, now) else OUT_OF_SEASON


def is_in_season(campaign: Running, row: AnyRow, now: datetime) -> bool:
    """Whether the campaign enrols this patient on the day that it is at `now` where they are."""
    if not campaign.definition.get("enrol_in"):
        return True
    day = now.astimezone(zone_info(row.zone)).date()
    its = terms.from_definition(campaign.definition)
    return its.enrols_on(day, payer=row.payer, benefit_month=row.benefit_month)
