"""Holds: which patients get no outreach until a person has looked at a reply, and when that ends.

A hold is a suppression with a reason of its own, so that it covers every channel and follows a merge. It is nobody's
choice: START does not lift it. The history says which reply put it there (`held`), and when a person ended it
(`released`); its `reason` says why.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, String, bindparam, insert, or_, select, update

from domain.ledger.among import among
from domain.ledger.choice_history import IN_FORCE, choice_event, suppression
from domain.ledger.columns import Id, Instant
from domain.ledger.inbound import reply
from domain.ledger.patients import patient
from domain.ledger.touches import IS_PLANNED, touch
from domain.rules.vocabulary import Hold

REASONS: Final = tuple(each.value for each in Hold)

_REPLY: Final = bindparam("reply", type_=Id)
_REASON: Final = bindparam("why", type_=String)
_RANK: Final = {reason: rank for rank, reason in enumerate(REASONS)}

_HELD: Final = select(suppression.c.patient_id, suppression.c.reason).where(
    IN_FORCE, among(suppression.c.patient_id, "patients"), suppression.c.reason.in_(REASONS)
)
_event = choice_event.c
#: Those held by a reply, and whom they were merged into since: the hold went with them.
_BY_REPLY: Final = (
    select(_event.patient_id, patient.c.merged_into_id, _event.reason)
    .join(patient, patient.c.id == _event.patient_id)
    .where(_event.reply_id == _REPLY, _event.kind == "held")
    .order_by(_event.patient_id)
)
_other = choice_event.alias("other")
#: Patients whom another reply, that nobody has looked at, holds for the same reason; and whom they were merged into.
_HELD_BY_OTHERS: Final = (
    select(_other.c.patient_id, patient.c.merged_into_id)
    .join(reply, reply.c.id == _other.c.reply_id)
    .join(patient, patient.c.id == _other.c.patient_id)
    .where(
        or_(among(_other.c.patient_id, "patients"), among(patient.c.merged_into_id, "patients")),
        _other.c.kind == "held",
        _other.c.reason == _REASON,
        reply.c.id != _REPLY,
        reply.c.state == "human",
    )
)
_RELEASE: Final = (
    update(suppression)
    .where(IN_FORCE, among(suppression.c.patient_id, "patients"), suppression.c.reason == _REASON)
    .values(lifted_at=bindparam("now", type_=Instant))
    .returning(suppression.c.patient_id, suppression.c.organisation_id)
)
_WAKE: Final = (
    update(touch)
    .where(among(touch.c.patient_id, "patients"), IS_PLANNED, touch.c.reason == _REASON)
    .values(due_at=bindparam("now", type_=Instant))
)


def hold(
    conn: Connection,
    organisation_id: int,
    patient_ids: Collection[int],
    why: Hold,
    reply_id: int,
    at: datetime,
    now: datetime,
) -> None:
    """Hold all outreach to these patients, whom the caller has locked, because of a reply of `at`."""
    stopped = {row.patient_id for row in conn.execute(_HELD, {"patients": sorted(patient_ids)}) if row.reason == why}
    fixed = {"organisation_id": organisation_id}
    events = [
        fixed
        | {"patient_id": each, "kind": "held", "reason": why.value, "source": "reply"}
        | {"reply_id": reply_id, "at": at, "recorded_at": now}
        for each in sorted(patient_ids)
    ]
    fresh = [
        fixed | {"patient_id": each, "reason": why.value, "since": at} for each in sorted(set(patient_ids) - stopped)
    ]
    if events:
        conn.execute(insert(choice_event), events)
    if fresh:
        conn.execute(insert(suppression), fresh)


def held(conn: Connection, patient_ids: Collection[int]) -> dict[int, str]:
    """Why each of these patients is held, the gravest reason; those who are not are left out."""
    found: dict[int, str] = {}
    for patient_id, reason in conn.execute(_HELD, {"patients": sorted(patient_ids)}):
        if patient_id not in found or _RANK[reason] < _RANK[found[patient_id]]:
            found[patient_id] = reason
    return found


def by_reply(conn: Connection, reply_id: int) -> dict[str, tuple[int, ...]]:
    """Reason -> the patients that this reply held for it, those they were merged into included; released or not."""
    found: dict[str, set[int]] = {}
    for patient_id, merged_into_id, reason in conn.execute(_BY_REPLY, {"reply": reply_id}):
        found.setdefault(reason, set()).update({patient_id, merged_into_id} - {None})
    return {reason: tuple(sorted(ids)) for reason, ids in found.items()}


def release(conn: Connection, reply_id: int, whys: Sequence[Hold], now: datetime) -> None:
    """End what this reply held for these reasons, and wake what waited for it. Call it with the patients locked.

    A patient whom another reply holds for the same reason, which nobody has looked at yet, stays held; so does one
    into whom such a patient was merged.
    """
    theirs = by_reply(conn, reply_id)
    for why in whys:
        ids = theirs.get(why.value, ())
        asked = {"patients": ids, "why": why.value, "reply": reply_id}
        held_by_others = {id_ for row in conn.execute(_HELD_BY_OTHERS, asked) for id_ in row}
        free = sorted(set(ids) - held_by_others)
        released = conn.execute(_RELEASE, {"patients": free, "why": why.value, "now": now}).all()
        if released:
            conn.execute(
                insert(choice_event),
                [
                    {"organisation_id": row.organisation_id, "patient_id": row.patient_id, "kind": "released"}
                    | {"reason": why.value, "source": "person", "reply_id": reply_id, "at": now, "recorded_at": now}
                    for row in released
                ],
            )
            conn.execute(_WAKE, {"patients": free, "why": why.value, "now": now})
