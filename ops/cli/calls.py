"""Commands of the list of calls: what is due, take one, and tell how it ended."""

from __future__ import annotations

from datetime import datetime

import click

from domain.ledger import calls as call_list
from domain.ledger import disclosures
from domain.ledger.calls import CallEnd, CallError
from domain.ledger.claims import Claimed
from domain.ledger.disclosures import Asking
from domain.ledger.store import reading
from domain.rules.reasons import sentence
from ops.assembly import Parts, open_renderer
from ops.cli.base import JSON, fail, named, parts_of, print_json, print_list
from ops.cli.desk import system_account
from workers.rendering import Unrenderable

#: How many of the most urgent are asked of the gate before one says that none may be made.
_ASKED = 50


@click.group()
def calls() -> None:
    """List the calls that are due, take one, and tell how it ended."""


@calls.command(name="list", epilog="Example: reactivate calls list --json")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="At most so many.")
@JSON
@click.pass_context
def list_(context: click.Context, limit: int, as_json: bool) -> None:
    """List the calls that are due, patients at high risk first; by reference, without a number."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        found = call_list.due(conn, parts.clock.now(), limit)
    rows = [
        {
            "call": row.id,
            "patient": row.ref,
            "site": row.site,
            "campaign": row.campaign_key,
            "step": row.step,
            "high_risk": row.high_risk,
            "due_at": row.due_at,
            "until": row.expires_at,
        }
        for row in found
    ]
    lines = (
        f"call {row['call']}: {row['patient']}, {row['site']}, {row['campaign']} step {row['step']}, "
        f"until {row['until']:%Y-%m-%d %H:%M}Z{', high risk' if row['high_risk'] else ''}"
        for row in rows
    )
    print_list(rows, lines, as_json=as_json, nothing="no call is due")


@calls.command(epilog="Example: reactivate calls take --as 'Maya Ortiz'")
@click.option("--as", "who", required=True, help="Your name; that you saw the number is recorded.")
@JSON
@click.pass_context
def take(context: click.Context, who: str, as_json: bool) -> None:
    """Take the most urgent call that may be made now: its number and what to say. It is yours for half an hour.

    Opt-outs, hours, caps and pauses hold as for any message, and the call counts in the caps.
    """
    caller = named(who)
    with parts_of(context) as parts:
        now = parts.clock.now()
        renderer = open_renderer(parts)
        with reading(parts.engine) as conn:
            waiting = [row.id for row in call_list.due(conn, now, _ASKED)]
        claimed = next((taken for each in waiting if (taken := _taken(parts, each, caller, now)) is not None), None)
        if claimed is None:
            click.echo("no call may be made now")
            return
        try:
            message = renderer.render(claimed, now)
        except Unrenderable as problem:
            with parts.engine.begin() as conn:
                call_list.end(conn, claimed.touch_id, CallEnd.NOT_CALLED, now)
            fail(f"call {claimed.touch_id} was given back: {sentence(problem.reason)}")
    told = {"call": claimed.touch_id, "number": message.to, "say": message.body, "until": claimed.valid_until}
    if as_json:
        print_json(told)
        return
    click.echo(f"call {claimed.touch_id}: {message.to}, not after {claimed.valid_until:%Y-%m-%d %H:%M}Z")
    click.echo(message.body)
    click.echo(f"then: reactivate calls done {claimed.touch_id} --outcome {'|'.join(CallEnd)}")


@calls.command(epilog="Example: reactivate calls done 17 --outcome voicemail")
@click.argument("call", type=int)
@click.option(
    "--outcome", required=True, type=click.Choice([each.value for each in CallEnd]), help="How the call ended."
)
@click.pass_context
def done(context: click.Context, call: int, outcome: str) -> None:
    """Tell how a call ended that was taken; `do-not-call` is an opt-out of everything, at once."""
    with parts_of(context) as parts, parts.engine.begin() as conn:
        try:
            ended = call_list.end(conn, call, CallEnd(outcome), parts.clock.now())
        except CallError as error:
            fail(str(error))
    click.echo(f"call {ended.touch_id}: {outcome}{', and opted out of everything' if ended.opted_out else ''}")


def _taken(parts: Parts, call: int, caller: str, now: datetime) -> Claimed | None:
    """Take a call, and put on record who sees its number."""
    with parts.engine.begin() as conn:
        claimed = call_list.take(conn, call, parts.systems, parts.rules, now)
        if claimed is not None and claimed.patient_id is not None:
            asking = Asking(caller, system_account(), f"call {claimed.touch_id}")
            disclosures.disclose(conn, parts.vault, claimed.patient_id, asking, now)
        return claimed
