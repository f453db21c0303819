"""Last words: what the history of choices says that a contact point and its patients said last, and where.

Opt-outs from everything, and those limited to a contact system (`medium`), are asked about apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    String,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    union_all,
)

from domain.ledger.choice_history import IN_FORCE, OPTED_OUT, Subject, choice_event, suppression
from domain.ledger.columns import Id
from domain.ledger.patients import contact_point, patient_contact

_POINT: Final = bindparam("point", type_=Id)
_PATIENTS: Final = bindparam("patients", type_=Id, expanding=True)
#: The contact system that a stop is limited to; null = everything.
_MEDIUM: Final = bindparam("medium", type_=String)


def _stopped(*subject: ColumnElement[bool]) -> Select[Any]:
    return select(suppression.c.contact_point_id, suppression.c.patient_id, suppression.c.since).where(
        IN_FORCE, suppression.c.reason == bindparam("reason", type_=String), *subject
    )


# one index step for each side; with `or` between them both stores read every suppression there is
_STOPPED: Final = union_all(
    _stopped(suppression.c.contact_point_id == _POINT, suppression.c.channel.is_(None)),
    _stopped(suppression.c.patient_id.in_(_PATIENTS), suppression.c.channel.is_not_distinct_from(_MEDIUM)),
)


def _last_chosen(*subject: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            choice_event.c.contact_point_id,
            choice_event.c.patient_id,
            choice_event.c.kind,
            func.max(choice_event.c.at).label("at"),
        )
        .where(*subject, choice_event.c.kind.in_(("suppressed", "restored")), choice_event.c.reason.is_(None))
        .group_by(choice_event.c.contact_point_id, choice_event.c.patient_id, choice_event.c.kind)
    )


#: A START at a contact point takes back every stop there, so it has no channel.
_OF_MEDIUM: Final = choice_event.c.channel.is_not_distinct_from(_MEDIUM)
_LAST_CHOSEN: Final = union_all(
    _last_chosen(choice_event.c.contact_point_id == _POINT, or_(choice_event.c.kind == "restored", _OF_MEDIUM)),
    _last_chosen(choice_event.c.patient_id.in_(_PATIENTS), _OF_MEDIUM),
)
_stop, _start = choice_event.alias("stop"), choice_event.alias("start")


def _stands(channel: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether an opt-out of such a channel at the contact point of a suppression has seen no later START."""
    started = exists().where(
        _start.c.contact_point_id == _stop.c.contact_point_id,
        _start.c.kind == "restored",
        _start.c.reason.is_(None),
        _start.c.at > _stop.c.at,
    )
    return exists().where(
        _stop.c.contact_point_id == suppression.c.contact_point_id,
        _stop.c.kind == "suppressed",
        _stop.c.reason.is_(None),
        channel,
        ~started,
    )


#: What the history does not tell apart stops everything.
_STANDS: Final = case(
    (_MEDIUM.is_(None), or_(_stands(_stop.c.channel.is_(None)), ~_stands(_stop.c.channel.is_not(None)))),
    else_=_stands(_stop.c.channel == _MEDIUM),
)
_OUT_ELSEWHERE: Final = (
    select(patient_contact.c.patient_id)
    .join(suppression, suppression.c.contact_point_id == patient_contact.c.contact_point_id)
    .where(
        patient_contact.c.patient_id.in_(_PATIENTS),
        patient_contact.c.contact_point_id != _POINT,
        patient_contact.c.detached_at.is_(None),
        suppression.c.reason == OPTED_OUT,
        IN_FORCE,
        _STANDS,
    )
)
_STARTED: Final = (
    select(patient_contact.c.patient_id, func.max(choice_event.c.at))
    .join(choice_event, choice_event.c.contact_point_id == patient_contact.c.contact_point_id)
    .join(contact_point, contact_point.c.id == patient_contact.c.contact_point_id)
    .where(
        or_(_MEDIUM.is_(None), contact_point.c.system == _MEDIUM),
        patient_contact.c.patient_id.in_(_PATIENTS),
        patient_contact.c.detached_at.is_(None),
        choice_event.c.kind == "restored",
        choice_event.c.reason.is_(None),
    )
    .group_by(patient_contact.c.patient_id)
)


def last_starts(conn: Connection, patient_ids: Sequence[int], medium: str | None = None) -> dict[int, datetime]:
    """When each patient last said START at any contact point that is theirs (of this system); who never did misses."""
    return {row[0]: row[1] for row in conn.execute(_STARTED, {"patients": patient_ids, "medium": medium})}


def last_words(
    conn: Connection, contact_point_id: int, patient_ids: Sequence[int], medium: str | None = None
) -> dict[tuple[Subject, str], datetime]:
    """When each of these subjects last opted out (`suppressed`), and in (`restored`), by the dates of the choices.

    `medium`: of the opt-outs limited to this contact system; None = of those from everything.
    """
    rows = conn.execute(_LAST_CHOSEN, {"point": contact_point_id, "patients": patient_ids, "medium": medium})
    return {(_subject(row), row.kind): row.at for row in rows}


def suppressed_since(
    conn: Connection, contact_point_id: int, patient_ids: Sequence[int], reason: str, medium: str | None = None
) -> dict[Subject, datetime]:
    """Since when these subjects have a suppression for this reason in force; the others miss.

    The contact point's covers every channel; the patients' that of this contact system, or (None) everything.
    """
    asked = {"point": contact_point_id, "patients": patient_ids, "reason": reason, "medium": medium}
    rows = conn.execute(_STOPPED, asked)
    return {_subject(row): row.since for row in rows}


def opted_out_elsewhere(
    conn: Connection, contact_point_id: int, patient_ids: Sequence[int], medium: str | None = None
) -> set[int]:
    """Which of these patients have an opt-out in force at another contact point, of this system's or (None) of all."""
    return set(conn.scalars(_OUT_ELSEWHERE, {"point": contact_point_id, "patients": patient_ids, "medium": medium}))


def _subject(row: Row[*tuple[Any, ...]]) -> Subject:
    if row.contact_point_id is None:
        return "patient_id", row.patient_id
    return "contact_point_id", row.contact_point_id
