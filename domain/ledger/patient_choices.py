"""Choices about a patient as a whole, told to staff: everything stops, at whichever number, or may go on."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, String, bindparam, exists, func, or_, select

from domain.ledger import choices, enrolments, patients
from domain.ledger.choice_history import (
    OPTED_OUT,
    Note,
    Subject,
    choice_event,
    lift,
    remember,
    suppress,
    suppression,
)
from domain.ledger.columns import Id
from domain.ledger.last_words import last_starts
from domain.ledger.patients import patient_contact

_SOURCE: Final = "staff"
_PATIENT: Final = bindparam("patient", type_=Id)
_REASON: Final = bindparam("reason", type_=String)

_STOPPED: Final = select(suppression.c.channel, suppression.c.since).where(
    suppression.c.patient_id == _PATIENT, suppression.c.reason == _REASON, suppression.c.lifted_at.is_(None)
)
_LAST: Final = select(func.max(choice_event.c.at)).where(
    choice_event.c.patient_id == _PATIENT,
    choice_event.c.kind == bindparam("kind", type_=String),
    or_(choice_event.c.kind == "suppressed", choice_event.c.channel.is_(None)),
    func.coalesce(choice_event.c.reason, OPTED_OUT) == _REASON,
)
_OUT_AT_A_NUMBER: Final = select(
    exists().where(
        patient_contact.c.patient_id == _PATIENT,
        patient_contact.c.detached_at.is_(None),
        suppression.c.contact_point_id == patient_contact.c.contact_point_id,
        suppression.c.reason == OPTED_OUT,
        suppression.c.lifted_at.is_(None),
    )
)


def stop(conn: Connection, patient_id: int, reason: str, note: Note, at: datetime, now: datetime) -> bool:
    """Stop everything to this patient, at every contact point, for `reason`; others who share these stay as they are.

    A merged record's survivor is stopped. Live enrolments end and planned touches are revoked in the same transaction.

    Args:
        at: when it was chosen; one taken back since is kept as history and changes nothing. `now`: when we write it.

    Returns:
        Whether the patient was free of this until now.
    """
    who = patients.standing(conn, patient_id)
    subject: Subject = ("patient_id", who.id)
    stopped = _stopped(conn, who.id, reason)
    remember(conn, who.organisation_id, [subject], "suppressed", _SOURCE, None, at, now, reason, note)
    taken_back = _last_word_to_go_on(conn, who, reason)
    # who is stopped on calls and texts alone is not stopped yet
    if None in stopped or (taken_back is not None and at < taken_back):
        return False
    suppress(conn, who.organisation_id, [subject], reason, at)
    enrolments.stop_for_opt_out(conn, [who.id], now)
    choices.tell_opted_out(conn, [who.id], _SOURCE, at, now)
    return True


def go_on(conn: Connection, patient_id: int, reason: str, note: Note, at: datetime, now: datetime) -> bool:
    """Take back what stops this patient for `reason`; ended enrolments stay ended.

    It lifts nothing that was chosen at `at` or after, and no opt-out while one is in force at a contact point of
    theirs: that is taken back there.

    Returns:
        Whether the patient is free of it now.
    """
    who = patients.standing(conn, patient_id)
    subject: Subject = ("patient_id", who.id)
    stopped = _stopped(conn, who.id, reason)
    chosen = conn.scalar(_LAST, {"patient": who.id, "reason": reason, "kind": "suppressed"})
    is_out_elsewhere = reason == OPTED_OUT and bool(conn.scalar(_OUT_AT_A_NUMBER, {"patient": who.id}))
    is_overtaken = any(stop >= at for stop in (*stopped.values(), chosen) if stop is not None)
    if not is_out_elsewhere:
        remember(conn, who.organisation_id, [subject], "restored", _SOURCE, None, at, now, reason, note)
    if is_out_elsewhere or (stopped and is_overtaken):
        return False
    for channel in stopped:
        lift(conn, [subject], reason, at, channel)
    return True


def _stopped(conn: Connection, patient_id: int, reason: str) -> dict[str | None, datetime]:
    """Channel (None = every one) -> since when the patient is stopped on it for this reason."""
    rows = conn.execute(_STOPPED.order_by(suppression.c.since), {"patient": patient_id, "reason": reason})
    return {row.channel: row.since for row in rows}


def _last_word_to_go_on(conn: Connection, who: Row[Any], reason: str) -> datetime | None:
    told = [conn.scalar(_LAST, {"patient": who.id, "reason": reason, "kind": "restored"})]
    if reason == OPTED_OUT:
        told.append(last_starts(conn, [who.id]).get(who.id))
    return max((each for each in told if each is not None), default=None)
