"""Commands that ask the ledger: what happened to a patient, are the promises kept, did it help."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from domain.ledger.audit import audit as find_breaches
from domain.ledger.explain import UnknownPatientError
from domain.ledger.explain import explain as timeline_of
from domain.ledger.report import report as report_of
from domain.ledger.store import reading
from ops.cli.base import JSON, Exit, Terminal, fail, parts_of, print_json
from ops.demo.telling import tell


@click.command(epilog="Example: reactivate --home build/demo explain PABCDEFGHIJKLMNOP")
@click.argument("patient")
@JSON
@click.pass_context
def explain(context: click.Context, patient: str, as_json: bool) -> None:
    """Tell a patient's timeline: each touch, each non-send and its reason. PATIENT is the public reference."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        try:
            timeline = timeline_of(conn, patient, parts.clock.now())
        except UnknownPatientError as error:
            fail(f"{error}; `reactivate find` tells it for a record number, a phone or a mail address", Exit.BREACH)
    if as_json:
        print_json(timeline.as_dict())
        return
    for line in timeline.lines():
        click.echo(line)


@click.command(epilog="Example: reactivate audit --json")
@JSON
@click.pass_context
def audit(context: click.Context, as_json: bool) -> None:
    """Check every promise in the ledger; exits with 1 on a breach."""
    with parts_of(context) as parts, reading(parts.engine, patient=True) as conn:
        findings = find_breaches(conn, parts.clock.now(), parts.rules.declared)
    if as_json:
        keep = ("promise", "count", "samples", "notes")
        print_json([{name: getattr(each, name) for name in keep} for each in findings])
    else:
        for each in findings:
            click.echo(f"{'kept  ' if each.is_kept else 'BROKEN'} {each.promise}: {each.count}. {each.explanation}")
            for line in (*each.samples, *each.notes):
                click.echo(f"         {line}")
    if any(not each.is_kept for each in findings):
        fail("a promise is broken", Exit.BREACH)


@click.command(epilog="Example: reactivate report --json > report.json")
@JSON
@click.pass_context
def report(context: click.Context, as_json: bool) -> None:
    """What the campaigns did: touches, replies, returns, and the lift over the holdout."""
    with parts_of(context) as parts, reading(parts.engine, patient=True) as conn:
        found = report_of(conn, parts.clock.now(), parts.rules.declared)
    if as_json:
        print_json(found)
    else:
        tell(found, Terminal())


@click.command(epilog='Example: eval "$(reactivate completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    if found is None:
        fail(f"no completion for {shell}")
    click.echo(found(context.find_root().command, {}, "reactivate", "_REACTIVATE_COMPLETE").source())
