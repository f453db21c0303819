"""The inbox: what waits for a person. It lists references only; a text is opened one at a time, on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, case, select

from domain.ledger.attempts import attempt
from domain.ledger.heeding import patients_of
from domain.ledger.inbound import IS_HUMAN, IS_URGENT, reply
from domain.ledger.patients import patient
from domain.ledger.replies import open_body
from domain.ledger.vault import Vault
from domain.rules.vocabulary import Intent


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing to look at, without anything a bystander must not see."""

    kind: str
    """`reply`: a patient wrote something no rule understood. `attempt`: nobody knows whether a message was sent."""
    id: int
    since: datetime
    channel: str
    patients: tuple[str, ...]
    """Public references of the patients reached at that contact point."""
    intent: str | None
    urgent: bool = False
    """Somebody may be in danger: it comes before everything else."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One reply, to be read by the person who asked for it."""

    id: int
    received_at: datetime
    channel: str
    state: str
    intent: str | None
    language: str | None
    patients: tuple[str, ...]
    text: str = field(repr=False)


def inbox(conn: Connection, limit: int = 100) -> list[Waiting]:
    """What waits for a person: emergencies first, then the longest wait."""
    replies = conn.execute(
        select(reply.c.id, reply.c.received_at, reply.c.channel, reply.c.contact_point_id, reply.c.intent)
        .where(IS_HUMAN)
        .order_by(case((IS_URGENT, 0), else_=1), reply.c.received_at, reply.c.id)
        .limit(limit)
    ).all()
    known = patients_of(conn, {row.contact_point_id for row in replies})
    attempts = conn.execute(
        select(attempt.c.id, attempt.c.claimed_at, attempt.c.channel, patient.c.ref)
        .outerjoin(patient, patient.c.id == attempt.c.patient_id)
        .where(attempt.c.state == "uncertain", attempt.c.needs_person)
        .order_by(attempt.c.claimed_at, attempt.c.id)
        .limit(limit)
    ).all()
    found = [
        Waiting(
            "reply",
            row.id,
            row.received_at,
            row.channel,
            known.get(row.contact_point_id, ()),
            row.intent,
            row.intent == Intent.EMERGENCY,
        )
        for row in replies
    ]
    found += [
        Waiting("attempt", row.id, row.claimed_at, row.channel, (row.ref,) if row.ref else (), None) for row in attempts
    ]
    return sorted(found, key=lambda each: (not each.urgent, each.since, each.kind, each.id))[:limit]


def is_waiting_attempt(conn: Connection, attempt_id: int) -> bool:
    """Whether `attempt_id` is a send that waits for a person, whom its number may have led to the wrong command."""
    found = select(attempt.c.id).where(
        attempt.c.id == attempt_id, attempt.c.state == "uncertain", attempt.c.needs_person
    )
    return conn.scalar(found) is not None


def open_reply(conn: Connection, vault: Vault, reply_id: int) -> Opened | None:
    """One reply with its text, or None if there is no such reply.

    Raises:
        VaultError: its key is not configured.
    """
    row = conn.execute(select(reply).where(reply.c.id == reply_id)).one_or_none()
    if row is None:
        return None
    known = patients_of(conn, [row.contact_point_id]).get(row.contact_point_id, ())
    text = open_body(vault, row.body)
    return Opened(row.id, row.received_at, row.channel, row.state, row.intent, row.language, known, text)
