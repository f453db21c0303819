"""Audit of automatic answers: no emergency without one; one a message, five a day to a number, three in a row.

The figures are written down a second time here, as all of the audit's are. A row ends where we wrote to the number
ourselves, or a person had looked at what came from there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, exists, func, or_, select

from domain.ledger.attempts import attempt
from domain.ledger.columns import Instant
from domain.ledger.findings import Finding, Tally, finding, listed, tally
from domain.ledger.inbound import reply
from domain.ledger.touches import touch

_A_DAY, _IN_A_ROW = 5, 3
#: An answer may be called for an hour after it was planned, so that the day between two calls can be that much shorter.
_SLACK = timedelta(hours=1)
_WINDOW = timedelta(hours=24) - _SLACK
#: Until where to turn must have been told to who wrote of danger, or a reason why not be known.
_AT_MOST = timedelta(hours=1)
#: What became of an answer that was told, might have been, or was kept back for a reason.
_DEALT_WITH = ("sending", "accepted", "uncertain", "rejected", "suppressed")

_reached = attempt.c.state.in_(("sending", "accepted", "uncertain"))
_is_answer = attempt.c.kind == "answer"
_called = func.coalesce(attempt.c.called_at, attempt.c.claimed_at, type_=Instant())
_ANSWERS = (
    select(
        attempt.c.id,
        attempt.c.contact_point_id,
        _called.label("at"),
        (touch.c.answer == "emergency").label("is_emergency"),
    )
    .join(touch, touch.c.id == attempt.c.touch_id)
    .where(_is_answer, _reached)
    .order_by(_called, attempt.c.id)
)
_OUTREACH = select(attempt.c.contact_point_id, _called.label("at")).where(
    ~_is_answer,
    _reached,
    attempt.c.contact_point_id.in_(select(attempt.c.contact_point_id).where(_is_answer)),
)
_CLOSED = select(reply.c.contact_point_id, reply.c.handled_at).where(
    reply.c.state == "closed", reply.c.contact_point_id.is_not(None)
)
_TWICE = (
    select(func.min(attempt.c.id))
    .join(touch, touch.c.id == attempt.c.touch_id)
    .where(_is_answer, _reached, touch.c.reply_id.is_not(None))
    .group_by(touch.c.reply_id)
    .having(func.count() > 1)
)

#: An answer's attempt, and when it was called.
Given = tuple[int, datetime]


def emergency_unanswered(conn: Connection, now: datetime) -> Finding:
    """Messages of danger that nobody was shown, or that got neither the emergency text nor a reason why not."""
    is_danger = and_(reply.c.intent == "emergency", reply.c.received_at <= now - _AT_MOST)
    is_dealt_with = exists().where(
        touch.c.reply_id == reply.c.id,
        touch.c.answer == "emergency",
        # what waited outside the ledger is answered once it is in
        or_(touch.c.state.in_(_DEALT_WITH), and_(touch.c.state == "planned", touch.c.expires_at > now)),
    )
    # whom no text can reach, a person has to
    untold = select(reply.c.id).where(is_danger, reply.c.contact_point_id.is_not(None), ~is_dealt_with)
    unseen = select(reply.c.id).where(is_danger, reply.c.state.not_in(("human", "closed")))
    return finding(
        "emergency_unanswered",
        "Who writes of danger is told at once where to turn, and a person is shown it.",
        [
            tally(conn, "reply", "an emergency that was not answered within an hour", untold),
            tally(conn, "reply", "an emergency that no person was shown", unseen),
        ],
    )


def too_many(conn: Connection) -> Tally:
    """Answers beyond five in a day, or three in a row, to one contact point."""
    anew: defaultdict[int, list[datetime]] = defaultdict(list)
    for statement in (_OUTREACH, _CLOSED):
        for point, at in conn.execute(statement):
            anew[point].append(at)
    given: defaultdict[tuple[int, bool], list[Given]] = defaultdict(list)
    for row in conn.execute(_ANSWERS):
        given[row.contact_point_id, bool(row.is_emergency)].append((row.id, row.at))
    wrong = [id_ for (point, _), rows in given.items() for id_ in _beyond(rows, sorted(anew[point]))]
    return listed("attempt", "answered more often than five times a day or three in a row", wrong)


def answered_twice(conn: Connection) -> Tally:
    """Messages that got more than one answer."""
    return listed("attempt", "not the only answer to its message", conn.scalars(_TWICE).all())


def _beyond(rows: Sequence[Given], anew: Sequence[datetime]) -> list[int]:
    """Of answers to one contact point, in their order, those that are too many."""
    found = []
    for place, (id_, at) in enumerate(rows):
        of_a_day = place >= _A_DAY and at - rows[place - _A_DAY][1] < _WINDOW
        of_a_row = False
        if place >= _IN_A_ROW:
            first = rows[place - _IN_A_ROW][1]
            # what began it anew may have come between an answer's planning and its call
            goes_on = bisect_right(anew, at) == bisect_right(anew, first - _SLACK)
            of_a_row = at - first < _WINDOW and goes_on
        if of_a_day or of_a_row:
            found.append(id_)
    return found
