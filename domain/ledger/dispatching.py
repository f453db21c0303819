"""Dispatching: which due touches a channel's queue is told of next, shared fairly among sites."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    String,
    and_,
    bindparam,
    column,
    func,
    or_,
    select,
    true,
    update,
    values,
)

from domain.ledger.attempts import IS_SENDING, attempt
from domain.ledger.columns import Id, Instant
from domain.ledger.organisations import site
from domain.ledger.touches import IS_ANSWER, IS_PLANNED, REMINDER_PRIORITY, touch
from domain.rules.fairness import DeficitRoundRobin
from domain.rules.segments import PRIORITY

AnyRow = Row[*tuple[Any, ...]]

#: How long the broker's hint is trusted; a touch not claimed by then is dispatched again.
HINT = timedelta(seconds=60)

#: Every priority an outreach touch may have: each is one exact range of the index.
PRIORITIES = (*sorted(PRIORITY.values()), REMINDER_PRIORITY)


_CHANNEL, _NOW = bindparam("channel", type_=String), bindparam("now", type_=Instant)

_LIMIT = bindparam("limit", type_=Integer)
_CANDIDATE = (touch.c.id, touch.c.site_id, touch.c.priority, touch.c.due_at)

#: Touches due at `now` that nobody was told of.
IS_DUE: ColumnElement[bool] = and_(
    IS_PLANNED,
    touch.c.due_at <= _NOW,
    or_(touch.c.dispatched_until.is_(None), touch.c.dispatched_until <= _NOW),
)
_DUE = and_(touch.c.channel == _CHANNEL, IS_DUE)

_ANSWERS = select(touch.c.id).where(_DUE, IS_ANSWER).order_by(touch.c.due_at, touch.c.id).limit(500)
# the channel is no condition of the search: SQLite would take the index of all that is planned on it
_HINTED = select(func.count().filter(touch.c.channel == _CHANNEL)).where(
    IS_PLANNED, touch.c.dispatched_until.is_not(None), touch.c.dispatched_until > _NOW
)
_SENDING = select(func.count()).where(attempt.c.channel == _CHANNEL, IS_SENDING)


_MARK = (
    update(touch)
    .where(touch.c.id.in_(bindparam("ids", type_=Id, expanding=True)), IS_PLANNED)
    .values(dispatched_until=bindparam("until", type_=Instant))
    .returning(touch.c.id)
)


def in_flight(conn: Connection, channel: str, now: datetime) -> int:
    """Touches of a channel that are on its queue or in a worker's hands."""
    values = {"channel": channel, "now": now}
    return (conn.scalar(_HINTED, values) or 0) + (conn.scalar(_SENDING, {"channel": channel}) or 0)


def take_due(
    conn: Connection, channel: str, budget: int, fairness: DeficitRoundRobin, weights: Mapping[int, int], now: datetime
) -> list[int]:
    """Mark up to `budget` due touches of a channel as queued, fair over sites, urgent first; their ids in order."""
    backlog: defaultdict[int, list[AnyRow]] = defaultdict(list)
    values = {"channel": channel, "now": now, "limit": budget}
    for row in conn.execute(_CANDIDATES[conn.dialect.name], values):
        backlog[row.site_id].append(row)
    if not backlog:
        return []
    # how far beyond the budget a backlog was read must not matter to what a site is owed afterwards
    demand = {site_id: min(len(rows), budget) for site_id, rows in backlog.items()}
    shares = fairness.share(budget, demand, weights)
    # of equal urgency the sites take turns: pacing grants from the front, so a fair share of what is handed out would
    # be none of what is sent, were one site's long backlog before all of another's
    turns = [
        (row.priority, nth / weights.get(site_id, 1), row.due_at, row.id)
        for site_id, count in shares.items()
        for nth, row in enumerate(backlog[site_id][:count], 1)
    ]
    return _mark(conn, [id_ for *_, id_ in sorted(turns)], now)


def take_answers(conn: Connection, channel: str, now: datetime) -> list[int]:
    """The same for answers to patients' own messages: all of them, at once."""
    ids = conn.scalars(_ANSWERS, {"channel": channel, "now": now}).all()
    return _mark(conn, ids, now) if ids else []


def site_weights(conn: Connection) -> dict[int, int]:
    """The weight of each site in the fair share."""
    return {row.id: row.weight for row in conn.execute(select(site.c.id, site.c.weight))}


def _candidates_in_one_pass() -> Select[Any]:
    """SQLite: rank what is due per site; a small practice has little of it."""
    rank = func.row_number().over(partition_by=touch.c.site_id, order_by=(touch.c.priority, touch.c.due_at, touch.c.id))
    due = select(*_CANDIDATE, rank.label("rank")).where(_DUE, touch.c.site_id.is_not(None)).subquery()
    return select(due).where(due.c.rank <= _LIMIT).order_by(due.c.priority, due.c.due_at, due.c.id)


def _candidates_by_range() -> Select[Any]:
    """PostgreSQL: one exact index range per site and priority; the cost follows what is due, never what is planned."""
    priority = values(column("value", Integer), name="priorities").data([(each,) for each in PRIORITIES])
    due_there = (
        select(*_CANDIDATE)
        .where(_DUE, touch.c.site_id == site.c.id, touch.c.priority == priority.c.value)
        .order_by(touch.c.due_at, touch.c.id)
        .limit(_LIMIT)
        .lateral("due_there")
    )
    return (
        select(due_there)
        .select_from(site.join(priority, true()).join(due_there, true()))
        .order_by(due_there.c.priority, due_there.c.due_at, due_there.c.id)
    )


#: Up to `limit` due touches of every site, most urgent and then longest due first.
_CANDIDATES = {"sqlite": _candidates_in_one_pass(), "postgresql": _candidates_by_range()}


def _mark(conn: Connection, ids: Sequence[int], now: datetime) -> list[int]:
    marked = set(conn.scalars(_MARK, {"ids": ids, "until": now + HINT}))
    return [id_ for id_ in ids if id_ in marked]
