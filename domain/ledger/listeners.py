"""Listeners: the web processes that hear what patients choose, and whether one may still keep some on its disk.

While the ledger is away a web process keeps choices on its disk, and nobody else can see them. So each tells the ledger
every second whether its disk is empty, and outreach waits for those that say no, or nothing. All times here are the
ledger server's own: hosts' clocks may differ, and a simulated one jumps. docs/decisions/14 says why it is done so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    String,
    Table,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from domain.ledger import store
from domain.ledger.columns import Instant, metadata

#: Between two beats of a listener.
BEAT_EVERY: Final = timedelta(seconds=1)
#: A listener that was not heard of for longer may be cut off from the ledger, and keep choices on its disk.
SILENT_AFTER: Final = timedelta(seconds=5)
#: For so long after a start of the ledger's server a listener may still be on its way that was never heard of.
SETTLING: Final = timedelta(seconds=10)
#: A silent listener whose disk was empty when it was last heard of is waited for so long, while the ledger is up.
GIVEN_UP_AFTER: Final = timedelta(hours=1)
#: What was closed so long ago is forgotten.
_KEPT_FOR: Final = timedelta(days=7)
#: Context of the sealed reason (see `Vault.seal`).
WHY: Final = "listener.why"

listener = Table(
    "listener",
    metadata,
    #: A process's own random id.
    Column("id", String(32), primary_key=True),
    #: Choices wait on its disk, or may do so in what a dead process left there.
    Column("is_behind", Boolean, nullable=False),
    Column("beat_at", Instant, nullable=False),
    #: When the clock process, the ledger being up, first missed its beats.
    Column("silent_since", Instant),
    #: It ended in order with nothing on its disk, or a successor took over what it had left.
    Column("closed_at", Instant),
    #: A person said not to wait for it: when, who, and why (sealed).
    Column("forgotten_at", Instant),
    Column("forgotten_by", String(256)),
    Column("why", LargeBinary),
)


class Standing(StrEnum):
    """How a listener stands. Outreach waits for `behind` and `silent`."""

    WELL = "well"
    BEHIND = "behind"
    """It is alive and brings what its disk kept into the ledger."""
    SILENT = "silent"
    """Nobody knows what its disk keeps."""
    GIVEN_UP = "given_up"
    """Silent for an hour with nothing kept when it was last heard of: outreach goes on without it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A web process as the ledger knows it; `beat_at` is when it was last heard of (UTC)."""

    id: str
    standing: Standing
    is_behind: bool
    beat_at: datetime


def beat(conn: Connection, id_: str, *, is_behind: bool) -> None:
    """A listener is alive, and says whether choices wait on its disk."""
    values = {
        "is_behind": is_behind,
        "beat_at": _now(conn.dialect.name),
        "silent_since": None,
        "closed_at": None,
        "forgotten_at": None,
    }
    conn.execute(
        store.insert(conn, listener).values(id=id_, **values).on_conflict_do_update(index_elements=["id"], set_=values)
    )


def close(conn: Connection, ids: Sequence[str]) -> None:
    """These left nothing behind, or a living one has taken over what they left."""
    if ids:
        conn.execute(update(listener).where(listener.c.id.in_(ids)).values(closed_at=_now(conn.dialect.name)))


def may_keep_choices(conn: Connection) -> bool:
    """Whether a choice may wait on some listener's disk that the ledger does not know yet.

    Ask before suppressions are read: a listener says that its disk is empty after what was on it is committed.
    """
    return bool(conn.scalar(_held(conn.dialect.name)))


def note_silence(conn: Connection) -> None:
    """For the clock process: note which are silent while the ledger is up, and forget those closed long ago."""
    now, silent = _now(conn.dialect.name), _is_silent(conn.dialect.name)
    conn.execute(update(listener).where(_COUNTS, silent, listener.c.silent_since.is_(None)).values(silent_since=now))
    conn.execute(delete(listener).where(listener.c.closed_at < _ago(conn.dialect.name, _KEPT_FOR)))


def forget(conn: Connection, id_: str, *, by: str, why: bytes) -> Listener | None:
    """A person answers for it that outreach no longer waits for this one; None if there is none that is silent."""
    found = next((each for each in look(conn) if each.id == id_), None)
    if found is None or found.standing not in {Standing.SILENT, Standing.GIVEN_UP}:
        return None
    told = {"forgotten_at": _now(conn.dialect.name), "forgotten_by": by, "why": why}
    conn.execute(update(listener).where(listener.c.id == id_).values(told))
    return found


def look(conn: Connection) -> list[Listener]:
    """Every listener that was neither closed nor forgotten, the longest unheard first."""
    dialect = conn.dialect.name
    rows = conn.execute(
        select(
            listener.c.id,
            listener.c.is_behind,
            listener.c.beat_at,
            _is_silent(dialect).label("is_silent"),
            _is_given_up(dialect).label("is_given_up"),
        )
        .where(_COUNTS)
        .order_by(listener.c.beat_at, listener.c.id)
    )
    return [Listener(row.id, _standing(row), row.is_behind, row.beat_at) for row in rows]


def _standing(row: Any) -> Standing:
    if row.is_silent:
        return Standing.GIVEN_UP if row.is_given_up else Standing.SILENT
    return Standing.BEHIND if row.is_behind else Standing.WELL


_COUNTS: Final = and_(listener.c.closed_at.is_(None), listener.c.forgotten_at.is_(None))


def _now(dialect: str) -> Any:
    """The instant by the server's clock; SQLite has none but this host's, where all of its users are."""
    return literal(datetime.now(UTC), Instant) if dialect == "sqlite" else func.clock_timestamp(type_=Instant)


def _ago(dialect: str, span: timedelta) -> Any:
    return literal(datetime.now(UTC) - span, Instant) if dialect == "sqlite" else func.clock_timestamp() - span


def _is_silent(dialect: str) -> ColumnElement[bool]:
    """Not heard of lately, or not since the server started: while it was down anything may have been kept."""
    late: ColumnElement[bool] = listener.c.beat_at < _ago(dialect, SILENT_AFTER)
    return late if dialect == "sqlite" else or_(late, listener.c.beat_at < func.pg_postmaster_start_time())


def _is_given_up(dialect: str) -> ColumnElement[bool]:
    # null while it is not known to be silent
    long_ago = listener.c.silent_since < _ago(dialect, GIVEN_UP_AFTER)
    return and_(listener.c.silent_since.is_not(None), long_ago, ~listener.c.is_behind)


def _held(dialect: str) -> Select[Any]:
    if dialect == "sqlite":
        # its times are bound, so it cannot be kept
        return _holding(dialect)
    return _held_on_a_server()


@cache
def _held_on_a_server() -> Select[Any]:
    return _holding("postgresql")


def _holding(dialect: str) -> Select[Any]:
    silent = and_(_is_silent(dialect), ~_is_given_up(dialect))
    waited_for = exists().where(_COUNTS, or_(listener.c.is_behind, silent))
    if dialect == "sqlite":
        return select(waited_for)
    is_settling = func.pg_postmaster_start_time() > _ago(dialect, SETTLING)
    return select(or_(waited_for, and_(is_settling, exists().where(true()).select_from(listener))))
