"""Findings: how often a promise was broken, and on which rows; ids only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

#: So many ids stand for the rest of a finding.
SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, judged. `count` 0 = kept."""

    promise: str
    count: int
    samples: tuple[str, ...]
    """The first few rows, as `table id: what is wrong`."""
    explanation: str
    """What was promised, in a sentence."""
    notes: tuple[str, ...] = ()
    """What looks like a breach and is none, and why."""

    @property
    def is_kept(self) -> bool:
        """Whether nothing was found."""
        return self.count == 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What one query found wrong."""

    count: int
    samples: tuple[str, ...]


def tally(conn: Connection, table: str, wrong: str, ids: Select[Any]) -> Tally:
    """Count the rows of a query for ids, and sample them, in two statements that fetch no more than the samples."""
    rows = ids.subquery()
    count = conn.scalar(select(func.count()).select_from(rows)) or 0
    if not count:
        return Tally(0, ())
    first = conn.scalars(select(rows.c[0]).order_by(rows.c[0]).limit(SAMPLES))
    return Tally(count, tuple(f"{table} {id_}: {wrong}" for id_ in first))


def listed(table: str, wrong: str, ids: Iterable[int]) -> Tally:
    """The tally of rows a check in Python found."""
    found = sorted(set(ids))
    return Tally(len(found), tuple(f"{table} {id_}: {wrong}" for id_ in found[:SAMPLES]))


def finding(promise: str, explanation: str, tallies: Sequence[Tally], notes: Sequence[str] = ()) -> Finding:
    """One finding from everything that was checked for a promise."""
    samples = [sample for each in tallies for sample in each.samples]
    return Finding(promise, sum(each.count for each in tallies), tuple(samples[:SAMPLES]), explanation, tuple(notes))
