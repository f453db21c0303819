"""Releases and recalls: two people in two roles let a template version out, one of anybody's words stops it at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, and_, cast, func, insert, select, update

from domain.ledger import texts
from domain.ledger.campaigns import campaign, campaign_template
from domain.ledger.claim_texts import seasons_of, usable
from domain.ledger.enrolments import enrolment
from domain.ledger.organisations import site
from domain.ledger.patients import patient
from domain.ledger.store import chunks
from domain.ledger.texts import template, template_event, template_version
from domain.ledger.touches import IS_PLANNED, tell, touch
from domain.rules.templates import TemplateError, choose
from domain.rules.vocabulary import Role

#: The rule ids by which a touch waits for its text.
HOLDS = ("template_unreleased", "template_recalled")


class ReleaseError(Exception):
    """A version cannot be released or recalled; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Version:
    """A recorded template version and what was decided about it."""

    id: int
    key: str
    version: int
    checksum: str
    recorded_at: datetime
    released_at: datetime | None
    recalled_at: datetime | None
    events: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def name(self) -> str:
        """`key@version`."""
        return f"{self.key}@{self.version}"

    @property
    def state(self) -> str:
        """`released`, `recalled`, or who still has to release it."""
        if self.recalled_at is not None:
            return "recalled"
        if self.released_at is not None:
            return "released"
        given = {each["role"] for each in self.events if each["what"] == "released"}
        return "waits for " + " and ".join(role.value for role in Role if role.value not in given)


@dataclass(frozen=True, slots=True)
class Recall:
    """What a recall stopped: planned touches, and how many of them were on a queue."""

    names: tuple[str, ...]
    stopped: int
    queued: int


def versions(conn: Connection, organisation_id: int, key: str | None = None) -> list[Version]:
    """The recorded versions (of a key), oldest first, with their history."""
    ours = [template_version.c.organisation_id == organisation_id]
    if key is not None:
        ours.append(template_version.c.key == key)
    rows = conn.execute(
        select(template_version).where(*ours).order_by(template_version.c.key, template_version.c.version)
    ).all()
    events: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    told = conn.execute(
        select(template_event)
        .join(template_version, template_version.c.id == template_event.c.template_version_id)
        .where(*ours)
        .order_by(template_event.c.id)
    )
    for each in told.mappings():
        events[each["template_version_id"]].append(dict(each))
    return [
        Version(
            row.id,
            row.key,
            row.version,
            row.checksum,
            row.recorded_at,
            row.released_at,
            row.recalled_at,
            tuple(events[row.id]),
        )
        for row in rows
    ]


def release(conn: Connection, version_id: int, *, who: str, role: Role, lexicon: str, now: datetime) -> Version:
    """Record that a person lets a version out, whose texts they found fit by this lexicon; what it is now.

    With the second of two people in two roles it is released, and touches that waited for it are due again.

    Raises:
        ReleaseError: it was recalled, or the same person holds the other role.
    """
    version = _locked(conn, version_id)
    if version.recalled_at is not None:
        raise ReleaseError(f"{version.name} was recalled: write a new version of it")
    given = [each for each in version.events if each["what"] == "released"]
    for each in given:
        if _same_person(each["who"], who) and each["role"] != role:
            told = f"{version.name} was released for {each['role']} by {each['who']}"
            raise ReleaseError(f"{told}: for {role} somebody else must")
    if not any(_same_person(each["who"], who) and each["lexicon"] == lexicon for each in given):
        _note(conn, version, {"what": "released", "role": role.value, "who": who, "lexicon": lexicon}, now)
    if version.released_at is None and {each["role"] for each in given} | {role.value} == {each.value for each in Role}:
        conn.execute(update(template_version).where(template_version.c.id == version_id).values(released_at=now))
        _wake(conn, version_id, now)
    return _locked(conn, version_id)


def recall(
    conn: Connection, organisation_id: int, key: str, version: int | None, *, who: str, why: str, now: datetime
) -> Recall:
    """Stop a version (or every one of its key) for good, and with it whatever planned touch would have said it.

    Claims read this in their own transaction, and those older than a second once more before they call.

    Raises:
        ReleaseError: there is none, or all were recalled before.
    """
    known = versions(conn, organisation_id, key)
    wanted = [each for each in known if version in {None, each.version}]
    if not wanted:
        there = ", ".join(each.name for each in known) or "none of this key: see `reactivate template status`"
        raise ReleaseError(f"no such version; recorded are {there}")
    live = [each for each in wanted if each.recalled_at is None]
    if not live:
        raise ReleaseError(f"{', '.join(each.name for each in wanted)} was recalled before")
    stopped = {each.id: _planned_with(conn, each.id, now) for each in live}
    for each in live:
        conn.execute(update(template_version).where(template_version.c.id == each.id).values(recalled_at=now))
        _note(conn, each, {"what": "recalled", "who": who, "why": why, "stopped": stopped[each.id][0]}, now)
    return Recall(
        tuple(each.name for each in live),
        sum(count for count, _ in stopped.values()),
        sum(queued for _, queued in stopped.values()),
    )


def _locked(conn: Connection, version_id: int) -> Version:
    row = conn.execute(
        select(template_version.c.organisation_id, template_version.c.key)
        .where(template_version.c.id == version_id)
        .with_for_update()
    ).one()
    return next(each for each in versions(conn, row.organisation_id, row.key) if each.id == version_id)


def _same_person(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _note(conn: Connection, version: Version, values: Mapping[str, Any], now: datetime) -> None:
    conn.execute(
        insert(template_event).values(template_version_id=version.id, at=now, checksum=version.checksum, **values)
    )


def _campaigns_with(version_id: int) -> Any:
    """Campaigns that were started with this version or another of its key."""
    its = select(template_version.c.organisation_id, template_version.c.key).where(template_version.c.id == version_id)
    its_key = its.subquery()
    return (
        select(campaign_template.c.campaign_id)
        .join(template_version, template_version.c.id == campaign_template.c.template_version_id)
        .join(
            its_key,
            and_(
                its_key.c.organisation_id == template_version.c.organisation_id,
                its_key.c.key == template_version.c.key,
            ),
        )
    )


def _wake(conn: Connection, version_id: int, now: datetime) -> None:
    """Touches that waited for a text are due at once; whether they may go is for the next claim to say."""
    waiting: ColumnElement[bool] = and_(
        IS_PLANNED,
        touch.c.reason.in_(HOLDS),
        touch.c.due_at > now,
        touch.c.enrolment_id.in_(
            select(enrolment.c.id).where(enrolment.c.campaign_id.in_(_campaigns_with(version_id)))
        ),
    )
    # in id order, as claims lock them: neither waits for what the other holds
    woken = conn.scalars(select(touch.c.id).where(waiting).order_by(touch.c.id).with_for_update()).all()
    for ids in chunks(woken):
        conn.execute(update(touch).where(touch.c.id.in_(ids), IS_PLANNED).values(due_at=now))
    tell(conn, [{"touch_id": id_, "what": "planned", "reason": "template_released"} for id_ in woken], now)


def _has_seasons(conn: Connection, campaigns: Sequence[int]) -> bool:
    """Whether what these campaigns say depends on the day."""
    seasonal = (
        select(template.c.id)
        .join(campaign_template, campaign_template.c.template_version_id == template.c.template_version_id)
        .where(campaign_template.c.campaign_id.in_(campaigns), template.c.season != "")
    )
    return conn.scalar(seasonal.limit(1)) is not None


def _planned_with(conn: Connection, version_id: int, now: datetime) -> tuple[int, int]:
    """How many planned touches would say this version when they are due, and how many of them are on a queue."""
    campaigns = conn.scalars(_campaigns_with(version_id)).all()
    is_queued = and_(touch.c.dispatched_until.is_not(None), touch.c.dispatched_until > now)
    slot: tuple[Any, ...] = (
        enrolment.c.campaign_id,
        enrolment.c.segment,
        patient.c.language,
        touch.c.channel,
        touch.c.kind,
        touch.c.step,
    )
    if _has_seasons(conn, campaigns):
        where = func.coalesce(patient.c.zone, site.c.zone).label("zone")
        slot += (touch.c.due_at, campaign.c.terms, where, patient.c.payer, patient.c.benefit_month)
    groups: Sequence[Any] = conn.execute(
        select(*slot, func.count().label("planned"), func.sum(cast(is_queued, Integer)).label("queued"))
        .select_from(touch)
        .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
        .join(campaign, campaign.c.id == enrolment.c.campaign_id)
        .join(patient, patient.c.id == touch.c.patient_id)
        .join(site, site.c.id == patient.c.home_site_id)
        .where(IS_PLANNED, enrolment.c.campaign_id.in_(campaigns))
        .group_by(*slot)
    ).all()
    said_by = {channel: usable(conn, campaigns, channel) for channel in sorted({each.channel for each in groups})}
    its_texts = texts.ids_of(conn, version_id)
    planned = queued = 0
    for group in groups:
        try:
            said = choose(
                said_by[group.channel][group.campaign_id],
                channel=group.channel,
                language=group.language,
                segment=group.segment,
                step_kind=group.kind,
                step=group.step,
                seasons=seasons_of(group, group.due_at) if hasattr(group, "due_at") else (),
            )
        except TemplateError:
            continue
        if said.id in its_texts:
            planned, queued = planned + group.planned, queued + group.queued
    return planned, queued
