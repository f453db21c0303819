"""The commands about listeners: which web processes outreach waits for, and how to go on without a lost one."""

from __future__ import annotations

import click

from domain.ledger import listeners
from domain.ledger.listeners import Standing
from domain.ledger.store import reading
from ops.cli.base import JSON, fail, named, parts_of, print_list

_LONGEST_WHY = 300
_MEANINGS = {
    Standing.WELL: "nothing waits on its disk",
    Standing.BEHIND: "outreach waits: it brings what its disk kept into the ledger",
    Standing.SILENT: "outreach waits: nobody knows what its disk keeps",
    Standing.GIVEN_UP: "outreach goes on without it: nothing was kept when it was last heard of",
}


@click.group()
def listener() -> None:
    """Web processes as the ledger hears them: list them, and forget one that will not return."""


@listener.command(name="list", epilog="Example: reactivate listener list")
@JSON
@click.pass_context
def listener_list(context: click.Context, as_json: bool) -> None:
    """List the web processes, when each was last heard of, and whether outreach waits for it."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        found = listeners.look(conn)
    rows = [{"id": each.id, "standing": each.standing.value, "heard_at": each.beat_at} for each in found]
    lines = [
        f"{each.id}  {each.standing}  heard {each.beat_at:%Y-%m-%d %H:%M:%S} UTC  {_MEANINGS[each.standing]}"
        for each in found
    ]
    print_list(rows, lines, as_json=as_json, nothing="no web process was heard of")


@listener.command(
    name="forget", epilog="Example: reactivate listener forget ID --as 'Maya Ortiz' --why 'its disk is lost, ticket 17'"
)
@click.argument("id_", metavar="ID")
@click.option("--as", "who", required=True, metavar="NAME", help="Who answers for it.")
@click.option("--why", required=True, metavar="TEXT", help="Why nobody waits for it; kept sealed.")
@click.pass_context
def listener_forget(context: click.Context, id_: str, who: str, why: str) -> None:
    """Let outreach go on without a silent web process; who and why is on record.

    What patients chose and only its disk keeps is not known then: start a web process on its home instead, if there is
    any way to. One that is heard of again counts again.
    """
    if not why.strip() or len(why) > _LONGEST_WHY:
        fail(f"--why: say it in 1 to {_LONGEST_WHY} characters")
    name = named(who)
    with parts_of(context) as parts, parts.engine.begin() as conn:
        forgotten = listeners.forget(conn, id_, by=name, why=parts.vault.seal(why, listeners.WHY))
    if forgotten is None:
        fail(
            f"no silent web process is called {id_}; `reactivate listener list` names them. "
            "One that is heard of cannot be forgotten: stop it first"
        )
    click.echo("outreach no longer waits for it")
