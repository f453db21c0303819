"""Which text a touch would be given now, and what holds it back: asked in the claim, and again before a late call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, FromClause, Row, Select, String, and_, bindparam, func, or_, select, union_all

from domain.ledger.among import among
from domain.ledger.campaigns import campaign, campaign_template
from domain.ledger.columns import Id
from domain.ledger.enrolments import enrolment
from domain.ledger.incentives import Offers
from domain.ledger.organisations import site
from domain.ledger.patients import patient
from domain.ledger.texts import template, template_version
from domain.ledger.touches import IS_PLANNED, touch
from domain.rules import terms
from domain.rules.quiet_hours import zone_info
from domain.rules.templates import TemplateError, choose
from domain.rules.vocabulary import TouchKind

AnyRow = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Usable:
    """A text that a campaign may use now, or why it may not."""

    id: int
    channel: str
    language: str
    segment: str
    step_kind: str
    step: int
    season: str
    incentive: str
    hold: str | None
    """The rule id by which it must not be sent; None = it may be."""
    cents: int = 0
    """What its incentive is worth."""


_used = template_version.alias("used")
_successor = template_version.alias("successor")
_NAMES = ("channel", "language", "segment", "step_kind", "step", "season", "incentive")
_SLOT = tuple(template.c[name] for name in _NAMES)


def _said_by(speaker: FromClause, joined: FromClause) -> Select[Any]:
    """The texts of `speaker` for whatever campaigns use `used`."""
    return (
        select(
            campaign_template.c.campaign_id,
            _used.c.id.label("used"),
            speaker.c.version,
            speaker.c.released_at,
            speaker.c.recalled_at,
            template.c.id.label("text"),
            template.c.cents,
            *_SLOT,
        )
        .select_from(joined)
        .join(template, template.c.template_version_id == speaker.c.id)
        .where(
            among(campaign_template.c.campaign_id, "campaigns"),
            template.c.channel == bindparam("channel", type_=String),
        )
    )


_USED = campaign_template.join(_used, _used.c.id == campaign_template.c.template_version_id)
_SUCCEEDED = _USED.join(
    _successor,
    and_(
        _used.c.recalled_at.is_not(None),
        _successor.c.organisation_id == _used.c.organisation_id,
        _successor.c.key == _used.c.key,
        _successor.c.version > _used.c.version,
        _successor.c.released_at.is_not(None),
        _successor.c.recalled_at.is_(None),
    ),
)
#: A version speaks for itself; for what a recalled one said, its newest released successor speaks where it has a text.
#: Two queries in one, as an `or` in the join would have every version of every organisation read.
_USABLE = union_all(_said_by(_used, _USED), _said_by(_successor, _SUCCEEDED)).order_by("campaign_id", "text")
_HELD = (
    select(template.c.id)
    .join(template_version, template_version.c.id == template.c.template_version_id)
    .where(
        among(template.c.id, "ids"),
        or_(template_version.c.released_at.is_(None), template_version.c.recalled_at.is_not(None)),
    )
)

_AHEAD = (
    select(
        touch.c.id,
        touch.c.channel,
        touch.c.kind,
        touch.c.step,
        touch.c.due_at,
        enrolment.c.campaign_id,
        enrolment.c.segment,
        campaign.c.terms,
        patient.c.language,
        patient.c.payer,
        patient.c.benefit_month,
        func.coalesce(patient.c.zone, site.c.zone).label("zone"),
    )
    .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .join(campaign, campaign.c.id == enrolment.c.campaign_id)
    .join(patient, patient.c.id == touch.c.patient_id)
    .join(site, site.c.id == patient.c.home_site_id)
    .where(touch.c.patient_id == bindparam("patient", type_=Id), IS_PLANNED)
)


def usable(conn: Connection, campaign_ids: Collection[int], channel: str) -> dict[int, list[Usable]]:
    """The texts of these campaigns on a channel, without their words, each with what holds it back.

    One statement, whatever the number of campaigns: it runs in every claim.
    """
    found: dict[int, dict[tuple[Any, ...], tuple[int, Usable]]] = {id_: {} for id_ in campaign_ids}
    for row in conn.execute(_USABLE, {"campaigns": sorted(campaign_ids), "channel": channel}):
        slot = (row.channel, row.language, row.segment, row.step_kind, row.step, row.season, row.incentive)
        there = found[row.campaign_id].get((row.used, *slot))
        if there is None or there[0] < row.version:
            found[row.campaign_id][row.used, *slot] = (
                row.version,
                Usable(row.text, *slot, hold=_hold(row), cents=row.cents),
            )
    return {id_: [usable for _, usable in slots.values()] for id_, slots in found.items()}


def _hold(row: Any) -> str | None:
    if row.recalled_at is not None:
        return "template_recalled"
    return "template_unreleased" if row.released_at is None else None


def held(conn: Connection, template_ids: Collection[int]) -> set[int]:
    """Which of these texts must not be sent any more."""
    return set(conn.scalars(_HELD, {"ids": sorted(template_ids)})) if template_ids else set()


def seasons_of(row: Any, at: datetime) -> frozenset[str]:
    """The seasons of a touch's campaign that it is at `at` where the patient is; none where it has no campaign."""
    if row.terms is None:
        return frozenset()
    day = at.astimezone(zone_info(row.zone)).date()
    return terms.from_text(row.terms).open_on(day, payer=row.payer, benefit_month=row.benefit_month)


def held_ahead(conn: Connection, patient_id: int) -> dict[int, str]:
    """The planned touches of a patient whose text is held back now, and by which rule id.

    Each is asked about for the day on which it is due.
    """
    rows = conn.execute(_AHEAD, {"patient": patient_id}).all()
    found: dict[int, str] = {}
    for channel in sorted({row.channel for row in rows}):
        said = read_texts(conn, [row for row in rows if row.channel == channel], channel)
        found |= {id_: text.hold for id_, text in said.items() if text.hold is not None}
    return found


def read_texts(
    conn: Connection, rows: Sequence[AnyRow], channel: str, at: datetime | None = None, offers: Offers | None = None
) -> dict[int, Usable]:
    """The text each touch would be given, by touch id; answers, and touches without any text, are not in it.

    It is for `at`, or where that is None for when each is due. With `offers`, texts are given that make the offers
    these allow; without, any.
    """
    ours = [row for row in rows if row.campaign_id is not None and row.kind != TouchKind.ANSWER]
    if not ours:
        return {}
    of_campaign = usable(conn, {row.campaign_id for row in ours}, channel)
    seasonal = {id_ for id_, theirs in of_campaign.items() if any(text.season for text in theirs)}
    chosen: dict[tuple[Any, ...], Usable | None] = {}
    found = {}
    for row in ours:
        is_seasonal = row.campaign_id in seasonal
        seasons = seasons_of(row, row.due_at if at is None else at) if is_seasonal else frozenset[str]()
        slot = (row.campaign_id, row.language, row.segment, row.kind, row.step, seasons)
        if slot not in chosen:
            chosen[slot] = _choose(of_campaign[row.campaign_id], channel, row, seasons)
        text = chosen[slot]
        if text is not None and text.incentive and offers is not None:
            # what one patient may be offered is theirs alone
            text = _choose(of_campaign[row.campaign_id], channel, row, seasons, partial(offers.allows, row))
            if text is not None and text.incentive:
                offers.take(row, text)
        if text is not None:
            found[row.id] = text
    return found


def _choose(
    of_campaign: Sequence[Usable],
    channel: str,
    row: AnyRow,
    seasons: frozenset[str],
    may_offer: Callable[[Usable], bool] = lambda _: True,
) -> Usable | None:
    try:
        return choose(
            of_campaign,
            channel=channel,
            language=row.language,
            segment=row.segment or "",
            step_kind=row.kind,
            step=row.step,
            seasons=seasons,
            may_offer=may_offer,
        )
    except TemplateError:
        return None
