"""Audit of the texts that were sent: released by two people, and not recalled, when each was claimed.

Judged by the history of releases and recalls, and not by the instants that the claim reads.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, Subquery, case, func, or_, select

from domain.ledger.attempts import attempt
from domain.ledger.audit_attempts import CALLED, MADE, UNASKED
from domain.ledger.findings import Finding, finding, listed
from domain.ledger.texts import template, template_event, template_version

#: A claim younger than this need not look again before the call.
_BLIND = timedelta(seconds=1)


def sent_unreleased(conn: Connection) -> Finding:
    """Outreach that says no recorded text, or one that was not released yet, or was recalled, when it was claimed."""
    released, recalled = _released(), _recalled()
    calls = (
        select(
            attempt.c.id,
            attempt.c.claimed_at,
            CALLED.label("at"),
            released.c.at.label("released"),
            recalled.c.at.label("recalled"),
        )
        .select_from(attempt)
        .join(template, template.c.id == attempt.c.template_id)
        .outerjoin(released, released.c.version == template.c.template_version_id)
        .outerjoin(recalled, recalled.c.version == template.c.template_version_id)
        .where(
            MADE,
            UNASKED,
            or_(released.c.at.is_(None), attempt.c.claimed_at < released.c.at, recalled.c.at < CALLED),
        )
    )
    early, late = set(), set()
    for row in conn.execute(calls):
        if row.released is None or row.claimed_at < row.released:
            early.add(row.id)
        elif row.claimed_at > row.recalled or row.at > row.recalled + _BLIND:
            late.add(row.id)
    # one whose claim found no text ends without a call
    is_called = or_(attempt.c.called_at.is_not(None), attempt.c.state.in_(("accepted", "uncertain")))
    unknown = conn.scalars(select(attempt.c.id).where(UNASKED, is_called, attempt.c.template_id.is_(None)))
    return finding(
        "sent_unreleased",
        "Every text that was sent had been released by two people, one for marketing and one for clinical, and was not "
        "recalled, when it was claimed.",
        [
            listed("attempt", "said a text that two people had not released", early),
            listed("attempt", "said a text that had been recalled", late),
            listed("attempt", "said no text that is on record", unknown),
        ],
    )


def _released() -> Subquery:
    """Version -> since when two different people, one in each role, had released the very texts it has."""
    one, other = _by_role("marketing"), _by_role("clinical")
    both = case((one.c.at > other.c.at, one.c.at), else_=other.c.at)
    return (
        select(one.c.version, func.min(both, type_=template_event.c.at.type).label("at"))
        .join(other, (other.c.version == one.c.version) & (other.c.who != one.c.who))
        .group_by(one.c.version)
        .subquery()
    )


def _by_role(role: str) -> Subquery:
    who = func.lower(func.trim(template_event.c.who))
    return (
        select(
            template_event.c.template_version_id.label("version"),
            who.label("who"),
            func.min(template_event.c.at, type_=template_event.c.at.type).label("at"),
        )
        .join(template_version, template_version.c.id == template_event.c.template_version_id)
        .where(
            template_event.c.what == "released",
            template_event.c.role == role,
            template_event.c.checksum == template_version.c.checksum,
        )
        .group_by(template_event.c.template_version_id, who)
        .subquery()
    )


def _recalled() -> Subquery:
    return (
        select(
            template_event.c.template_version_id.label("version"),
            func.min(template_event.c.at, type_=template_event.c.at.type).label("at"),
        )
        .where(template_event.c.what == "recalled")
        .group_by(template_event.c.template_version_id)
        .subquery()
    )
