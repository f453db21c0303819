"""Commands of the list of calls: what is due and in hand, take one, dial it, and tell how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click
from sqlalchemy import Connection

from channels.kit.contract import Outgoing
from domain.ledger import call_list, disclosures
from domain.ledger import calls as calling
from domain.ledger.call_list import Listed, Standing
from domain.ledger.calls import CallEnd, CallError, Refused
from domain.ledger.claimed import Claimed
from domain.ledger.disclosures import Asking
from domain.ledger.store import reading
from domain.ledger.transactions import transact
from domain.rules.reasons import sentence
from ops.assembly import Parts, open_renderer
from ops.cli.base import JSON, Exit, fail, named, parts_of, print_json, print_list
from ops.cli.desk import system_account
from workers.rendering import Unrenderable

#: How many of the most urgent are asked of the gate before one says that none may be made.
_ASKED = 50


@click.group()
def calls() -> None:
    """List the calls that are due, take one, dial it, and tell how it ended."""


@calls.command(name="list", epilog="Example: reactivate calls list --json")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="At most so many due.")
@JSON
@click.pass_context
def list_(context: click.Context, limit: int, as_json: bool) -> None:
    """List the calls in callers' hands, then those that are due, patients at high risk first; without a number.

    A call that was taken and must not be made any more stands first, as withdrawn, with the reason.
    """
    with parts_of(context) as parts, reading(parts.engine) as conn:
        now = parts.clock.now()
        found = [
            *call_list.in_hand(conn, parts.systems, parts.rules, now),
            *call_list.due(conn, now, limit),
        ]
    print_list([_row(each) for each in found], map(_line, found), as_json=as_json, nothing="no call is due")


@calls.command(epilog="Example: reactivate calls take")
@JSON
@click.pass_context
def take(context: click.Context, as_json: bool) -> None:
    """Take the most urgent call that may be made now: whom it is for, and what to say. It is yours for half an hour.

    Its number is shown by `reactivate calls dial` alone, which asks once more whether it may still be made: until then
    an opt-out, a booking or a death withdraws it.
    """
    with parts_of(context) as parts:
        now = parts.clock.now()
        with reading(parts.engine) as conn:
            waiting = call_list.due(conn, now, _ASKED)
        taken = next(((each, found) for each in waiting if (found := _taken(parts, each.id, now)) is not None), None)
        if taken is None:
            click.echo("no call may be made now")
            return
        call, claimed = taken
        message = _rendered(parts, claimed, now)
    until = min(now + call_list.KEPT, claimed.valid_until)
    told = {"call": call.id, "patient": call.patient, "site": call.site, "say": message.body, "until": until}
    if as_json:
        print_json(told)
        return
    click.echo(f"call {call.id}: {call.patient}, {call.site}, yours until {until:%Y-%m-%d %H:%M}Z")
    click.echo(message.body)
    click.echo(f"then: reactivate calls dial {call.id} --as NAME")


@calls.command(epilog="Example: reactivate calls dial 17 --as 'Maya Ortiz'")
@click.argument("call", type=int)
@click.option("--as", "who", required=True, help="Your name; that you saw the number is recorded.")
@JSON
@click.pass_context
def dial(context: click.Context, call: int, who: str, as_json: bool) -> None:
    """Ask whether a call that was taken may be made now, and show its number: dial it within two minutes.

    Opt-outs, hours, caps and pauses hold at this instant as for any message, and the call counts in the caps from
    here on. If it must not be made, the answer is "do not call" with the reason, and exit code 1.
    """
    caller = named(who)
    with parts_of(context) as parts:
        now = parts.clock.now()
        try:
            found = transact(parts.engine, lambda conn: _dialled(conn, parts, call, caller, now))
        except CallError as error:
            fail(str(error))
        if isinstance(found, Refused):
            again = "" if found.until is None else f"; it is on the list again from {found.until:%Y-%m-%d %H:%M}Z"
            fail(f"call {call}: do not call: {sentence(found.why)}{again}", Exit.BREACH)
        message = _rendered(parts, found, now)
    by = min(now + calling.DIAL_WITHIN, found.valid_until)
    if as_json:
        print_json({"call": call, "number": message.to, "say": message.body, "dial_by": by})
        return
    click.echo(f"call {call}: {message.to}, dial by {by:%Y-%m-%d %H:%M:%S}Z, or give it back with --outcome not-called")
    click.echo(message.body)
    click.echo(f"then: reactivate calls done {call} --outcome {'|'.join(CallEnd)}")


@calls.command(epilog="Example: reactivate calls done 17 --outcome voicemail")
@click.argument("call", type=int)
@click.option(
    "--outcome", required=True, type=click.Choice([each.value for each in CallEnd]), help="How the call ended."
)
@click.pass_context
def done(context: click.Context, call: int, outcome: str) -> None:
    """Tell how a call ended, or that it was not made; `do-not-call` is an opt-out of everything, at once."""
    with parts_of(context) as parts:
        now = parts.clock.now()
        try:
            ended = transact(parts.engine, lambda conn: calling.end(conn, call, CallEnd(outcome), now))
        except CallError as error:
            fail(str(error))
    click.echo(f"call {ended.touch_id}: {outcome}{', and opted out of everything' if ended.opted_out else ''}")


def _taken(parts: Parts, call: int, now: datetime) -> Claimed | None:
    return transact(parts.engine, lambda conn: calling.take(conn, call, parts.systems, parts.rules, now))


def _dialled(conn: Connection, parts: Parts, call: int, caller: str, now: datetime) -> Claimed | Refused:
    """Dial a call, and put on record who sees its number."""
    found = calling.dial(conn, call, parts.systems, parts.rules, now)
    if isinstance(found, Claimed) and found.patient_id is not None:
        asking = Asking(caller, system_account(), f"call {call}")
        disclosures.disclose(conn, parts.vault, found.patient_id, asking, now)
    return found


def _rendered(parts: Parts, claimed: Claimed, now: datetime) -> Outgoing:
    """What to say, and the number; a call without is given back."""
    try:
        return open_renderer(parts).render(claimed, now)
    except Unrenderable as problem:
        transact(parts.engine, lambda conn: calling.end(conn, claimed.touch_id, CallEnd.NOT_CALLED, now))
        fail(f"call {claimed.touch_id} was given back: {sentence(problem.reason)}")


def _row(call: Listed) -> dict[str, Any]:
    return {
        "call": call.id,
        "standing": call.standing.value,
        "why": None if call.why is None else sentence(call.why),
        "patient": call.patient,
        "site": call.site,
        "campaign": call.campaign,
        "step": call.step,
        "high_risk": call.is_high_risk,
        "due_at": call.due_at,
        "until": call.until,
    }


def _line(call: Listed) -> str:
    return f"call {call.id}: {call.patient}, {call.site}, {call.campaign} step {call.step}, {', '.join(_said(call))}"


def _said(call: Listed) -> Iterable[str]:
    until = f"until {call.until:%Y-%m-%d %H:%M}Z"
    if call.standing == Standing.WITHDRAWN:
        yield f"withdrawn: do not call: {sentence(call.why)}"
    else:
        yield until if call.standing == Standing.DUE else f"{call.standing.value}, {until}"
    if call.is_high_risk:
        yield "high risk"
