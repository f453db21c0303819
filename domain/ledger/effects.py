"""Effects: what a reply changes about patients beside what they chose: holds, a number that is not theirs, farewells.

A reply names nobody. What could concern anybody at its contact point (a death, a complaint) holds all of them for a
person; what concerns one (a wrong number, a farewell) counts for whom we had written to last, and where that is not
known for nobody before a person has looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, func, insert, select, update

from domain.ledger import enrolments, holds
from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.choice_history import choice_event
from domain.ledger.columns import Id, Instant
from domain.ledger.patients import patient_contact
from domain.rules.replies.intent import Understood
from domain.rules.vocabulary import Effect, Hold, Intent

#: Rules by which a number is claimed by whoever wrote: it is nobody's of those we know.
_CLAIMED: Final = ".mine"

_HOLDING: Final = {Effect.DECEASED: Hold.REPORTED_DEATH, Effect.PAUSE: Hold.COMPLAINT}

_POINT: Final = bindparam("point", type_=Id)
_PATIENTS: Final = bindparam("patients", type_=Id, expanding=True)

_LAST_WRITTEN: Final = (
    select(attempt.c.patient_id, func.max(attempt.c.claimed_at).label("at"))
    .where(
        attempt.c.contact_point_id == _POINT, MAY_HAVE_REACHED, attempt.c.claimed_at <= bindparam("by", type_=Instant)
    )
    .group_by(attempt.c.patient_id)
    .subquery()
)
_ATTACHED: Final = (
    select(patient_contact.c.patient_id, _LAST_WRITTEN.c.at)
    .outerjoin(_LAST_WRITTEN, _LAST_WRITTEN.c.patient_id == patient_contact.c.patient_id)
    .where(patient_contact.c.contact_point_id == _POINT, patient_contact.c.detached_at.is_(None))
    .order_by(_LAST_WRITTEN.c.at.desc().nulls_last(), patient_contact.c.rank, patient_contact.c.patient_id)
)
_DETACH: Final = (
    update(patient_contact)
    .where(
        patient_contact.c.contact_point_id == _POINT,
        patient_contact.c.patient_id.in_(_PATIENTS),
        patient_contact.c.detached_at.is_(None),
    )
    .values(detached_at=bindparam("now", type_=Instant))
)


class Reached:
    """The patients of a locked contact point, whom we had written to last by `at` first."""

    def __init__(self, conn: Connection, contact_point_id: int, at: datetime) -> None:
        rows = conn.execute(_ATTACHED, {"point": contact_point_id, "by": at}).all()
        self.everybody: tuple[int, ...] = tuple(row.patient_id for row in rows)
        is_known = len(rows) == 1 or any(row.at is not None for row in rows)
        self.addressee = self.everybody[0] if is_known else None
        """Whom a reply concerns that concerns one; None = nobody can tell."""

    @property
    def first(self) -> int | None:
        """The patient an answer speaks to: the addressee, else whoever comes first there."""
        return self.everybody[0] if self.everybody else None


def apply(
    conn: Connection,
    reply_id: int,
    organisation_id: int,
    contact_point_id: int,
    reached: Reached,
    found: Understood,
    at: datetime,
    now: datetime,
) -> bool:
    """Let what a reply of `at` says take effect on its patients; whether a person has to decide about it.

    The contact point and its patients are locked.
    """
    whys = [why for effect, why in _HOLDING.items() if effect in found.effects]
    concerned = () if reached.addressee is None else (reached.addressee,)
    is_claimed = found.intent is Intent.WRONG_NUMBER and (found.rule or "").endswith(_CLAIMED)
    is_unclear = False
    if Effect.WRONG_NUMBER in found.effects:
        gone = reached.everybody if is_claimed else concerned
        is_unclear = bool(reached.everybody) and not gone
        detach(conn, organisation_id, contact_point_id, gone, reply_id, at, now)
    if Effect.LEAVE_CAMPAIGN in found.effects:
        is_unclear = is_unclear or (bool(reached.everybody) and not concerned)
        _leave(conn, organisation_id, concerned, reply_id, at, now)
    whys += [Hold.UNCLEAR] * is_unclear
    for why in whys:
        holds.hold(conn, organisation_id, reached.everybody, why, reply_id, at, now)
    return bool(whys)


def detach(
    conn: Connection,
    organisation_id: int,
    contact_point_id: int,
    patient_ids: Sequence[int],
    reply_id: int,
    at: datetime,
    now: datetime,
    source: str = "reply",
) -> None:
    """These patients are not reached there any more; the next claim finds what is planned another way, or ends it.

    They and the contact point are locked. `source`: who says so, the `reply` itself or a `person` who read it.
    """
    if not patient_ids:
        return
    conn.execute(_DETACH, {"point": contact_point_id, "patients": patient_ids, "now": now})
    where = contact_point_id
    _remember(conn, organisation_id, patient_ids, "detached", reply_id, at, now, contact_point_id=where, source=source)


def _leave(
    conn: Connection, organisation_id: int, patient_ids: Sequence[int], reply_id: int, at: datetime, now: datetime
) -> None:
    if not patient_ids:
        return
    enrolments.leave(conn, patient_ids, now)
    _remember(conn, organisation_id, patient_ids, "left", reply_id, at, now)


def _remember(
    conn: Connection,
    organisation_id: int,
    patient_ids: Sequence[int],
    kind: str,
    reply_id: int,
    at: datetime,
    now: datetime,
    *,
    contact_point_id: int | None = None,
    source: str = "reply",
) -> None:
    fixed = {
        "organisation_id": organisation_id,
        "contact_point_id": contact_point_id,
        "kind": kind,
        "source": source,
        "reply_id": reply_id,
        "at": at,
        "recorded_at": now,
    }
    conn.execute(insert(choice_event), [{**fixed, "patient_id": each} for each in patient_ids])
