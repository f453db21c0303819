"""Commands for the people behind the fleet: what waits for them, one thing at a time."""

from __future__ import annotations

from dataclasses import asdict

import click

from domain.ledger import finishes
from domain.ledger import inbox as waiting
from domain.ledger.store import reading
from ops.cli.base import JSON, LIMIT, fail, parts_of, print_list


@click.group(invoke_without_command=True)
@click.pass_context
def inbox(context: click.Context) -> None:
    """Replies no rule understood, and sends nobody knows the outcome of. Alone, it lists them."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@inbox.command(name="list", epilog="Example: reactivate inbox list --json")
@LIMIT
@JSON
@click.pass_context
def list_(context: click.Context, limit: int, as_json: bool) -> None:
    """List what waits, longest first: ids and references only, never a text."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        found = waiting.inbox(conn, limit)
    print_list([asdict(each) for each in found], map(_line, found), as_json=as_json, nothing="nothing waits")


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
    """Close a reply: somebody has seen to it."""
    with parts_of(context) as parts, parts.engine.begin() as conn:
        was_open = waiting.close(conn, reply, parts.clock.now())
        is_attempt = waiting.is_waiting_attempt(conn, reply)
    if not was_open:
        fail(f"reply {reply} does not wait for anybody{_instead(reply) if is_attempt else ''}")
    click.echo(f"reply {reply} is closed")


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


def _line(each: waiting.Waiting) -> str:
    who = ", ".join(each.patients) or "nobody we know"
    return f"{each.kind} {each.id}  since {each.since:%Y-%m-%d %H:%M}Z  {each.channel}  {who}"
