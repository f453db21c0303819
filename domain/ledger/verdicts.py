"""Verdicts: what a person decides about a reply that waits: seen to, a death or wrong number confirmed, a hold lifted.

A reported death is never settled in passing: whoever closes such a reply says whether, and of whom, it is true.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, String, bindparam, insert, select, update

from domain.ledger import choices, effects, following, holds, lapses, patients
from domain.ledger.choice_history import CONFIRMED_DEATH, choice_event, suppress
from domain.ledger.columns import Id, Instant
from domain.ledger.inbound import reply
from domain.ledger.patients import patient, patient_contact
from domain.rules.vocabulary import Hold

_REPLY: Final = select(reply.c.organisation_id, reply.c.contact_point_id, reply.c.state).where(
    reply.c.id == bindparam("reply", type_=Id)
)
_THERE: Final = select(patient_contact.c.patient_id).where(
    patient_contact.c.contact_point_id == bindparam("point", type_=Id), patient_contact.c.detached_at.is_(None)
)
_HELD: Final = (
    select(patient.c.id, patient.c.ref)
    .where(patient.c.id.in_(bindparam("ids", type_=Id, expanding=True)), patient.c.merged_into_id.is_(None))
    .order_by(patient.c.id)
)
_DEAD: Final = (
    update(patient)
    .where(patient.c.id.in_(bindparam("ids", type_=Id, expanding=True)), patient.c.deceased_at.is_(None))
    .values(deceased_at=bindparam("now", type_=Instant))
)
_CLOSE: Final = (
    update(reply)
    .where(reply.c.id == bindparam("reply", type_=Id), reply.c.state == "human")
    .values(state="closed", handled_at=bindparam("now", type_=Instant))
)
_ALREADY: Final = select(choice_event.c.patient_id).where(
    choice_event.c.patient_id.in_(bindparam("ids", type_=Id, expanding=True)),
    choice_event.c.kind == bindparam("kind", type_=String),
)


class VerdictError(Exception):
    """The decision does not fit the reply; the message says why and names what does."""


def close(conn: Connection, reply_id: int, now: datetime) -> bool:
    """A person dealt with this reply: what it paused goes on. Whether it was waiting for one.

    Raises:
        VerdictError: it reports a death, which has to be confirmed or lifted.
    """
    row = _locked(conn, reply_id)
    if row is None:
        return False
    _refuse_death(conn, reply_id)
    return _close(conn, reply_id, (Hold.COMPLAINT, Hold.UNCLEAR), now)


def confirm_death(conn: Connection, reply_id: int, refs: Collection[str], now: datetime) -> list[str]:
    """The patients of these references have died; the others whom the reply held are let go. References confirmed.

    Without references the only patient held is meant.

    Raises:
        VerdictError: it does not wait, holds nobody, not these, or several of whom none was named.
    """
    row, known = _reported(conn, reply_id)
    wanted = {ref.strip().upper() for ref in refs} or (set(known) if len(known) == 1 else set())
    if not wanted or not wanted <= set(known):
        raise VerdictError(f"reply {reply_id}: name who has died, of {', '.join(known)}")
    dead = [known[ref] for ref in known if ref in wanted]
    conn.execute(_DEAD, {"ids": dead, "now": now})
    fresh = sorted(set(dead) - set(conn.scalars(_ALREADY, {"ids": dead, "kind": CONFIRMED_DEATH})))
    if fresh:
        fixed = {
            "organisation_id": row.organisation_id,
            "kind": CONFIRMED_DEATH,
            "reason": CONFIRMED_DEATH,
            "source": "person",
            "reply_id": reply_id,
        }
        conn.execute(
            insert(choice_event), [{**fixed, "patient_id": id_, "at": now, "recorded_at": now} for id_ in fresh]
        )
        suppress(conn, row.organisation_id, [("patient_id", id_) for id_ in fresh], CONFIRMED_DEATH, now)
    following.follow_appointments(conn, dead, now)
    lapses.close_untrue(conn, dead, now)
    _close(conn, reply_id, tuple(Hold), now)
    return [ref for ref in known if ref in wanted]


def lift(conn: Connection, reply_id: int, now: datetime) -> list[str]:
    """Nobody has died: whom the reply held is let go. References of those whom nothing else holds for a death.

    Raises:
        VerdictError: it does not wait, or holds nobody.
    """
    _, known = _reported(conn, reply_id)
    _close(conn, reply_id, tuple(Hold), now)
    still = holds.held(conn, list(known.values()))
    return [ref for ref, id_ in known.items() if still.get(id_) != Hold.REPORTED_DEATH.value]


def wrong_number(conn: Connection, reply_id: int, refs: Collection[str], now: datetime) -> list[str]:
    """The number of this reply is not of these patients: it is detached from them, and from nobody else.

    The reply is closed, and whom it held is let go. References of those concerned.

    Raises:
        VerdictError: it does not wait, leaves nothing open about whose the number is, or not about these.
    """
    row = _locked(conn, reply_id)
    if row is None:
        raise VerdictError(f"reply {reply_id} does not wait for anybody")
    known = _known(conn, holds.by_reply(conn, reply_id).get(Hold.UNCLEAR.value, ()))
    if not known:
        raise VerdictError(
            f"reply {reply_id} leaves nothing open about whose the number is: `reactivate inbox close {reply_id}`"
        )
    _refuse_death(conn, reply_id)
    wanted = {ref.strip().upper() for ref in refs}
    if not wanted or not wanted <= set(known):
        raise VerdictError(f"reply {reply_id}: name whose the number is not, of {', '.join(known)}")
    gone = [known[ref] for ref in known if ref in wanted]
    effects.detach(conn, row.organisation_id, row.contact_point_id, gone, reply_id, now, now, source="person")
    _close(conn, reply_id, (Hold.COMPLAINT, Hold.UNCLEAR), now)
    return [ref for ref in known if ref in wanted]


def _locked(conn: Connection, reply_id: int) -> Row[*tuple[Any, ...]] | None:
    """The reply, once its contact point and everybody it held are locked; None where it does not wait."""
    row = conn.execute(_REPLY, {"reply": reply_id}).one_or_none()
    if row is None or row.state != "human":
        return None
    held = {id_ for ids in holds.by_reply(conn, reply_id).values() for id_ in ids}
    there = set() if row.contact_point_id is None else set(conn.scalars(_THERE, {"point": row.contact_point_id}))
    patients.lock(conn, sorted(held | there))
    if row.contact_point_id is not None:
        choices.lock(conn, [row.contact_point_id])
    again = conn.execute(_REPLY, {"reply": reply_id}).one()
    return again if again.state == "human" else None


def _reported(conn: Connection, reply_id: int) -> tuple[Row[*tuple[Any, ...]], dict[str, int]]:
    row = _locked(conn, reply_id)
    if row is None:
        raise VerdictError(f"reply {reply_id} does not wait for anybody")
    ids = holds.by_reply(conn, reply_id).get(Hold.REPORTED_DEATH.value, ())
    known = _known(conn, ids)
    if not known:
        raise VerdictError(f"reply {reply_id} holds nobody for a reported death: `reactivate inbox close {reply_id}`")
    return row, known


def _known(conn: Connection, patient_ids: Collection[int]) -> dict[str, int]:
    return {each.ref: each.id for each in conn.execute(_HELD, {"ids": list(patient_ids)})}


def _refuse_death(conn: Connection, reply_id: int) -> None:
    if holds.held(conn, holds.by_reply(conn, reply_id).get(Hold.REPORTED_DEATH.value, ())):
        raise VerdictError(
            f"reply {reply_id} reports a death: `reactivate inbox deceased {reply_id}` confirms it, "
            f"`reactivate inbox lift {reply_id}` lets outreach go on"
        )


def _close(conn: Connection, reply_id: int, whys: Sequence[Hold], now: datetime) -> bool:
    holds.release(conn, reply_id, whys, now)
    return conn.execute(_CLOSE, {"reply": reply_id, "now": now}).rowcount > 0
