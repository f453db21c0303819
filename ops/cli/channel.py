"""Commands about channels: which there are, how their providers stand, and stopping one at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import click

from channels.kit.discovery import discover
from domain.ledger import pauses
from domain.ledger.store import reading
from ops import assembly
from ops.cli.base import parts_of
from ops.runtime.breaker import Phase


@click.group()
def channel() -> None:
    """Pause, resume and list channels."""


@channel.command(name="list", epilog="Example: reactivate channel list")
@click.pass_context
def channel_list(context: click.Context) -> None:
    """List channels, which are configured or paused, and how the providers of each stand.

    A provider that fails is not asked until trials find it well again; embedded, every process finds out for itself.
    """
    with parts_of(context) as parts, reading(parts.engine) as conn:
        paused = pauses.paused(conn)
        for name in discover():
            state = "ready" if name in parts.channels else "not configured"
            click.echo(f"{name}: paused ({paused[name]})" if name in paused else f"{name}: {state}")
            for line in _providers(parts, name):
                click.echo(f"  {line}")


def _providers(parts: assembly.Parts, channel: str) -> Iterator[str]:
    """A line for each provider, where there are several, or where one is not asked as ever."""
    members = parts.providers_of(channel)
    if not members:
        return
    now = parts.clock.now()
    with closing(assembly.open_breakers(parts, channel)) as breakers:
        stand = breakers.look(now)
        for name, (found, config) in members.items():
            if breakers.is_closed(name):
                part = breakers.part(name, now)
                told = "asked" if part == 1.0 else f"asked, with {part:.0%} of its limits"
            elif stand[name].phase is Phase.OPEN:
                told = f"failing: not asked; trials in {breakers.wait(name, now).total_seconds():.0f} s"
            else:
                told = "failing: on trial"
            if len(members) > 1 or told != "asked":
                yield f"provider {name} (weight {found.weight(config)}): {told}"


@channel.command(name="pause", epilog="Example: reactivate channel pause sms")
@click.argument("name", type=click.Choice(list(discover())))
@click.pass_context
def channel_pause(context: click.Context, name: str) -> None:
    """Stop a channel at once: nothing more is dispatched or claimed on it."""
    with parts_of(context) as parts, parts.engine.begin() as conn:
        pauses.pause(conn, name, "operator", parts.clock.now())
    click.echo(f"{name} is paused; resume it with `reactivate channel resume {name}`")


@channel.command(name="resume", epilog="Example: reactivate channel resume sms")
@click.argument("name", type=click.Choice(list(discover())))
@click.pass_context
def channel_resume(context: click.Context, name: str) -> None:
    """Let a paused channel go again."""
    with parts_of(context) as parts, parts.engine.begin() as conn:
        was_paused = pauses.resume(conn, name)
    click.echo(f"{name} {'goes again' if was_paused else 'was not paused'}")
