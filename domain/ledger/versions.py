"""Which of two pieces of news about the same thing stands: the newer one, and of equals the later to come in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table

from domain.ledger import store
from domain.ledger.lookup import by_key

Row = Mapping[str, Any]
Key = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """What `store_newer` did: positions of rows that were stale, and every patient concerned."""

    stale: frozenset[int]
    patient_ids: frozenset[int]


def store_newer(conn: Connection, table: Table, rows: Sequence[Row]) -> Stored:
    """Insert or update rows identified by organisation, source and source_id, unless what is stored is newer.

    A row that moves to another patient concerns both. Call it with the patients locked.
    """
    before = _stored(conn, table, rows)
    standing: dict[Key, tuple[int, Row]] = {}
    stale: set[int] = set()
    for position, row in enumerate(rows):
        key = _key(row)
        known = standing[key][1]["version"] if key in standing else before.get(key, (-1, 0))[0]
        if row["version"] < known:
            stale.add(position)
        else:
            standing[key] = position, row
    fresh = [row for _, row in standing.values()]
    if fresh:
        _write(conn, table, fresh)
    concerned = {row["patient_id"] for row in fresh} | {before[key][1] for key in standing if key in before}
    return Stored(frozenset(stale), frozenset(concerned))


def _key(row: Row) -> Key:
    return row["organisation_id"], row["source"], row["source_id"]


def _stored(conn: Connection, table: Table, rows: Sequence[Row]) -> dict[Key, tuple[int, int]]:
    """Version and patient of what is stored under the rows' keys."""
    by_source: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    for row in rows:
        by_source[row["organisation_id"], row["source"]].add(row["source_id"])
    columns = table.c
    found: dict[Key, tuple[int, int]] = {}
    for (organisation_id, source), source_ids in by_source.items():
        within = {"organisation_id": organisation_id, "source": source}
        wanted = (columns.source_id, columns.version, columns.patient_id)
        known = by_key(conn, table, within, columns.source_id, source_ids, *wanted)
        found.update({(organisation_id, source, row[0]): (row[1], row[2]) for row in known})
    return found


def _write(conn: Connection, table: Table, rows: Sequence[Row]) -> None:
    conn.execute(_keep_newer(conn.dialect.name, table, tuple(rows[0])), list(rows))


@cache
def _keep_newer(dialect: str, table: Table, names: tuple[str, ...]) -> Any:
    statement = store.insert_on(dialect, table)
    key = ("organisation_id", "source", "source_id")
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={name: statement.excluded[name] for name in names if name not in key},
        # another process may have stored newer news since we looked
        where=statement.excluded.version >= table.c.version,
    )
