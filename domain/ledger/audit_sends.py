"""Audit of what was sent to whom: once at most, never to the holdout, nothing about care, no offer too many."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, func, or_, select

from domain.ledger.attempts import attempt
from domain.ledger.audit_attempts import MADE, UNASKED
from domain.ledger.audit_terms import Declared, ceiling_terms
from domain.ledger.campaigns import campaign, campaign_template
from domain.ledger.enrolments import enrolment
from domain.ledger.findings import Finding, finding, listed, tally
from domain.ledger.incentives import incentive_offer
from domain.ledger.organisations import organisation
from domain.ledger.texts import template, template_version
from domain.ledger.touches import touch
from domain.rules.neutral_text import phi_in
from domain.rules.vocabulary import Arm, AttemptState

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]


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


def incentives_over_ceiling(conn: Connection, declared: Declared) -> Finding:
    """Offers to patients of federal or unknown payers that are, or with those before come to, more than is allowed.

    What a patient was offered while their payer was known to be another counts for the year as well. What two records
    were offered before anybody knew them for one person is no breach, and is noted; nothing may come on top of it.
    """
    of = incentive_offer.c
    rows = conn.execute(
        select(
            of.id,
            of.patient_id,
            of.year,
            of.cents,
            of.is_federal,
            of.offered_at,
            of.carried_at,
            enrolment.c.patient_id.label("offered_to"),
            organisation.c.key,
        )
        .join(enrolment, enrolment.c.id == of.enrolment_id)
        .join(organisation, organisation.c.id == of.organisation_id)
        .order_by(of.patient_id, of.year, of.id)
    )
    too_dear: list[int] = []
    too_much: list[int] = []
    merged = 0
    for _, offers in groupby(rows, key=lambda row: (row.patient_id, row.year)):
        before: list[AnyRow] = []
        for row in offers:
            item, year = ceiling_terms(declared, row.key)
            before.append(row)
            if row.is_federal and row.cents > item * 100:
                too_dear.append(row.id)
            if row.is_federal and sum(each.cents for each in before if _was_known(each, row)) > year * 100:
                too_much.append(row.id)
        had = any(each.id in too_much for each in before)
        is_together = any(each.is_federal for each in before) and any(each.carried_at for each in before)
        merged += is_together and not had and sum(each.cents for each in before) > year * 100
    notes = [f"patients whose merged records were offered more in a year, before the merge: {merged}"] if merged else []
    return finding(
        "incentives_over_ceiling",
        "No patient of a federal or unknown payer is offered more than the law's ceilings, at once and in a year.",
        [
            listed("incentive_offer", "is worth more than one item may be", too_dear),
            listed("incentive_offer", "comes to more than a calendar year may have", too_much),
            tally(conn, "attempt", "offered what, or more than, its enrolment's offers say", _offers_unkept()),
        ],
        notes,
    )


def _was_known(earlier: AnyRow, offer: AnyRow) -> bool:
    """Whether an earlier offer counted for the patient when this one was made."""
    if earlier.offered_to == offer.offered_to:
        return True
    if earlier.carried_at is not None:
        return bool(earlier.carried_at <= offer.offered_at)
    # made to the survivor: another record's offer did not know of it before the merge
    return offer.carried_at is None


def _offers_unkept() -> Select[Any]:
    """Outreach whose text offers something that no offer on record is worth: no ceiling counted it."""
    kept = exists().where(
        incentive_offer.c.enrolment_id == touch.c.enrolment_id,
        incentive_offer.c.incentive == template.c.incentive,
        incentive_offer.c.cents >= template.c.cents,
    )
    return (
        select(attempt.c.id)
        .join(touch, touch.c.id == attempt.c.touch_id)
        .join(template, template.c.id == attempt.c.template_id)
        .where(MADE, UNASKED, template.c.incentive != "", ~kept)
    )
