"""The last look before an aged claim is called: what an opt-out, a merge or a recall committed since then must stop."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from domain.ledger import holds
from domain.ledger.claim_stops import departed, overtaken, revoked, suppressed, usable
from domain.ledger.claim_texts import held
from domain.ledger.claimed import Claimed
from domain.rules.guard import may_answer_suppressed
from domain.rules.vocabulary import TouchKind

__all__ = ["overtaken", "still_suppressed", "texts_held"]


def still_suppressed(conn: Connection, claimed: Sequence[Claimed]) -> set[int]:
    """Touch ids among an aged claim that an opt-out committed since then must stop; a revoked consent is one, too.

    So is a death, and a merge: what the patient chooses from then on is the survivor's. Outreach also stops where a
    person has to look first, and where the contact point is not the patient's any more, or they asked for another one.
    """
    touches_of = {each.touch_id: each for each in claimed if not may_answer_suppressed(each.kind, each.answer)}
    points = sorted({each.contact_point_id for each in touches_of.values()})
    patients = sorted({each.patient_id for each in touches_of.values() if each.patient_id is not None})
    channel = claimed[0].channel if claimed else ""
    stopped_points, stopped_patients = suppressed(conn, points, patients, channel)
    stopped_points |= revoked(conn, points, channel)
    stopped_patients |= departed(conn, patients)
    held = holds.held(conn, patients)
    may_use = usable(conn, patients, points)

    def outreach_stops(each: Claimed) -> bool:
        return each.patient_id in held or (each.patient_id, each.contact_point_id) not in may_use

    return {
        id_
        for id_, each in touches_of.items()
        if each.contact_point_id in stopped_points
        or each.patient_id in stopped_patients
        or (each.kind != TouchKind.ANSWER and outreach_stops(each))
    }


def texts_held(conn: Connection, claimed: Sequence[Claimed]) -> set[int]:
    """Touch ids among an aged claim whose text was recalled since then."""
    stopped = held(conn, {each.template_id for each in claimed if each.template_id is not None})
    return {each.touch_id for each in claimed if each.template_id in stopped}
