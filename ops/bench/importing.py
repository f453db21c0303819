"""An import of an export, beside PostgreSQL's COPY of the very rows that the import left in the ledger.

Both sides end with the same tables, constraints and indexes; ours also reads, checks, normalises and seals.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, func, select

from domain.ledger.store import open_ledger, reading
from domain.ledger.tables import metadata
from ops.bench.figures import Bar, BenchError, Figure, compared, interleaved
from ops.bench.ground import Ground
from ops.simulator.ehr import generate
from ops.simulator.export import CSV, FHIR, ORGANISATION, write_world
from producers.importing.run import run_import

_SEED = 7
#: The day after the export of the synthetic health system.
_NOW = datetime(2025, 1, 6, tzinfo=UTC)


def measure(ground: Ground) -> list[Figure]:
    """One comparison: lines of the export per second."""
    patients = ground.size.pick(10_000, 2_000, 100)
    rounds = ground.size.pick(3, 2, 1)
    folder = ground.directory / "export"
    write_world(generate(_SEED, patients=patients, start=_NOW), folder)
    export = _Export(ground, folder)
    # once unmeasured: what COPY is given is what an import made
    export.take(0)
    sides = {"import": export.take, "COPY": export.copy}
    measured = interleaved(rounds, sides, lambda said: ground.say(f"importing: {said} lines/s"))
    what = f"{export.lines:,} lines of an export of {patients:,} patients imported : the rows they became, by COPY"
    return [compared("import : COPY", what, "lines/s", measured, 0.2, Bar.AT_LEAST)]


@dataclass
class _Export:
    """An export, and the rows that the latest import made of it, as COPY wrote them out."""

    ground: Ground
    folder: Path
    lines: int = 0
    rows: dict[str, bytes] | None = None

    def take(self, _round: int) -> float:
        """Lines per second of an import into an empty ledger."""
        engine = open_ledger(self.ground.ledger())
        started = time.perf_counter()
        result = run_import(
            engine,
            self.ground.vault(),
            organisation_file=self.folder / ORGANISATION,
            sources=[self.folder / FHIR, self.folder / CSV],
            now=_NOW,
        )
        elapsed = time.perf_counter() - started
        self.lines = sum(file.lines for file in result.files)
        if self.rows is None:
            self.rows = _copied_out(engine)
        engine.dispose()
        return self.lines / elapsed

    def copy(self, _round: int) -> float:
        """Lines per second, were the rows there already: COPY into an empty ledger, in one transaction."""
        engine = create_engine(self.ground.ledger())
        rows = self.rows or {}
        started = time.perf_counter()
        with _cursor(engine) as cursor:
            for name, data in rows.items():
                with cursor.copy(f'COPY "{name}" FROM STDIN (FORMAT binary)') as copy:
                    copy.write(data)
        elapsed = time.perf_counter() - started
        _check_all_there(engine, rows)
        engine.dispose()
        return self.lines / elapsed


@contextmanager
def _cursor(engine: Engine) -> Iterator[Any]:
    with engine.begin() as conn:
        driver = conn.connection.driver_connection
        if driver is None:
            raise BenchError("importing: the connection is closed")
        with driver.cursor() as cursor:
            yield cursor


def _copied_out(engine: Engine) -> dict[str, bytes]:
    """Every table that has rows, in an order in which none comes before one it refers to."""
    found = {}
    with _cursor(engine) as cursor:
        for table in metadata.sorted_tables:
            if cursor.execute(f'SELECT 1 FROM "{table.name}" LIMIT 1').fetchone() is not None:  # noqa: S608 - our own table names
                with cursor.copy(f'COPY "{table.name}" TO STDOUT (FORMAT binary)') as copy:
                    found[table.name] = b"".join(copy)
    return found


def _check_all_there(engine: Engine, rows: dict[str, bytes]) -> None:
    with reading(engine) as conn:
        for table in metadata.sorted_tables:
            has_rows = bool(conn.scalar(select(func.count()).select_from(table)))
            if has_rows != (table.name in rows):
                raise BenchError(f"importing: COPY left the table {table.name} otherwise than the import")
