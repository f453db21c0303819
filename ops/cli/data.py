"""Commands about data: bring the schema up, make keys, import exports, look after the quarantine."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import click

from domain.ledger import quarantine as held
from domain.ledger.store import reading
from ops import assembly
from ops.assembly import check_keys
from ops.cli.base import JSON, LIMIT, Exit, fail, migrate_ledger, parts_of, print_json, print_list
from ops.migrations.session import Patience
from ops.runtime.settings import new_keys
from producers.importing.dates import end_of_day
from producers.importing.result import ImportResult, Progress
from producers.importing.run import run_import
from producers.importing.source_file import ImportProblem

_NUMBERS = click.argument("numbers", nargs=-1, type=int, required=True)


@click.command(epilog="Example: reactivate migrate")
@click.option("--contract", is_flag=True, help="Take away what only older code uses, too: none of it may run any more.")
@click.option("--fleet-is-stopped", is_flag=True, help="Nobody waits: a statement may take as long as it needs.")
@click.pass_context
def migrate(context: click.Context, contract: bool, fleet_is_stopped: bool) -> None:
    """Bring the ledger to the newest schema; does nothing when it is there already."""
    with parts_of(context, migrated=False) as parts:
        check_keys(parts.engine, parts.vault)
        patience = Patience(statement=timedelta(days=1)) if fleet_is_stopped else Patience()
        tell = partial(click.echo, err=True)
        click.echo(migrate_ledger(parts.engine, contract=contract, tell=tell, patience=patience))


@click.command(epilog="Example: reactivate keys >> .env")
def keys() -> None:
    """Make fresh keys for the environment. Keep them: without them no contact value can be read again."""
    vault, index = new_keys()
    click.echo(f"REACTIVATE_VAULT_KEYS={vault}\nREACTIVATE_INDEX_KEY={index}")


@click.command(name="import", epilog="Example: reactivate import --organisation organisation.yaml exports/2025-01-06")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--organisation", required=True, type=click.Path(path_type=Path), help="Organisation file.")
@click.option("--mapping", type=click.Path(path_type=Path), help="Mapping of CSV files (default: beside them).")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Day the export was made (default: today, UTC).")
@JSON
@click.pass_context
def import_(
    context: click.Context,
    sources: tuple[Path, ...],
    organisation: Path,
    mapping: Path | None,
    as_of: datetime | None,
    as_json: bool,
) -> None:
    """Import FHIR bulk NDJSON (plain or gzip) or CSV with a mapping. May be stopped and repeated at any time.

    Every rejected row is listed with line, field and reason, and the rest goes in; exits with 1 if there are any, or if
    a file of patients names none.
    """
    with parts_of(context) as parts:
        try:
            result = run_import(
                parts.engine,
                parts.vault,
                organisation_file=organisation,
                sources=list(sources),
                now=parts.clock.now(),
                as_of=end_of_day(as_of.date()) if as_of else None,
                mapping_file=mapping,
                progress=_tell_progress,
            )
        except ImportProblem as error:
            fail(str(error))
    if as_json:
        print_json([asdict(file) for file in result.files])
    else:
        _tell_result(result)
    for warning in result.warnings:
        click.echo(f"reactivate: warning: {warning}", err=True)
    if result.warnings or any(file.rejected for file in result.files):
        sys.exit(Exit.BREACH)


def _tell_progress(progress: Progress) -> None:
    percent = 100 * progress.position // max(progress.size, 1)
    text = f"{progress.file} ({progress.number} of {progress.files}): {progress.lines:,} lines, {percent} %"
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", err=True, nl=False)
    else:
        click.echo(text, err=True)


def _tell_result(result: ImportResult) -> None:
    if sys.stderr.isatty():
        click.echo("", err=True)
    for file in result.files:
        repeat = " (taken before)" if file.is_repeat else ""
        click.echo(
            f"{file.name}: {file.lines:,} lines = {file.taken:,} taken + {file.stale:,} stale"
            f" + {file.ignored:,} ignored + {file.rejected:,} rejected{repeat}"
        )
        for reject in file.rejects:
            click.echo(f"  {file.name}:{reject.line}: {reject.field}: {reject.reason}")
    for note in result.notes:
        click.echo(note)


@click.group(invoke_without_command=True)
@click.pass_context
def quarantine(context: click.Context) -> None:
    """Messages that could not be taken in: kept, listed, replayable. Alone, it lists them."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@quarantine.command(name="list", epilog="Example: reactivate quarantine list --json")
@LIMIT
@JSON
@click.pass_context
def list_(context: click.Context, limit: int, as_json: bool) -> None:
    """List what is held, oldest first, with the reason."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        rows = held.list_held(conn, limit)
    told = [{"id": row.id, "source": row.source, "reason": row.reason, "at": row.received_at} for row in rows]
    lines = (f"{row.id}  {row.received_at:%Y-%m-%d %H:%M}Z  {row.source}: {row.reason}" for row in rows)
    print_list(told, lines, as_json=as_json, nothing="nothing is held")


@quarantine.command(epilog="Example: reactivate quarantine show 3")
@click.argument("number", type=int)
@click.pass_context
def show(context: click.Context, number: int) -> None:
    """Show one message with its bytes: only where nobody reads along."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        found = held.open_held(conn, parts.vault, number)
    if found is None:
        fail(f"there is no message {number} in quarantine")
    click.echo(f"{found.source}: {found.reason}")
    click.echo(found.body.decode("utf-8", "backslashreplace"))


@quarantine.command(epilog="Example: reactivate quarantine replay 3 4")
@_NUMBERS
@click.pass_context
def replay(context: click.Context, numbers: tuple[int, ...]) -> None:
    """Try messages again, after what was wrong is mended; exits with 1 if one is refused again."""
    with parts_of(context) as parts:
        done = assembly.intake(parts).replay(numbers)
    for each in done:
        click.echo(f"{each.quarantine_id}: {each.problem or 'taken in'}")
    if any(each.problem for each in done):
        sys.exit(Exit.BREACH)


@quarantine.command(epilog="Example: reactivate quarantine dismiss 3")
@_NUMBERS
@click.pass_context
def dismiss(context: click.Context, numbers: tuple[int, ...]) -> None:
    """Let messages go that nobody needs; they stay stored, listed no more. Exits with 1 if one was not held."""
    with parts_of(context) as parts, parts.engine.begin() as conn:
        count = held.settle(conn, numbers, "dismissed", parts.clock.now())
    click.echo(f"{count} dismissed")
    missing = len(set(numbers)) - count
    if missing:
        fail(f"{missing} not held: no such message, or it was settled", Exit.BREACH)
