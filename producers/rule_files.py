"""Rule files: the reviewed tables that come with the system, and what an organisation puts in a row's place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from domain.rules import guard
from domain.rules.rulebook import Kind, Override, Row, Rulebook, broken_floor
from ops.runtime.yamlfile import FileProblems, Problem, read_yaml
from producers.rule_entries import OverrideEntry, OverridesFile, TableFile

#: The tables that come with the system.
TABLES = Path(guard.__file__).parent / "tables"


def read_rules(place: Path | None = None, tables: Path = TABLES) -> Rulebook:
    """The tables, and the organisations' own file, or folder of files (*.yaml), at `place`.

    Raises:
        FileProblems: every problem of the first file that has some, with line, field and reason.
    """
    rows = _standard(tables) if tables == TABLES else _read_tables(tables)
    overrides: dict[str | None, dict[str, Override]] = {}
    for path in _files(place):
        found = read_yaml(path, OverridesFile, context=rows)
        if found.organisation in overrides:
            whose = found.organisation or "no organisation of its own"
            raise FileProblems(path, [Problem(1, "organisation", f"another file is for {whose}, too")])
        overrides[found.organisation] = {entry.row: _override(entry, rows, path) for entry in found.override}
    return Rulebook(rows, overrides)


@cache
def _standard(tables: Path) -> tuple[Row, ...]:
    return _read_tables(tables)


def _read_tables(tables: Path) -> tuple[Row, ...]:
    rows = []
    for kind in Kind:
        path = tables / f"{kind}.yaml"
        table = read_yaml(path, TableFile)
        if table.kind != kind:
            raise FileProblems(path, [Problem(1, "kind", f"expected {kind}")])
        named = {row for row in guard.RULES.values() if row.startswith(f"{kind}.")}
        missing = sorted(named - {row.id for row in table.rows})
        if missing:
            raise FileProblems(path, [Problem(1, "rows", f"the guard decides by {', '.join(missing)}: not there")])
        rows += [entry.row(kind) for entry in table.rows]
    return tuple(rows)


def _files(place: Path | None) -> Iterable[Path]:
    if place is None:
        return []
    if not place.is_dir():
        return [place]
    found = sorted(place.glob("*.yaml"))
    if not found:
        raise FileProblems(place, [Problem(1, "", "there is no *.yaml in this folder")])
    return found


def _override(entry: OverrideEntry, rows: Sequence[Row], path: Path) -> Override:
    row = next(each for each in rows if each.id == entry.row)
    limit = entry.limit.limit()
    return Override(
        limit=limit,
        file=str(path),
        reason=entry.reason,
        acknowledged_by=entry.acknowledged_by,
        acknowledged_on=entry.acknowledged_on,
        is_looser=broken_floor(row, limit, rows) is not None,
    )
