"""Uncertainty: of how many touches nobody knew whether they were sent, what settled them, and after how long."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import Connection, and_, func, select

from domain.ledger.columns import Instant
from domain.ledger.touches import touch, touch_event
from domain.rules.vocabulary import TouchState

#: Why an uncertain touch is not uncertain any more -> what settled it.
_SETTLED_BY = {
    "receipt": "by_receipt",
    "provider_knows": "by_provider",
    "unknown_to_provider": "by_provider",
    "settled_by_person": "by_person",
}

_began = touch_event.alias("began")
_ended = touch_event.alias("ended")
_UNCERTAIN = (
    select(
        _began.c.touch_id,
        func.min(_began.c.at, type_=Instant).label("since"),
        func.min(_ended.c.at, type_=Instant).label("until"),
        func.min(_ended.c.reason).label("reason"),
        touch.c.state,
    )
    .join(touch, touch.c.id == _began.c.touch_id)
    .outerjoin(
        _ended,
        and_(
            _ended.c.touch_id == _began.c.touch_id,
            _ended.c.id > _began.c.id,
            _ended.c.what.in_([TouchState.ACCEPTED.value, TouchState.REJECTED.value]),
            _ended.c.reason.in_(_SETTLED_BY),
        ),
    )
    .where(_began.c.what == TouchState.UNCERTAIN.value)
    .group_by(_began.c.touch_id, touch.c.state)
)


def uncertainty(conn: Connection, now: datetime) -> dict[str, Any]:
    """Counts of touches that ever were uncertain, and minutes: how long it took, and how long the open ones have been.

    Reads history, as the report does. Minutes have one decimal; None where there is nothing to measure.
    """
    rows = conn.execute(_UNCERTAIN).all()
    settled = [row for row in rows if row.until is not None]
    still = [row for row in rows if row.until is None and row.state == TouchState.UNCERTAIN.value]
    taken = [row.until - row.since for row in settled]
    return {
        "ever": len(rows),
        **{
            by: sum(1 for row in settled if _SETTLED_BY[row.reason] == by) for by in dict.fromkeys(_SETTLED_BY.values())
        },
        "open": len(still),
        "median_minutes": _minutes(median(taken)) if taken else None,
        "longest_minutes": _minutes(max(taken)) if taken else None,
        "longest_open_minutes": _minutes(max(now - row.since for row in still)) if still else None,
    }


def _minutes(span: timedelta) -> float:
    return round(span.total_seconds() / 60, 1)
