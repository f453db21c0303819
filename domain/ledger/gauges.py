"""Gauges: how much waits in the ledger and since when; each figure comes from a partial index, not from history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from domain.ledger.attempts import IS_UNCERTAIN, attempt
from domain.ledger.columns import Instant
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import IS_HUMAN, IS_URGENT, receipt, reply
from domain.ledger.lapses import lapse
from domain.ledger.outbox import outbox
from domain.ledger.outcomes import outcome
from domain.ledger.quarantine import quarantine
from domain.ledger.touches import IS_PLANNED, touch


@dataclass(frozen=True, slots=True)
class Waiting:
    """So many rows, the oldest of which has waited `seconds`."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a glance at the ledger tells."""

    due: Mapping[str, Waiting]
    """Planned touches whose instant has come, by channel; a channel with none is absent."""
    outbox: Waiting
    inbox: Waiting
    urgent: Waiting
    """Of the inbox: the emergencies."""
    backlog: Mapping[str, Waiting]
    """Rows no worker has handled: `reply`, `receipt`, `lapse`."""
    uncertain: Waiting
    """Attempts of which nobody knows whether the provider took them, since the oldest was claimed."""
    needs_person: int
    quarantine_held: int


def read(conn: Connection, now: datetime) -> Gauges:
    """Read every gauge at `now`."""
    uncertain = IS_UNCERTAIN
    return Gauges(
        due=_due(conn, now),
        outbox=_waiting(conn, outbox.c.created_at, outbox.c.published_at.is_(None), now),
        inbox=_waiting(conn, reply.c.received_at, reply.c.state == "human", now),
        urgent=_waiting(conn, reply.c.received_at, IS_HUMAN & IS_URGENT, now),
        backlog={
            "reply": _waiting(conn, reply.c.received_at, reply.c.state == "new", now),
            "receipt": _waiting(conn, receipt.c.received_at, receipt.c.applied_at.is_(None), now),
            "lapse": _waiting(conn, lapse.c.detected_at, lapse.c.decided_at.is_(None), now),
        },
        uncertain=_waiting(conn, attempt.c.claimed_at, uncertain, now),
        needs_person=_count(conn, attempt, uncertain & attempt.c.needs_person),
        quarantine_held=_count(conn, quarantine, quarantine.c.state == "held"),
    )


def outcomes(conn: Connection) -> dict[tuple[str, str], int]:
    """Outcomes by kind and arm. Counts history, so it is read as seldom as the audit."""
    rows = conn.execute(
        select(outcome.c.kind, enrolment.c.arm, func.count())
        .join(enrolment, enrolment.c.id == outcome.c.enrolment_id)
        .group_by(outcome.c.kind, enrolment.c.arm)
    )
    return {(kind, arm): count for kind, arm, count in rows}


def _due(conn: Connection, now: datetime) -> dict[str, Waiting]:
    rows = conn.execute(
        select(touch.c.channel, func.count(), func.min(touch.c.due_at, type_=Instant()))
        .where(IS_PLANNED, touch.c.due_at <= now)
        .group_by(touch.c.channel)
        .order_by(touch.c.channel)
    )
    return {channel: Waiting(count, _age(oldest, now)) for channel, count, oldest in rows}


def _waiting(conn: Connection, since: ColumnElement[datetime], which: ColumnElement[bool], now: datetime) -> Waiting:
    count, oldest = conn.execute(select(func.count(), func.min(since, type_=Instant())).where(which)).one()
    return Waiting(count, _age(oldest, now)) if count else Waiting()


def _count(conn: Connection, table: Any, which: ColumnElement[bool]) -> int:
    return conn.scalar(select(func.count()).select_from(table).where(which)) or 0


def _age(oldest: datetime, now: datetime) -> float:
    return max(0.0, (now - oldest).total_seconds())
