"""Looking rows up by many values of a unique key, each one step in the index whatever the planner believes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, Table, bindparam, cast, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from domain.ledger.store import chunks


def by_key(
    conn: Connection,
    table: Table,
    within: Mapping[str, Any],
    key: Column[Any],
    values: Collection[Any],
    *wanted: Column[Any],
) -> Iterator[Row[*tuple[Any, ...]]]:
    """The `wanted` columns of rows whose `key` is one of `values`, with the other columns of a unique index fixed.

    PostgreSQL takes a list of values as a filter over the index's whole range while a table has no statistics, and a
    first import is just then: read row by row it took ten times as long with 25,000 appointments, and ever longer.
    """
    if conn.dialect.name == "postgresql":
        yield from conn.execute(step_by_step(table, tuple(within), key, *wanted), {**within, "values": sorted(values)})
        return
    statement = _listed(table, tuple(within), key, *wanted)
    for some in chunks(sorted(values)):
        yield from conn.execute(statement, {**within, "values": some})


@cache
def step_by_step(table: Table, within: tuple[str, ...], key: Column[Any], *wanted: Column[Any]) -> Select[Any]:
    """The look-up on PostgreSQL: one index step for each of `values`, by a lateral join that leaves no other plan."""
    values = cast(bindparam("values", type_=ARRAY(key.type)), ARRAY(key.type))
    each = func.unnest(values).table_valued("value", name="each").render_derived()
    found = select(*wanted).where(*_fixed(table, within), key == each.c.value).limit(1).lateral("found")
    return select(found).select_from(each).join(found, true())


@cache
def _listed(table: Table, within: tuple[str, ...], key: Column[Any], *wanted: Column[Any]) -> Select[Any]:
    return select(*wanted).where(*_fixed(table, within), key.in_(bindparam("values", type_=key.type, expanding=True)))


def _fixed(table: Table, within: tuple[str, ...]) -> list[ColumnElement[bool]]:
    return [table.c[name] == bindparam(name) for name in within]
