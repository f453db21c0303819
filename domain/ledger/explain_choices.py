"""Explaining choices: what a patient and others at their contact points chose and wrote, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.inbound import reply
from domain.ledger.timeline import Entry
from domain.rules.reasons import sentence

AnyRow = Row[*tuple[Any, ...]]

_CHOICES = {
    "suppressed": "opted out of",
    "restored": "opted back in to",
    "revoked": "revoked consent for",
    "granted": "gave consent for",
    "bad_address": "found not to work:",
    "confidential": "asked to be reached at contact point {point} and nowhere else",
    "confidential_end": "no longer asked for contact point {point} alone",
    "detached": "detached from contact point {point}: the number is not theirs",
    "left": "left the campaign",
    "held": "held until a person has looked: {why}",
    "released": "no longer held by this: {why}",
    "deceased": "confirmed as deceased",
}
#: Those that are of a channel.
_OF_CHANNELS = ("suppressed", "restored", "revoked", "granted")


def choices(conn: Connection, patient_id: int, points: Mapping[int, AnyRow]) -> Iterator[Entry]:
    """What was chosen, and what a reply or a person changed beside that."""
    rows = conn.execute(
        select(choice_event, reply.c.rule)
        .outerjoin(reply, reply.c.id == choice_event.c.reply_id)
        # what concerns a housemate at the same number is theirs
        .where(
            _concerns(choice_event, patient_id, points),
            func.coalesce(choice_event.c.patient_id, patient_id) == patient_id,
        )
        .order_by(choice_event.c.id)
    )
    for row in rows:
        why = sentence(row.reason) if row.kind in ("held", "released") else row.reason
        what = _CHOICES.get(row.kind, row.kind).format(point=row.contact_point_id, why=why)
        if row.kind in _OF_CHANNELS:
            what = f"{what} {_channel(row.channel)}{f' ({row.reason})' if row.reason else ''}"
        told_by = row.source if row.reply_id is None else f"{row.source} {row.reply_id}"
        if row.source == "person":
            told_by = f"a person, about reply {row.reply_id}"
        rule = f", rule {row.rule}" if row.rule and row.source == "reply" else ""
        subject = "patient" if row.patient_id is not None else f"contact point {row.contact_point_id}"
        yield Entry(row.at, subject, f"{what} (told by {told_by}{rule})".replace(": (", " ("))


def replies(conn: Connection, points: Mapping[int, AnyRow]) -> Iterator[Entry]:
    """What came from the patient's contact points, and how it was understood."""
    rows: Sequence[AnyRow] = conn.execute(
        select(reply.c.id, reply.c.received_at, reply.c.channel, reply.c.intent, reply.c.state, reply.c.rule)
        .where(reply.c.contact_point_id.in_(list(points)))
        .order_by(reply.c.id)
    ).all()
    for row in rows:
        understood = row.intent or "not understood yet"
        rule = f" (rule {row.rule})" if row.rule else ""
        waiting = "; waits for a person" if row.state == "human" else ""
        yield Entry(row.received_at, f"reply {row.id} ({row.channel})", f"{understood}{rule}{waiting}")


def suppressions(conn: Connection, patient_id: int, points: Mapping[int, AnyRow]) -> Iterator[str]:
    """What is in force for the patient and their contact points."""
    stops = conn.execute(
        select(suppression.c.reason, suppression.c.contact_point_id, suppression.c.channel)
        .where(suppression.c.lifted_at.is_(None), _concerns(suppression, patient_id, points))
        .order_by(suppression.c.id)
    )
    for stop in stops:
        whom = "the patient" if stop.contact_point_id is None else f"contact point {stop.contact_point_id}"
        yield f"suppressed: {whom}, {_channel(stop.channel)} ({stop.reason})"


def _channel(channel: str | None) -> str:
    return {None: "every channel", "phone": "calls and texts"}.get(channel, str(channel))


def _concerns(table: Any, patient_id: int, points: Mapping[int, AnyRow]) -> Any:
    return or_(table.c.patient_id == patient_id, table.c.contact_point_id.in_(list(points)))
