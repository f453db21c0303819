"""`make bench`: every comparison one after the other, a table, a file for machines, and an exit code for scripts."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ops.bench import (
    endurance,
    fairness,
    importing,
    intake,
    memory,
    opting_out,
    pacing,
    schedule,
    sending,
    story,
    understanding,
)
from ops.bench.figures import BenchError, Figure
from ops.bench.ground import Ground
from ops.bench.size import Size
from ops.runtime import logs
from ops.services.process import ServiceError
from ops.services.start import NAMES, Services

#: Every comparison, in the order in which they run.
COMPARISONS: Mapping[str, Callable[[Ground], list[Figure]]] = {
    "sending": sending.measure,
    "opting-out": opting_out.measure,
    "schedule": schedule.measure,
    "memory": memory.measure,
    "endurance": endurance.measure,
    "pacing": pacing.measure,
    "fairness": fairness.measure,
    "importing": importing.measure,
    "intake": intake.measure,
    "story": story.measure,
    "understanding": understanding.measure,
}
_OUT = Path("build/bench.json")
#: Exit codes, as those of `reactivate`: a bar does not hold; something could not be measured; Ctrl-C.
MISSED, UNMEASURED, INTERRUPTED = 1, 3, 130


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Example: make bench ARGS="--quick --only sending --only pacing"',
)
@click.option("--only", multiple=True, type=click.Choice(list(COMPARISONS)), help="This one (may be repeated).")
@click.option("--quick", is_flag=True, help="Reduced sizes, said so in table and file: does it run, not how fast.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures for machines instead of the table.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=_OUT, show_default=True)
def main(only: tuple[str, ...], quick: bool, as_json: bool, out: Path) -> None:
    """Measure the fleet beside its references, on private servers, and judge every ratio by its bar.

    Exits with 0 if all bars hold, 1 if one does not, 3 if something could not be measured.
    """
    logs.configure("WARNING")
    size = Size.QUICK if quick else Size.FULL
    wanted = [name for name in COMPARISONS if not only or name in only]
    try:
        # commits wait for the disk, as in a fleet that is meant
        with _ending_children(), Services(durable=True, environ=os.environ) as services:
            services.start(*NAMES)
            figures, failures = run(wanted, size, lambda text: click.echo(text, err=True), services)
    except KeyboardInterrupt:
        click.echo("bench: stopped; nothing was written", err=True)
        sys.exit(INTERRUPTED)
    except ServiceError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(UNMEASURED)
    write(out, figures, quick=quick)
    if as_json:
        click.echo(json.dumps([each.plain(quick=quick) for each in figures], indent=2))
    else:
        tell(figures, Console(), quick=quick)
    for name, reason in failures.items():
        click.echo(f"bench: {name} could not be measured: {reason}", err=True)
    sys.exit(UNMEASURED if failures else code_of(figures))


def run(
    names: Sequence[str], size: Size, say: Callable[[str], None], services: Services
) -> tuple[list[Figure], dict[str, str]]:
    """The figures of these comparisons, and why some could not be measured.

    Raises:
        ServiceError: a server is not installed, or did not start.
    """
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="reactivate-bench-") as directory:
        for name in names:
            ground = Ground(services, Path(directory) / name, size, say)
            ground.directory.mkdir()
            try:
                figures += COMPARISONS[name](ground)
            except BenchError as error:
                failures[name] = str(error)
            finally:
                ground.clear()
    return figures, failures


def code_of(figures: Sequence[Figure]) -> int:
    """The exit code: whether every bar holds."""
    return 0 if all(each.holds for each in figures) else MISSED


def tell(figures: Sequence[Figure], console: Console, *, quick: bool) -> None:
    """A table on a terminal, plain lines elsewhere."""
    if quick:
        console.print("Reduced sizes (--quick): these figures do not say how fast the fleet is.", highlight=False)
    if not console.is_terminal:
        for each in figures:
            console.print(line_of(each), highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(title="Ours beside a reference, in one run")
    for heading in ("", "ours", "reference", "unit", "ratio", "bar", "holds"):
        table.add_column(heading, justify="left" if heading in {"", "unit", "holds"} else "right")
    for each in figures:
        cells = (f"{each.ours:,.4g}", f"{each.reference:,.4g}", each.unit, f"{each.ratio:.3g}")
        table.add_row(each.name, *cells, f"{each.direction} {each.bar:g}", "yes" if each.holds else "NO")
    console.print(table)


def line_of(figure: Figure) -> str:
    """One figure as a plain line."""
    verdict = "holds" if figure.holds else "DOES NOT HOLD"
    values = f"{figure.ours:,.4g} : {figure.reference:,.4g} {figure.unit} = {figure.ratio:.3g}"
    return f"{figure.name}: {values} ({figure.direction} {figure.bar:g}: {verdict})"


def write(path: Path, figures: Sequence[Figure], *, quick: bool) -> None:
    """The figures as a list in a file, for machines."""
    rows: list[dict[str, Any]] = [each.plain(quick=quick) for each in figures]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n")


@contextmanager
def _ending_children() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does: with everything that was started here."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
