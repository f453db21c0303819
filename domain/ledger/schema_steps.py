"""Steps of the schema: which migrations this ledger has had, and which code may run with each.

Code of an older release finds steps here that it has never heard of; their kind tells it whether it may go on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, Connection, String, Table, delete, select

from domain.ledger import store
from domain.ledger.columns import Instant, metadata

schema_step = Table(
    "schema_step",
    metadata,
    Column("revision", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    #: The oldest revision whose code runs with the schema from here on; none = whatever ran before.
    Column("needs", String(32)),
    Column("at", Instant, nullable=False),
)


class Kind(StrEnum):
    """What a migration does to the code that was there before it."""

    EXPAND = "expand"
    """It adds: code that does not know what was added goes on as before."""
    CONTRACT = "contract"
    """It takes away, or changes what a thing means: code older than what it needs breaks."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration."""

    revision: str
    kind: Kind
    needs: str | None = None
    """Of a contract: the oldest revision whose code runs with it."""
    title: str = ""


def record(conn: Connection, step: Step, now: datetime) -> None:
    """Write down that the ledger has this step; again changes nothing."""
    values = {"revision": step.revision, "kind": step.kind.value, "needs": step.needs, "at": now}
    conn.execute(store.insert(conn, schema_step).values(values).on_conflict_do_nothing())


def forget(conn: Connection, revision: str) -> None:
    """The ledger went back to before this step."""
    conn.execute(delete(schema_step).where(schema_step.c.revision == revision))


def applied(conn: Connection) -> Sequence[Step]:
    """Every step the ledger has had, in no order."""
    rows = conn.execute(select(schema_step.c.revision, schema_step.c.kind, schema_step.c.needs))
    return [Step(row.revision, Kind(row.kind), row.needs) for row in rows]


def strange(steps: Collection[Step], known: Collection[str]) -> list[Step]:
    """Those of a newer release that the code which knows so many revisions cannot run with."""
    return [
        step for step in steps if step.revision not in known and step.kind == Kind.CONTRACT and step.needs not in known
    ]
