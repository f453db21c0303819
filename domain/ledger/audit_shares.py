"""Audit of daily shares: no site sends more of a campaign on one of its days than the version that ran then allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, select

from domain.ledger.attempts import attempt
from domain.ledger.audit_attempts import REACHED, UNASKED
from domain.ledger.campaigns import campaign
from domain.ledger.enrolments import enrolment
from domain.ledger.findings import Finding, finding, listed
from domain.ledger.organisations import site
from domain.ledger.touches import touch

AnyRow = Row[*tuple[Any, ...]]
_DAY = timedelta(days=1)


def over_daily_share(conn: Connection) -> Finding:
    """Touches that went out when their site had sent its day's share of their campaign.

    Versions are immutable and keep their times, so each day is judged by its own figure: the laxest of that day. A day
    on which the first limited version began is not judged, for what went before it was not counted. Only campaigns
    that ever had a limit are read.
    """
    versions: defaultdict[tuple[int, str], list[AnyRow]] = defaultdict(list)
    for row in conn.execute(select(campaign).order_by(campaign.c.id)):
        versions[row.organisation_id, row.key].append(row)
    limited = {key for key, its in versions.items() if any(each.daily_touches is not None for each in its)}
    days: defaultdict[tuple[int, str, int, str, date], list[int]] = defaultdict(list)
    if limited:
        for row in conn.execute(_SENT.where(enrolment.c.campaign_key.in_({key for _, key in limited}))):
            if (row.organisation_id, row.campaign_key) in limited:
                day = row.claimed_at.astimezone(ZoneInfo(row.zone)).date()
                days[row.organisation_id, row.campaign_key, row.site_id, row.zone, day].append(row.id)
    too_many: list[int] = []
    for (organisation_id, key, _, zone, day), sent in days.items():
        share = _share(versions[organisation_id, key], day, zone)
        too_many += [] if share is None else sent[share:]
    return finding(
        "over_daily_share",
        "No site sends more touches of a campaign on one of its days than the campaign allows.",
        [listed("attempt", "was beyond the day's share of its campaign at its site", too_many)],
    )


_SENT = (
    select(
        attempt.c.id,
        attempt.c.claimed_at,
        enrolment.c.organisation_id,
        enrolment.c.campaign_key,
        site.c.id.label("site_id"),
        site.c.zone,
    )
    .join(touch, touch.c.id == attempt.c.touch_id)
    .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .join(site, site.c.id == touch.c.site_id)
    .where(REACHED, UNASKED)
    .order_by(attempt.c.claimed_at, attempt.c.id)
)


def _share(versions: Sequence[AnyRow], day: date, zone: str) -> int | None:
    """The laxest figure of the versions that ran on this day there; None = no limit, or none for the whole of it."""
    begins = datetime.combine(day, time(), ZoneInfo(zone))
    ends = datetime.combine(day + _DAY, time(), ZoneInfo(zone))
    ran = [each for each in versions if each.started_at < ends and (each.ended_at is None or each.ended_at > begins)]
    figures: list[int | None] = [each.daily_touches for each in ran]
    if not ran or ran[0].started_at > begins or None in figures:
        return None
    return max(each for each in figures if each is not None)
