"""The history of choices: everything patients chose, and the suppressions that are in force from it.

The history is append-only, and dated by when the patient chose, not by when we were told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    LargeBinary,
    Row,
    Select,
    String,
    Table,
    bindparam,
    exists,
    func,
    insert,
    select,
    union_all,
    update,
)

from domain.ledger.columns import Id, Instant, id_column, metadata, ref
from domain.ledger.patients import patient_contact

#: Append-only. `kind`: granted | revoked | suppressed | restored | bad_address | confidential | confidential_end, and
#: what a reply did beside a choice: held | released (`reason`: a Hold), detached (a patient from a contact point), left
#: (the campaign), deceased.
choice_event = Table(
    "choice_event",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("contact_point_id", "contact_point", nullable=True),
    ref("patient_id", "patient", nullable=True),
    Column("kind", String(16), nullable=False),
    #: Of the suppression it put in force, or lifted; null = opting out, or none.
    Column("reason", String(32)),
    Column("channel", String(16)),
    Column("purpose", String(32)),
    Column("source", String(64), nullable=False),
    ref("reply_id", "reply", nullable=True),
    Column("at", Instant, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    #: Who of the staff noted it, and why; sealed, for in free text people write names.
    Column("noted_by", String(256)),
    Column("why", LargeBinary),
)
Index("ix_choice_event_contact_point_id", choice_event.c.contact_point_id)
Index("ix_choice_event_patient_id", choice_event.c.patient_id)

#: Current state: a row in force stops every send it covers. `channel` null = every channel that reaches the subject.
suppression = Table(
    "suppression",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("contact_point_id", "contact_point", nullable=True),
    ref("patient_id", "patient", nullable=True),
    Column("channel", String(16)),
    Column("reason", String(32), nullable=False),
    #: When the choice that put it in force was made; choices made again meanwhile are in the history only.
    Column("since", Instant, nullable=False),
    Column("lifted_at", Instant),
)
#: Not lifted; as the partial indexes have it.
IN_FORCE: Final = suppression.c.lifted_at.is_(None)
Index(
    "ix_suppression_contact_point_id",
    suppression.c.contact_point_id,
    sqlite_where=IN_FORCE,
    postgresql_where=IN_FORCE,
)
Index("ix_suppression_patient_id", suppression.c.patient_id, sqlite_where=IN_FORCE, postgresql_where=IN_FORCE)

#: The patient said so, by whatever route; START lifts it.
OPTED_OUT: Final = "opt_out"
#: A person confirmed it: it stays, whatever a source of records says later.
CONFIRMED_DEATH: Final = "deceased"

#: Staff were told, or decided, that nobody is to contact the patient; no START lifts it.
DO_NOT_CONTACT: Final = "do_not_contact"

#: Context of the sealed reason (see `Vault.seal`).
WHY: Final = "choice_event.why"

#: The column that names it, and its id.
Subject = tuple[str, int]

_POINT: Final = bindparam("point", type_=Id)
_PATIENTS: Final = bindparam("patients", type_=Id, expanding=True)


@dataclass(frozen=True, slots=True)
class Note:
    """Who of the staff wrote a choice down, and why (sealed, context `WHY`)."""

    by: str
    why: bytes = field(repr=False)

    def columns(self) -> dict[str, Any]:
        """As the history stores it."""
        return {"noted_by": self.by, "why": self.why}


def _stopped(subject: ColumnElement[bool]) -> Select[Any]:
    return select(suppression.c.contact_point_id, suppression.c.patient_id, suppression.c.since).where(
        IN_FORCE,
        subject,
        suppression.c.reason == bindparam("reason", type_=String),
        suppression.c.channel.is_(None),
    )


# one index step for each side; with `or` between them both stores read every suppression there is
_STOPPED: Final = union_all(
    _stopped(suppression.c.contact_point_id == _POINT), _stopped(suppression.c.patient_id.in_(_PATIENTS))
)


def _last_chosen(subject: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            choice_event.c.contact_point_id,
            choice_event.c.patient_id,
            choice_event.c.kind,
            func.max(choice_event.c.at).label("at"),
        )
        .where(subject, choice_event.c.kind.in_(("suppressed", "restored")), choice_event.c.reason.is_(None))
        .group_by(choice_event.c.contact_point_id, choice_event.c.patient_id, choice_event.c.kind)
    )


_LAST_CHOSEN: Final = union_all(
    _last_chosen(choice_event.c.contact_point_id == _POINT), _last_chosen(choice_event.c.patient_id.in_(_PATIENTS))
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
    )
)
_STARTED: Final = (
    select(patient_contact.c.patient_id, func.max(choice_event.c.at))
    .join(choice_event, choice_event.c.contact_point_id == patient_contact.c.contact_point_id)
    .where(
        patient_contact.c.patient_id.in_(_PATIENTS),
        patient_contact.c.detached_at.is_(None),
        choice_event.c.kind == "restored",
        choice_event.c.reason.is_(None),
    )
    .group_by(patient_contact.c.patient_id)
)
_IS_KNOWN: Final = select(
    exists().where(
        choice_event.c.contact_point_id == _POINT,
        choice_event.c.kind == "suppressed",
        func.coalesce(choice_event.c.reason, OPTED_OUT) == bindparam("reason", type_=String),
        choice_event.c.source == bindparam("source", type_=String),
        choice_event.c.at == bindparam("at", type_=Instant),
    )
)
_REMEMBER: Final = insert(choice_event)
_SUPPRESS: Final = insert(suppression)


def is_known(conn: Connection, contact_point_id: int, source: str, at: datetime, reason: str = OPTED_OUT) -> bool:
    """Whether a stop made at this very instant, told by this source, is in the contact point's history."""
    values = {"point": contact_point_id, "reason": reason, "source": source, "at": at}
    return bool(conn.scalar(_IS_KNOWN, values))


def last_starts(conn: Connection, patient_ids: Sequence[int]) -> dict[int, datetime]:
    """When each patient last said START at any contact point that is theirs; those who never did miss."""
    return {row[0]: row[1] for row in conn.execute(_STARTED, {"patients": patient_ids})}


def last_words(
    conn: Connection, contact_point_id: int, patient_ids: Sequence[int]
) -> dict[tuple[Subject, str], datetime]:
    """When each of these subjects last opted out (`suppressed`), and in (`restored`), by the dates of the choices."""
    rows = conn.execute(_LAST_CHOSEN, {"point": contact_point_id, "patients": patient_ids})
    return {(_subject(row), row.kind): row.at for row in rows}


def suppressed_since(
    conn: Connection, contact_point_id: int, patient_ids: Sequence[int], reason: str
) -> dict[Subject, datetime]:
    """Since when these subjects have a suppression for this reason in force, on every channel; the others miss."""
    rows = conn.execute(_STOPPED, {"point": contact_point_id, "patients": patient_ids, "reason": reason})
    return {_subject(row): row.since for row in rows}


def opted_out_elsewhere(conn: Connection, contact_point_id: int, patient_ids: Sequence[int]) -> set[int]:
    """Which of these patients have an opt-out in force at another contact point of theirs."""
    return set(conn.scalars(_OUT_ELSEWHERE, {"point": contact_point_id, "patients": patient_ids}))


def remember(
    conn: Connection,
    organisation_id: int,
    subjects: Sequence[Subject],
    kind: str,
    source: str,
    reply_id: int | None,
    at: datetime,
    now: datetime,
    reason: str = OPTED_OUT,
    note: Note | None = None,
) -> None:
    """Append a choice made at `at` and written at `now`, once for each subject."""
    if not subjects:
        return
    fixed = {
        "organisation_id": organisation_id,
        "kind": kind,
        "reason": None if reason == OPTED_OUT else reason,
        "source": source,
        "reply_id": reply_id,
        **(note.columns() if note else {}),
    }
    conn.execute(
        _REMEMBER,
        [
            {"contact_point_id": None, "patient_id": None, column: number} | fixed | {"at": at, "recorded_at": now}
            for column, number in subjects
        ],
    )


def suppress(conn: Connection, organisation_id: int, subjects: Sequence[Subject], reason: str, since: datetime) -> None:
    """Put a suppression on every channel in force for each subject; call it for those that have none."""
    if not subjects:
        return
    fixed = {"organisation_id": organisation_id, "reason": reason, "since": since}
    rows = [{"contact_point_id": None, "patient_id": None, column: number} | fixed for column, number in subjects]
    conn.execute(_SUPPRESS, rows)


def lift(conn: Connection, subjects: Sequence[Subject], reason: str, at: datetime) -> None:
    """Put an end, as of `at`, to the suppressions on every channel in force for these subjects and this reason."""
    for column, number in subjects:
        conn.execute(
            update(suppression)
            .where(
                IN_FORCE,
                suppression.c[column] == number,
                suppression.c.reason == reason,
                suppression.c.channel.is_(None),
            )
            .values(lifted_at=at)
        )


def _subject(row: Row[*tuple[Any, ...]]) -> Subject:
    if row.contact_point_id is None:
        return "patient_id", row.patient_id
    return "contact_point_id", row.contact_point_id
