"""Telling: a story's progress while it plays, and its report as tables a person can read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops.demo.script import Listener, Script

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@contextmanager
def listening(script: Script) -> Iterator[Listener]:
    """A progress bar on a terminal, plain lines elsewhere; both on standard error."""
    console = Console(stderr=True)
    with _bar(console, script) if console.is_terminal else _lines(script) as listener:
        yield listener


@contextmanager
def _bar(console: Console, script: Script) -> Iterator[Listener]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("getting ready", total=script.days)

        def instant(now: datetime) -> None:
            progress.update(
                task, completed=(now - script.start).days, description=f"{_MONTHS[now.month - 1]} {now.year}"
            )

        yield Listener(stage=lambda text: progress.update(task, description=text), instant=instant)


@contextmanager
def _lines(script: Script) -> Iterator[Listener]:
    told: set[tuple[int, int]] = set()

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def instant(now: datetime) -> None:
        month = (now.year, now.month)
        if month not in told:
            told.add(month)
            percent = 100 * (now - script.start).days // script.days
            say(f"{_MONTHS[now.month - 1]} {now.year} ({percent} %)")

    yield Listener(stage=say, instant=instant)


def tell(report: Mapping[str, Any], console: Console) -> None:
    """Print a report as tables."""
    console.print(
        f"\n{report['patients']:,} patients at {report['sites']} sites; {report['lapsed']:,} lapsed on a line of care"
        f" in the course of it."
    )
    console.print(_counts("Lapsed patients by segment", "segment", report["by_segment"]))
    console.print(_counts("Enrolled", "arm", report["enrolled"]))
    console.print(_matrix("Touches by channel and outcome", report["touches"]))
    console.print(_counts("Replies by intent", "intent", report["replies"]))
    console.print(_effect(report))
    console.print(_promises(report))


def _counts(title: str, name: str, counts: Mapping[str, int]) -> Table:
    table = Table(name, "number", title=title, title_justify="left")
    table.columns[1].justify = "right"
    for key, count in counts.items():
        table.add_row(key.replace("_", " "), f"{count:,}")
    return table


def _matrix(title: str, rows: Mapping[str, Mapping[str, int]]) -> Table:
    """States go down and channels across: there are more states than fit a narrow terminal."""
    states = sorted({state for row in rows.values() for state in row})
    table = Table("touches", *rows, title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for state in states:
        table.add_row(state, *(f"{row.get(state, 0):,}" for row in rows.values()))
    return table


def _effect(report: Mapping[str, Any]) -> Table:
    table = Table("", "", title="Did it help?", title_justify="left", show_header=False)
    for arm in ("treatment", "holdout"):
        returned = report["returned"][arm]
        rate = 100 * returned["n"] / returned["of"] if returned["of"] else 0.0
        table.add_row(f"returned, {arm}", f"{returned['n']:,} of {returned['of']:,} ({rate:.1f} %)")
    lift = report["lift"]
    if lift["points"] is not None:
        interval = f"95 % interval {lift['low']:+.1f} to {lift['high']:+.1f}"
        table.add_row("lift", f"{lift['points']:+.1f} points ({interval})")
    table.add_row("rebooked", f"{report['rebooked']:,}")
    table.add_row("opt-outs", f"{report['opt_outs']:,}")
    uncertain = report["uncertain"]
    if uncertain["ever"]:
        told = f"{uncertain['by_receipt']:,} settled by a receipt, {uncertain['by_provider']:,} by asking"
        told += f", {uncertain['by_person']:,} by a person"
        table.add_row("uncertain sends", f"{uncertain['ever']:,}: {told}, {uncertain['open']:,} open")
    if uncertain["median_minutes"] is not None:
        table.add_row("median minutes to settle", f"{uncertain['median_minutes']:,.1f}")
    if report["median_days_to_return"] is not None:
        table.add_row("median days to return", f"{report['median_days_to_return']:.0f}")
    return table


def _promises(report: Mapping[str, Any]) -> Table:
    table = Table("promise", "ledger", "witness", title="Promises: how often broken", title_justify="left")
    witness = report.get("witness", {})
    seen = witness.get("promises", {})
    for promise, count in report["promises"].items():
        style = "bold red" if count or seen.get(promise) else None
        table.add_row(promise.replace("_", " "), str(count), str(seen.get(promise, "")), style=style)
    if witness:
        table.add_row("messages accepted", f"{witness['ledger_accepted']:,}", f"{witness['provider_accepted']:,}")
    return table
