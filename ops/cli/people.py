"""Commands for the people behind the fleet: what waits for them, one thing at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime

import click
from sqlalchemy import Connection

from domain.ledger import finishes, verdicts
from domain.ledger import inbox as waiting
from domain.ledger.store import reading
from ops.cli.base import JSON, LIMIT, fail, parts_of, print_list


@click.group(invoke_without_command=True)
@click.pass_context
def inbox(context: click.Context) -> None:
    """Replies a person has to read, and sends nobody knows the outcome of. Alone, it lists them."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@inbox.command(name="list", epilog="Example: reactivate inbox list --json")
@LIMIT
@JSON
@click.pass_context
def list_(context: click.Context, limit: int, as_json: bool) -> None:
    """List what waits, emergencies first, then the longest wait: ids and references only, never a text."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        found = waiting.inbox(conn, limit)
        now = parts.clock.now()
    lines = (_line(each, now) for each in found)
    print_list([asdict(each) for each in found], lines, as_json=as_json, nothing="nothing waits")


@inbox.command(epilog="Example: reactivate inbox show 17")
@click.argument("reply", type=int)
@click.pass_context
def show(context: click.Context, reply: int) -> None:
    """Show one reply, with its text: only where nobody reads along."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        opened = waiting.open_reply(conn, parts.vault, reply)
        is_attempt = waiting.is_waiting_attempt(conn, reply)
    if opened is None:
        fail(f"there is no reply {reply}{_instead(reply) if is_attempt else ''}")
    click.echo(f"reply {opened.id}, {opened.channel}, {opened.received_at:%Y-%m-%d %H:%M}Z, {opened.state}")
    click.echo(opened.text)


@inbox.command(epilog="Example: reactivate inbox close 17")
@click.argument("reply", type=int)
@click.pass_context
def close(context: click.Context, reply: int) -> None:
    """Close a reply: somebody has seen to it. What it paused goes on."""
    with _deciding(context) as (conn, now):
        was_open = verdicts.close(conn, reply, now)
        is_attempt = waiting.is_waiting_attempt(conn, reply)
    if not was_open:
        fail(f"reply {reply} does not wait for anybody{_instead(reply) if is_attempt else ''}")
    click.echo(f"reply {reply} is closed")


@inbox.command(epilog="Example: reactivate inbox deceased 17 PEONAQ5EJMULLOM4L")
@click.argument("reply", type=int)
@click.argument("patient", nargs=-1)
@click.pass_context
def deceased(context: click.Context, reply: int, patient: tuple[str, ...]) -> None:
    """Confirm the death that a reply reports: PATIENT is never contacted again, and the reply is closed.

    Where several patients share the number all of them were held: name who has died, the others are let go.
    """
    with _deciding(context) as (conn, now):
        confirmed = verdicts.confirm_death(conn, reply, patient, now)
    click.echo(f"reply {reply} is closed; deceased: {', '.join(confirmed)}")


@inbox.command(epilog="Example: reactivate inbox lift 17")
@click.argument("reply", type=int)
@click.pass_context
def lift(context: click.Context, reply: int) -> None:
    """Nobody has died: let outreach go on that a reply held for a reported death, and close the reply."""
    with _deciding(context) as (conn, now):
        free = verdicts.lift(conn, reply, now)
    whom = ", ".join(free) or "nobody, another reply holds them"
    click.echo(f"reply {reply} is closed; not held for a death any more: {whom}")


@inbox.command(name="wrong-number", epilog="Example: reactivate inbox wrong-number 17 PEONAQ5EJMULLOM4L")
@click.argument("reply", type=int)
@click.argument("patient", nargs=-1)
@click.pass_context
def wrong_number(context: click.Context, reply: int, patient: tuple[str, ...]) -> None:
    """Say whose the number is not: PATIENT is not reached there any more, and the reply is closed.

    For a reply that leaves open which of several patients it concerns. The others are let go and keep the number. No
    import brings it back.
    """
    with _deciding(context) as (conn, now):
        gone = verdicts.wrong_number(conn, reply, patient, now)
    click.echo(f"reply {reply} is closed; the number is not of {', '.join(gone)}")


@inbox.command(epilog="Example: reactivate inbox settle 231 --accepted")
@click.argument("attempt", type=int)
@click.option("--accepted/--not-accepted", required=True, help="What the provider's own records say.")
@click.pass_context
def settle(context: click.Context, attempt: int, accepted: bool) -> None:
    """Settle a send of unknown outcome, after looking it up at the provider."""
    with parts_of(context) as parts, parts.engine.begin() as conn:
        is_done = finishes.settle_by_person(conn, attempt, was_accepted=accepted, now=parts.clock.now())
    if not is_done:
        fail(f"attempt {attempt} is not uncertain")
    click.echo(f"attempt {attempt} is settled")


def _instead(attempt: int) -> str:
    return f"; attempt {attempt} does: `reactivate inbox settle {attempt} --accepted`, or `--not-accepted`"


@contextmanager
def _deciding(context: click.Context) -> Iterator[tuple[Connection, datetime]]:
    """A transaction in which a person decides; what does not fit the reply is told, and changes nothing."""
    try:
        with parts_of(context) as parts, parts.engine.begin() as conn:
            yield conn, parts.clock.now()
    except verdicts.VerdictError as error:
        fail(str(error))


def _line(each: waiting.Waiting, now: datetime) -> str:
    who = ", ".join(each.patients) or "nobody we know"
    line = f"{each.kind} {each.id}  since {each.since:%Y-%m-%d %H:%M}Z  {each.channel}  {who}"
    if each.intent is not None:
        line += f"  {each.intent}"
    if not each.urgent:
        return line
    minutes = max(0, int((now - each.since).total_seconds() // 60))
    return f"URGENT {line}, for {minutes // 60} h {minutes % 60:02} min"
