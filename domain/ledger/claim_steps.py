"""The step at the claim: whether it is still wanted, and on which channel, given what came of the earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from sqlalchemy import Connection

from domain.ledger.claim_rows import AnyRow
from domain.ledger.hearing import hear
from domain.ledger.reach import reachable_channels
from domain.rules import terms
from domain.rules.cadence import UNHEARD, Cadence, channel_of
from domain.rules.steps import PHONE, Heard, Silence
from domain.rules.vocabulary import TouchKind

#: Why a conditional step is left out.
_NOT_SO = {Silence.NO_REPLY: "step_replied", Silence.NO_CLICK: "step_clicked", Silence.UNDELIVERED: "step_delivered"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the cadence wants of one touch now."""

    refusal: str | None = None
    """Why it is not to go at all (a reason id)."""
    channel: str | None = None
    """Where it is to go instead; None: it is on its channel."""
    why: str | None = None
    """Why it goes there (a reason id)."""


def read_wishes(conn: Connection, rows: Sequence[AnyRow], systems: Mapping[str, str], channel: str) -> dict[int, Wish]:
    """What the cadences want of these touches, by touch id; those not in it go as they are planned.

    `systems` are the channels and what they reach, the list of calls included. No step takes a patient where an
    opt-out stops them: it would end what may go where it is.
    """
    asking = [(row, plan) for row in rows if (plan := _asks(row)) is not None]
    channels = reachable_channels(conn, {row.patient_id for row, _ in asking}, systems) if asking else {}
    heard = hear(conn, {row.enrolment_id for row, plan in asking if _listens(plan, row.step)})
    return {
        row.id: _wish(row, plan, heard.get(row.enrolment_id, UNHEARD), set(channels.get(row.patient_id, ())), channel)
        for row, plan in asking
    }


def _asks(row: AnyRow) -> Cadence | None:
    """The cadence of a touch about which more than its date decides."""
    plan = terms.from_text(row.terms).cadence
    if plan is None or row.kind != TouchKind.OUTREACH or row.step >= len(plan.offsets):
        return None
    return plan if _listens(plan, row.step) or _is_for_a_person(row, plan) else None


def _listens(plan: Cadence, nth: int) -> bool:
    return plan.unanswered is not None or plan.step(nth).is_conditional


def _is_for_a_person(row: AnyRow, plan: Cadence) -> bool:
    return bool(row.high_risk) and plan.phone_from is not None and row.step >= plan.phone_from


def _wish(row: AnyRow, plan: Cadence, heard: Heard, reachable: Set[str], channel: str) -> Wish:
    step = plan.step(row.step)
    if plan.unanswered is not None and heard.unanswered(plan.answers) >= plan.unanswered:
        return Wish(refusal="unanswered")
    if step.only_if is not None and not heard.shows(step.only_if):
        return Wish(refusal=_NOT_SO[step.only_if])
    if step.escalate_if is None and not _is_for_a_person(row, plan):
        return Wish()
    wanted = channel_of(
        plan,
        row.step,
        reachable=reachable,
        preferred=row.preferred_channel,
        high_risk=bool(row.high_risk),
        heard=heard,
    )
    if wanted is None or wanted == channel:
        return Wish()
    if wanted == PHONE and _is_for_a_person(row, plan):
        return Wish(channel=wanted, why="high_risk")
    is_escalated = step.escalate_if is not None and heard.shows(step.escalate_if)
    return Wish(channel=wanted, why="escalated" if is_escalated else "not_escalated")
