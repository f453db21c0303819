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
    Connection,
    Index,
    LargeBinary,
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

#: Current state: a row in force stops every send it covers. `channel` null = every channel that reaches the subject; a
#: contact system (`phone`, `email`) = every channel that reaches contact points of that system.
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


@dataclass(frozen=True, slots=True)
class Note:
    """Who of the staff wrote a choice down, and why (sealed, context `WHY`)."""

    by: str
    why: bytes = field(repr=False)

    def columns(self) -> dict[str, Any]:
        """As the history stores it."""
        return {"noted_by": self.by, "why": self.why}


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
    channel: str | None = None,
) -> None:
    """Append a choice made at `at` and written at `now`, once for each subject."""
    if not subjects:
        return
    fixed = {
        "organisation_id": organisation_id,
        "kind": kind,
        "reason": None if reason == OPTED_OUT else reason,
        "channel": channel,
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


def suppress(
    conn: Connection,
    organisation_id: int,
    subjects: Sequence[Subject],
    reason: str,
    since: datetime,
    channel: str | None = None,
) -> None:
    """Put a suppression in force for each subject, by default on every channel; call it for those that have none."""
    if not subjects:
        return
    fixed = {"organisation_id": organisation_id, "channel": channel, "reason": reason, "since": since}
    rows = [{"contact_point_id": None, "patient_id": None, column: number} | fixed for column, number in subjects]
    conn.execute(_SUPPRESS, rows)


def in_force(conn: Connection, subjects: Sequence[Subject], reason: str) -> dict[int, str | None]:
    """Id -> channel (None = every one) of each suppression in force for one of these subjects and this reason."""
    # one index step for each subject; with `or` between them both stores read every suppression there is
    found = union_all(
        *(
            select(suppression.c.id, suppression.c.channel).where(
                IN_FORCE, suppression.c.reason == reason, suppression.c[column] == number
            )
            for column, number in subjects
        )
    )
    return {row.id: row.channel for row in conn.execute(found)}


def lift(conn: Connection, subjects: Sequence[Subject], reason: str, at: datetime, channel: str | None = None) -> None:
    """Put an end, as of `at`, to the suppressions of this reach in force for these subjects and this reason."""
    for column, number in subjects:
        conn.execute(
            update(suppression)
            .where(
                IN_FORCE,
                suppression.c[column] == number,
                suppression.c.reason == reason,
                suppression.c.channel.is_not_distinct_from(channel),
            )
            .values(lifted_at=at)
        )
