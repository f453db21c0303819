"""The report of a campaign of faults: a row for each kind, as a table for people, for a page or for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.campaign import Day

BEGIN, END = "<!-- faults: made by `make faults` -->", "<!-- end of faults -->"

_COLUMNS = (
    "times injected",
    "touches",
    "accepted twice",
    "lost",
    "sent after opt-out",
    "over cap",
    "outside hours",
    "unaccounted",
    "left uncertain",
    "seconds to recover",
)


def rows_of(days: Sequence[Day]) -> dict[str, list[float]]:
    """Fault -> its figures, in the order of the columns; of several days the sum, and the longest recovery."""
    rows: dict[str, list[float]] = {}
    for day in days:
        counts = day.totals
        figures: list[float] = [
            day.injected,
            counts.touches,
            counts.accepted_twice,
            counts.lost,
            counts.sent_after_opt_out,
            counts.over_cap,
            counts.outside_hours,
            counts.unaccounted,
            counts.uncertain,
            day.seconds,
        ]
        before = rows.get(day.fault)
        rows[day.fault] = (
            figures
            if before is None
            else [*(a + b for a, b in zip(before[:-1], figures[:-1], strict=True)), max(before[-1], figures[-1])]
        )
    return rows


def print_table(days: Sequence[Day], console: Console) -> None:
    """For people at a terminal."""
    table = Table("fault", *_COLUMNS)
    for column in table.columns[1:]:
        column.justify = "right"
    for fault, figures in rows_of(days).items():
        table.add_row(fault, *map(_plain, figures))
    console.print(table)


def as_json(days: Sequence[Day], seed: int) -> str:
    """For machines."""
    rows: list[dict[str, Any]] = [
        {"fault": fault, **{name.replace(" ", "_").replace("-", "_"): value for name, value in _named(figures).items()}}
        for fault, figures in rows_of(days).items()
    ]
    problems = [f"{day.fault}: {problem}" for day in days for problem in day.problems]
    return json.dumps({"seed": seed, "faults": rows, "problems": problems}, indent=2)


def write_into(page: Path, days: Sequence[Day], seed: int, minutes: float, now: datetime) -> None:
    """Replace the table of a page, between its two marks.

    Raises:
        ValueError: the page has no such marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: no table of faults is marked in it")
    rows = rows_of(days)
    injections, messages = (int(sum(figures[nth] for figures in rows.values())) for nth in (0, 1))
    lines = [
        f"{now:%Y-%m-%d}, seed {seed}: {injections:,} injections, {messages:,} messages, {minutes:.0f} minutes.",
        "",
        "| fault | " + " | ".join(_COLUMNS) + " |",
        "|---|" + "---:|" * len(_COLUMNS),
        *(f"| `{fault}` | " + " | ".join(map(_plain, figures)) + " |" for fault, figures in rows.items()),
    ]
    page.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}", encoding="utf-8")


def _named(figures: Sequence[float]) -> dict[str, float]:
    return dict(zip(_COLUMNS, figures, strict=True))


def _plain(figure: float) -> str:
    return f"{figure:,.1f}" if isinstance(figure, float) else f"{figure:,}"
