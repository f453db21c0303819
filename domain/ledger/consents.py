"""Consent per contact point and channel, as told by other systems: the newest choice counts, every choice is kept."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Connection, String, Table, UniqueConstraint, and_, insert, or_

from domain.ledger import choices, store
from domain.ledger.choice_history import Note, choice_event
from domain.ledger.columns import Instant, id_column, metadata, ref

#: Current state of consent; absence means the organisation's default for that channel.
consent = Table(
    "consent",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("contact_point_id", "contact_point"),
    Column("channel", String(16), nullable=False),
    Column("purpose", String(32), nullable=False, default="outreach"),
    Column("status", String(16), nullable=False),
    Column("since", Instant, nullable=False),
    UniqueConstraint("contact_point_id", "channel", "purpose"),
)


def record(
    conn: Connection,
    *,
    organisation_id: int,
    contact_point_id: int,
    channel: str,
    purpose: str,
    is_granted: bool,
    source: str,
    at: datetime,
    now: datetime,
    note: Note | None = None,
) -> bool:
    """Note a choice made at `at`; one older than what is stored is kept as history and changes nothing.

    Of a grant and a revocation made at the same instant the revocation counts, in whichever order they are told.

    Returns:
        Whether it is the newest there is.
    """
    choices.lock(conn, [contact_point_id])
    status = "granted" if is_granted else "revoked"
    statement = store.insert(conn, consent).values(
        organisation_id=organisation_id,
        contact_point_id=contact_point_id,
        channel=channel,
        purpose=purpose,
        status=status,
        since=at,
    )
    written = conn.execute(
        statement.on_conflict_do_update(
            index_elements=["contact_point_id", "channel", "purpose"],
            set_={"status": statement.excluded.status, "since": statement.excluded.since},
            where=or_(
                consent.c.since < statement.excluded.since,
                and_(consent.c.since == statement.excluded.since, statement.excluded.status == "revoked"),
            ),
        )
    )
    conn.execute(
        insert(choice_event).values(
            organisation_id=organisation_id,
            contact_point_id=contact_point_id,
            kind=status,
            channel=channel,
            purpose=purpose,
            source=source,
            at=at,
            recorded_at=now,
            **(note.columns() if note else {}),
        )
    )
    return written.rowcount > 0
