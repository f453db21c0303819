"""Touches: one planned message to one patient each, and the history of why it waited and how it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    insert,
    literal_column,
    select,
    update,
)

from domain.ledger.columns import Instant, id_column, metadata, ref
from domain.ledger.store import chunks
from domain.rules.cadence import Planned
from domain.rules.guard import EMERGENCY, RULES, held_by
from domain.rules.steps import PHONE
from domain.rules.vocabulary import TouchKind, TouchState

#: Of light reminders: they come after all outreach. Lower is more urgent, 0 are answers.
REMINDER_PRIORITY = 90

touch = Table(
    "touch",
    metadata,
    id_column(),
    ref("organisation_id", "organisation"),
    ref("patient_id", "patient", nullable=True),
    ref("site_id", "site", nullable=True),
    ref("enrolment_id", "enrolment", nullable=True),
    #: Answers belong to a reply instead of an enrolment; one answer per reply.
    ref("reply_id", "reply", nullable=True, unique=True),
    Column("kind", String(16), nullable=False),
    #: For an answer: which one (`opt_out_confirmation`, `help`, …); for outreach the template is chosen at the send.
    Column("answer", String(32)),
    Column("step", Integer, nullable=False, default=0),
    Column("channel", String(16), nullable=False),
    #: Where it goes; null = the patient's best contact point for the channel, chosen in the claim.
    ref("contact_point_id", "contact_point", nullable=True),
    Column("state", String(16), nullable=False),
    #: Of the latest non-send or ending: a rule id or an error class.
    Column("reason", String(48)),
    Column("priority", Integer, nullable=False, default=REMINDER_PRIORITY),
    Column("due_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    #: The broker was told; until then the dispatcher leaves it alone. A lost hint is repeated after it.
    Column("dispatched_until", Instant),
    Column("attempts", Integer, nullable=False, default=0),
    Column("accepted_at", Instant),
    Column("delivery", String(16)),
    Column("segments", Integer),
    Column("ended_at", Instant),
    UniqueConstraint("enrolment_id", "step", "channel"),
)
_planned = touch.c.state == "planned"
Index(
    "ix_touch_due",
    touch.c.channel,
    touch.c.site_id,
    touch.c.priority,
    touch.c.due_at,
    sqlite_where=_planned,
    postgresql_where=_planned,
)
Index("ix_touch_channel_due_at", touch.c.channel, touch.c.due_at, sqlite_where=_planned, postgresql_where=_planned)
Index("ix_touch_due_at", touch.c.due_at, sqlite_where=_planned, postgresql_where=_planned)
_answers = and_(_planned, touch.c.kind == "answer")
Index("ix_touch_answers", touch.c.channel, touch.c.due_at, sqlite_where=_answers, postgresql_where=_answers)
_dispatched = and_(_planned, touch.c.dispatched_until.is_not(None))
Index(
    "ix_touch_dispatched",
    touch.c.dispatched_until,
    touch.c.channel,
    sqlite_where=_dispatched,
    postgresql_where=_dispatched,
)
Index("ix_touch_enrolment_id", touch.c.enrolment_id)
Index("ix_touch_patient_id", touch.c.patient_id)

#: Append-only: every wait, revocation and ending of a touch, with the reason `explain` reads out.
touch_event = Table(
    "touch_event",
    metadata,
    id_column(),
    ref("touch_id", "touch", index=True),
    Column("at", Instant, nullable=False),
    Column("what", String(16), nullable=False),
    Column("reason", String(48)),
    Column("until", Instant),
    #: The row of the rules that the guard decided by.
    Column("rule", String(48)),
)

_taken = touch_event.c.what == "taken"
#: Whose calls somebody took of late.
Index("ix_touch_event_taken", touch_event.c.until, sqlite_where=_taken, postgresql_where=_taken)

# Spelt out in statements, never bound: the planners match a partial index only by the letter of its condition.
IS_PLANNED: ColumnElement[bool] = touch.c.state == literal_column("'planned'")
IS_ANSWER: ColumnElement[bool] = touch.c.kind == literal_column("'answer'")

#: Planned, and past their time at `now`.
IS_LATE: ColumnElement[bool] = and_(
    IS_PLANNED, touch.c.due_at <= bindparam("now", type_=Instant), touch.c.expires_at <= bindparam("now", type_=Instant)
)

_LATE = (
    select(touch.c.id, touch.c.reason, touch.c.due_at, touch.c.expires_at)
    .where(IS_LATE)
    .order_by(touch.c.due_at)
    .limit(1000)
    .with_for_update(skip_locked=True)
)
_PLAN, _TELL = insert(touch), insert(touch_event)
#: A call waits for a person, not for a round.
_NEXT_DUE = select(touch.c.due_at).where(IS_PLANNED, touch.c.channel != PHONE).order_by(touch.c.due_at).limit(1)

#: An answer is worth sending for five minutes: the presumption of 47 CFR 64.1200(a)(12) for confirmations.
ANSWER_WORTH = timedelta(minutes=5)
#: Where to turn in an emergency is worth telling for longer.
_WORTH = {EMERGENCY: timedelta(hours=1)}


def plan_many(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write planned touches: each row has its ids, its `priority` and, under `planned`, a `Planned`."""
    if not rows:
        return
    conn.execute(
        _PLAN,
        [
            {name: value for name, value in row.items() if name != "planned"} | _planned_columns(row["planned"])
            for row in rows
        ],
    )


def _planned_columns(planned: Planned) -> dict[str, Any]:
    return {
        "kind": planned.kind.value,
        "step": planned.step,
        "channel": planned.channel,
        "state": TouchState.PLANNED.value,
        "due_at": planned.due_at,
        "expires_at": planned.expires_at,
    }


def plan_answer(conn: Connection, *, now: datetime, asked_at: datetime | None = None, **answer: Any) -> int:
    """Plan the one automatic answer to a reply, due at once; its id. Answers go before all outreach.

    Args:
        asked_at: whence its worth runs (default: now).
        answer: `reply_id`, `organisation_id`, `contact_point_id`, `channel`, `answer`, where known `patient_id`.
    """
    worth = _WORTH.get(answer["answer"], ANSWER_WORTH)
    return _add_answer(conn, answer, state=TouchState.PLANNED.value, due_at=now, expires_at=(asked_at or now) + worth)


def withhold_answer(conn: Connection, *, reason: str, rule: str, now: datetime, **answer: Any) -> None:
    """Write down that a reply gets no automatic answer, and why; see `plan_answer`."""
    state = TouchState.SUPPRESSED.value
    id_ = _add_answer(conn, answer, state=state, reason=reason, due_at=now, expires_at=now, ended_at=now)
    tell(conn, [{"touch_id": id_, "what": state, "reason": reason, "rule": rule}], now)


def _add_answer(conn: Connection, answer: Mapping[str, Any], **values: Any) -> int:
    row = {**answer, "kind": TouchKind.ANSWER.value, "priority": 0, **values}
    touch_id: int = conn.scalars(insert(touch).values(row).returning(touch.c.id)).one()
    return touch_id


def revoke(conn: Connection, enrolment_ids: Collection[int], reason: str, now: datetime) -> None:
    """Cancel what is planned for these enrolments and not claimed yet."""
    for ids in chunks(sorted(enrolment_ids)):
        settle(
            conn,
            and_(touch.c.enrolment_id.in_(ids), IS_PLANNED),
            TouchState.CANCELLED,
            reason,
            now,
        )


def restore(conn: Connection, enrolment_ids: Collection[int], reason: str, now: datetime) -> None:
    """Plan again what was cancelled for `reason` and is still worth sending."""
    for ids in chunks(sorted(enrolment_ids)):
        cancelled = and_(
            touch.c.enrolment_id.in_(ids),
            touch.c.state == TouchState.CANCELLED.value,
            touch.c.reason == reason,
            touch.c.expires_at > now,
        )
        back = conn.scalars(
            update(touch)
            .where(cancelled)
            .values(state=TouchState.PLANNED.value, reason=None, ended_at=None)
            .returning(touch.c.id)
        ).all()
        tell(conn, [{"touch_id": id_, "what": "planned", "reason": "unbooked"} for id_ in sorted(back)], now)


def settle(
    conn: Connection,
    which: ColumnElement[bool],
    state: TouchState,
    reason: str,
    now: datetime,
    *,
    told: str | None = None,
    rule: str | None = None,
) -> int:
    """Bring planned touches to rest in `state`; how many. Their history has the reason (or what is `told`) and rule."""
    ended = conn.scalars(
        update(touch)
        .where(which)
        .values(state=state.value, reason=reason, ended_at=now, dispatched_until=None)
        .returning(touch.c.id)
    ).all()
    event = {"what": state.value, "reason": told or reason, "rule": rule}
    tell(conn, [{"touch_id": id_, **event} for id_ in sorted(ended)], now)
    return len(ended)


def expire(conn: Connection, now: datetime) -> int:
    """End planned touches whose time has passed: after an outage an old backlog must not fire at once.

    Their history tells what they had waited for until then.
    """
    late: defaultdict[str | None, list[int]] = defaultdict(list)
    for row in conn.execute(_LATE, {"now": now}):
        late[held_by(row.reason, row.due_at, row.expires_at)].append(row.id)
    return sum(
        settle(
            conn,
            and_(touch.c.id.in_(ids), IS_PLANNED),
            TouchState.EXPIRED,
            "expired",
            now,
            told=wait,
            rule=RULES["expired"],
        )
        for wait, all_ids in late.items()
        for ids in chunks(all_ids)
    )


def tell(conn: Connection, events: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Append to the history: each event has `touch_id`, `what`, and where it has them `reason`, `until`, `rule`."""
    if events:
        conn.execute(_TELL, [{"reason": None, "until": None, "rule": None, **event, "at": now} for event in events])


def next_due(conn: Connection) -> datetime | None:
    """The earliest instant a planned touch is due."""
    return conn.scalar(_NEXT_DUE)
