"""Audit of what was sent to whom: once at most, never to the holdout, and nothing about anyone's care."""

from __future__ import annotations

from sqlalchemy import Connection, exists, func, or_, select

from domain.ledger.attempts import attempt
from domain.ledger.campaigns import campaign, campaign_template
from domain.ledger.enrolments import enrolment
from domain.ledger.findings import Finding, finding, listed, tally
from domain.ledger.organisations import organisation
from domain.ledger.texts import template, template_version
from domain.ledger.touches import touch
from domain.rules.neutral_text import phi_in
from domain.rules.vocabulary import Arm, AttemptState


def accepted_twice(conn: Connection) -> Finding:
    """Touches that a provider accepted, or may have accepted, more than once."""
    perhaps = [AttemptState.ACCEPTED.value, AttemptState.UNCERTAIN.value, AttemptState.SENDING.value]
    twice = (
        select(attempt.c.touch_id)
        .where(attempt.c.state.in_(perhaps))
        .group_by(attempt.c.touch_id)
        .having(func.count() > 1)
    )
    return finding(
        "accepted_twice",
        "A touch is accepted by a provider at most once, and has at most one attempt whose outcome is open.",
        [tally(conn, "touch", "has two attempts that were or may have been accepted", twice)],
    )


def holdout_contacted(conn: Connection) -> Finding:
    """Touches of enrolments in the holdout, in whatever state: none may even be planned."""
    touched = (
        select(touch.c.id)
        .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
        .where(enrolment.c.arm == Arm.HOLDOUT.value)
    )
    return finding(
        "holdout_contacted",
        "The holdout of a campaign is left alone by it.",
        [tally(conn, "touch", "belongs to an enrolment in the holdout", touched)],
    )


def phi_in_outreach(conn: Connection) -> Finding:
    """Names and templates, released or of campaigns that run or were used, that say more than that somebody exists.

    Messages are rendered from templates and nothing else, and no variable holds anything about a patient.
    """
    in_use = (
        select(campaign_template.c.template_version_id)
        .join(campaign, campaign.c.id == campaign_template.c.campaign_id)
        .where(or_(campaign.c.ended_at.is_(None), exists().where(enrolment.c.campaign_id == campaign.c.id)))
    )
    rows = conn.execute(
        select(template.c.id, template.c.subject, template.c.body)
        .join(template_version, template_version.c.id == template.c.template_version_id)
        .where(or_(template_version.c.released_at.is_not(None), template_version.c.id.in_(in_use)))
    )
    named = [row.id for row in conn.execute(select(organisation.c.id, organisation.c.name)) if phi_in(row.name)]
    wrong = [row.id for row in rows if phi_in(f"{row.subject or ''}\n{row.body}")]
    return finding(
        "phi_in_outreach",
        "Outreach names the organisation and nothing about care: no condition, specialty, clinician, test or date.",
        [
            listed("template", "tells more than that the organisation exists", wrong),
            listed("organisation", "has a name that tells about care", named),
        ],
    )
