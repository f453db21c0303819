"""Whose choice it is: the patient, number or address that a command about choices names, found in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from channels.kit.discovery import discover
from domain.ledger import senders
from domain.ledger.organisations import organisation as organisations
from domain.ledger.patients import contact_point, patient_contact
from domain.rules.identity import Email, Phone
from ops.assembly import Parts
from ops.cli.base import fail
from ops.cli.desk import existing, references_given


def one(references: tuple[str, ...]) -> str:
    found = references_given(references)
    if not found:
        fail("name the PATIENT; `reactivate find --phone`, `--email` and `--mrn` find the reference")
    return found[0]


def point_of(conn: Connection, parts: Parts, owner: int, value: Phone | Email) -> int:
    """The contact point of a number or address; a stranger's is made: it may be imported tomorrow."""
    system, text = ("phone", value.e164) if isinstance(value, Phone) else ("email", value.address)
    sender = senders.known_as(system, text)
    if sender is None:
        fail(f"--{system}: it cannot be used for messages")
    return senders.meet(conn, parts.vault, owner, sender)


def organisation_of(conn: Connection, ref: str) -> int:
    return owner(conn, existing(conn, ref).organisation)


def owner(conn: Connection, key: str | None) -> int:
    found = {row.key: int(row.id) for row in conn.execute(select(organisations.c.key, organisations.c.id))}
    if not found:
        fail("there is no organisation yet: import one first")
    if key is None and len(found) > 1:
        fail(f"--organisation: there are several ({', '.join(sorted(found))}), name one")
    if key is not None and key not in found:
        fail(f"--organisation: none has this key (there are: {', '.join(sorted(found))})")
    return found[key] if key is not None else next(iter(found.values()))


def reached_by(conn: Connection, ref: str, channel: str) -> tuple[int, Sequence[int]]:
    """The patient's organisation, and their contact points that this channel may use."""
    who = existing(conn, ref)
    if who.merged_into is not None:
        who = existing(conn, who.merged_into)
    system = discover()[channel].contact_system
    points = conn.scalars(
        select(contact_point.c.id)
        .join(patient_contact, patient_contact.c.contact_point_id == contact_point.c.id)
        .where(
            patient_contact.c.patient_id == who.id,
            patient_contact.c.detached_at.is_(None),
            contact_point.c.system == system,
        )
        .order_by(contact_point.c.id)
    ).all()
    if not points:
        fail(f"the patient has no {system} for {channel}")
    return organisation_of(conn, ref), points
