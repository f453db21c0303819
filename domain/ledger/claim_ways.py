"""Ways round: the channel that a touch takes instead where its own does not reach the patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection

from domain.ledger.claim_facts import Contacts
from domain.ledger.claim_rows import AnyRow
from domain.ledger.claim_texts import read_texts
from domain.rules import terms
from domain.rules.cadence import other_channels
from domain.rules.steps import PHONE
from domain.rules.vocabulary import TouchKind


def ways_round(
    conn: Connection, rows: Sequence[AnyRow], contacts: Contacts, channel: str, now: datetime
) -> dict[int, str]:
    """The channel for each touch that `channel` does not take to its patient; without any, it is left out.

    It is the first in the order of the campaign that reaches the patient and has words that two people released. What a
    campaign does not list is none of its ways, and a person's time is spent where it says so, not where a text cannot
    go.
    """
    wanted = {row.id: list(_wanted(row, contacts, channel)) for row in rows if contacts.of(row) is None}
    sayable = {
        (id_, other)
        for other in sorted({each for theirs in wanted.values() for each in theirs})
        for id_, text in read_texts(conn, [row for row in rows if other in wanted.get(row.id, ())], other, now).items()
        if text.hold is None
    }
    first = {id_: next((each for each in theirs if (id_, each) in sayable), None) for id_, theirs in wanted.items()}
    return {id_: other for id_, other in first.items() if other is not None}


def _wanted(row: AnyRow, contacts: Contacts, channel: str) -> Iterator[str]:
    """The other channels that reach the patient, in the order of the campaign."""
    reachable = contacts.channels.get(row.patient_id, set()) - {channel, PHONE}
    plan = terms.from_text(row.terms).cadence
    if row.kind == TouchKind.ANSWER or not reachable:
        return
    if plan is None:
        yield from sorted(reachable)
    else:
        # reminders come after the steps, which have channels of their own
        yield from other_channels(plan, row.step, reachable=reachable, preferred=row.preferred_channel)
