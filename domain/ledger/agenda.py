"""The agenda: which kinds of work wait for the clock at an instant, asked in one read before anything is begun."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, literal_column, select

from domain.ledger import asking, dispatching, enrolling, finishes, outbox, touches
from domain.ledger.attempts import attempt
from domain.ledger.lapses import lapse
from domain.ledger.touches import touch


@dataclass(frozen=True, slots=True)
class Due:
    """What a round of the clock has to do."""

    to_publish: bool
    """Events wait in the outbox."""
    channels: tuple[str, ...]
    """Those with due touches, answers included, that nobody was told of."""


@dataclass(frozen=True, slots=True)
class Astray:
    """What a sweep has to mend; each word says that there is at least one such row."""

    lost: bool
    """Attempts whose lease ran out."""
    expired: bool
    """Planned touches whose time has passed."""
    unsettled: bool
    """Uncertain attempts that a person must look at."""
    unasked: bool
    """Uncertain attempts whose provider may be asked."""
    forgotten: bool
    """Lapses whose event nobody decided about."""


def due(conn: Connection, channels: Collection[str], now: datetime) -> Due:
    """What is due at `now` on these channels, as far as nobody has it in hand."""
    names = tuple(sorted(channels))
    to_publish, *waiting = conn.execute(_due(names), {"now": now}).one()
    return Due(bool(to_publish), tuple(name for name, is_any in zip(names, waiting, strict=True) if is_any))


def astray(conn: Connection, now: datetime, forgotten_before: datetime) -> Astray:
    """What is astray at `now`; lapses detected before `forgotten_before` and not decided about count as forgotten."""
    values = {"now": now, **finishes.patience(now), **asking.turns(now), "before": forgotten_before}
    return Astray(*map(bool, conn.execute(_ASTRAY, values).one()))


@cache
def _due(channels: tuple[str, ...]) -> Select[Any]:
    waiting = [_any(touch.c.due_at, dispatching.IS_DUE & (touch.c.channel == _spelt(name))) for name in channels]
    parts: list[Any] = [_any(outbox.outbox.c.id, outbox.IS_UNPUBLISHED), *waiting]
    return select(*parts)


def _any(first: Column[Any], condition: ColumnElement[bool]) -> Any:
    """1 if there is such a row. The order makes PostgreSQL walk the partial index: for a mere EXISTS it bets that the
    table, full of touches long sent, will soon show one, and reads it all when there is none.
    """
    return select(literal_column("1")).where(condition).order_by(first).limit(1).scalar_subquery()


def _spelt(name: str) -> ColumnElement[str]:
    """A channel's name in the statement itself: it comes from a file name of ours, never from outside."""
    if not name.isidentifier():
        raise ValueError(f"{name!r} is no name of a channel")
    return literal_column(f"'{name}'")


_ASTRAY = select(
    _any(attempt.c.lease_until, finishes.IS_LOST),
    _any(touch.c.due_at, touches.IS_LATE),
    _any(attempt.c.claimed_at, finishes.IS_UNSETTLED),
    _any(attempt.c.claimed_at, asking.IS_TO_ASK),
    _any(lapse.c.detected_at, enrolling.IS_FORGOTTEN),
)
