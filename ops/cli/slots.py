"""Commands about open slots: take a file of them, and list what is known."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from sqlalchemy import Connection, select

from domain.ledger import slots as ledger
from domain.ledger.organisations import site
from domain.ledger.slots import SlotNews
from domain.ledger.store import reading
from ops.cli.base import JSON, ORGANISATION, fail, parts_of, print_list
from producers.campaigns import organisation_of
from producers.importing.slots_file import read_slots


@click.group()
def slots() -> None:
    """Tell how many appointments each site can still give in a week, for campaigns that are paced by them."""


@slots.command(name="import", epilog="Example: reactivate slots import open-slots.csv")
@click.argument("file", type=click.Path(path_type=Path))
@ORGANISATION
@click.pass_context
def import_(context: click.Context, file: Path, organisation: str | None) -> None:
    """Take a CSV of open slots, or - for standard input: columns site, service_line, week and open.

    `week` is any day of it; weeks begin on Monday. What was told before of the same site, line and week is replaced.
    A file with a mistake is refused as a whole, every mistake told with its line and column.
    """
    with parts_of(context) as parts, parts.engine.begin() as conn:
        news = _read(file, _sites(conn, organisation_of(conn, organisation)))
        ledger.tell(conn, news, parts.clock.now())
    weeks = {each.week for each in news}
    click.echo(f"{len(news)} taken, of {len(weeks)} week{'' if len(weeks) == 1 else 's'}")


@slots.command(name="list", epilog="Example: reactivate slots list --json")
@ORGANISATION
@JSON
@click.pass_context
def list_(context: click.Context, organisation: str | None, as_json: bool) -> None:
    """List the open slots known of this week and later ones."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        now = parts.clock.now()
        found = ledger.listed(conn, organisation_of(conn, organisation), now.date())
    print_list(
        [
            {
                "week": each.week.isoformat(),
                "site": each.key,
                "service_line": each.service_line,
                "open": each.open,
                "told_at": each.told_at,
            }
            for each in found
        ],
        (
            f"week of {each.week}  {each.key}  {each.service_line}: {each.open} open, "
            f"told {each.told_at:%Y-%m-%d %H:%M}Z"
            for each in found
        ),
        as_json=as_json,
        nothing="nobody told of open slots: `reactivate slots import FILE`",
    )


def _sites(conn: Connection, organisation_id: int) -> dict[str, int]:
    wanted = select(site.c.key, site.c.id).where(site.c.organisation_id == organisation_id)
    return {row.key: row.id for row in conn.execute(wanted)}


def _read(path: Path, sites: dict[str, int]) -> list[SlotNews]:
    if str(path) == "-":
        return read_slots(Path("standard input"), sys.stdin, sites)
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            return read_slots(path, file, sites)
    except OSError as error:
        fail(f"{path}: {(error.strerror or 'it cannot be read').lower()}")
