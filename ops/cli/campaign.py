"""Commands about campaigns: check a file, preview and start it, list what runs, pause, resume and stop it."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import click
from sqlalchemy import RowMapping

from domain.ledger import campaigns, halts
from domain.ledger.store import reading
from domain.rules.vocabulary import Role
from ops.cli.base import JSON, ORGANISATION, ORGANISATION_FILE, Exit, fail, named, parts_of, print_json, print_list
from ops.cli.previewing import preview_as_dict, preview_lines
from ops.runtime.settings import rules_place
from producers.campaign_file import read_campaign
from producers.campaigns import move_enrolments, organisation_of, start_campaign
from producers.importing.organisation_file import read_organisation
from producers.preview import Person, Preview
from producers.preview import preview as foresee
from producers.rule_files import read_rules

_FILE = click.argument("file", type=click.Path(path_type=Path))
_KEY = click.argument("key")
_WHO = click.option("--as", "who", required=True, help="Your name; it is recorded.")
_WHY = click.option("--why", required=True, help="For those who read it later; it is recorded. Name no patient.")
_LONGEST_WHY = 500


@click.group()
def campaign() -> None:
    """Check, preview, start, list, pause, resume and stop campaigns."""


@campaign.command(epilog="Example: reactivate campaign check docs/examples/campaign.yaml")
@_FILE
@ORGANISATION_FILE
def check(file: Path, organisation_file: Path | None) -> None:
    """Check a campaign file; every problem is told with its line and field."""
    if organisation_file is not None:
        read_organisation(organisation_file)
    found = read_campaign(file, read_rules(rules_place(os.environ))).file
    click.echo(f"{file}: fine. {found.campaign}: {len(found.cadence)} touches, holdout {found.holdout:.0%}")
    if found.pace is not None:
        waits = found.pace.when_unknown == "wait"
        click.echo(
            f"paced by open slots: {found.pace.bookings_per_touch:g} bookings expected of a touch; where nobody told "
            f"how many are open, {'nobody begins' if waits else 'as many begin as daily_enrolments_per_site says'}"
        )


@campaign.command(
    epilog="Example: reactivate campaign start docs/examples/campaign.yaml "
    "--released-by 'marketing=Maya Ortiz' --released-by 'clinical=Sam Reed'"
)
@_FILE
@ORGANISATION
@click.option(
    "--released-by",
    "people",
    multiple=True,
    metavar="ROLE=NAME",
    help="Release its texts as well: once for marketing and once for clinical, by two people.",
)
@click.option("--move", is_flag=True, help="Move who is enrolled in an older version to this one; wants --as.")
@click.option("--as", "who", default="", help="Your name, for the record of a move.")
@click.pass_context
def start(
    context: click.Context, file: Path, organisation: str | None, people: tuple[str, ...], move: bool, who: str
) -> None:
    """Start a campaign file whose texts are released as a new version; the same file again changes nothing.

    Who is enrolled finishes their version, unless you --move them: then they get what the new version has after the
    last step they got.
    """
    reviewers = dict(map(_reviewer, people))
    mover = named(who) if move else ""
    with parts_of(context) as parts:
        if move and not parts.systems:
            fail("--move: no channel is set up here, so nobody could be planned for")
        now = parts.clock.now()
        running, is_new = start_campaign(parts.engine, file, organisation, parts.rules, now, reviewers)
        click.echo(f"{running.key} version {running.version} {'started' if is_new else 'was running already'}")
        if move:
            moves = move_enrolments(parts.engine, running, parts.systems, parts.rules, mover, now)
            stayed = ", ".join(f"{count} {reason}" for reason, count in moves.stayed.most_common()) or "none"
            click.echo(f"{moves.moved} enrolments moved to version {running.version}; stayed with theirs: {stayed}")


@campaign.command(epilog="Example: reactivate campaign preview docs/examples/campaign.yaml --csv preview.csv")
@_FILE
@ORGANISATION
@click.option("--limit", type=click.IntRange(1), help="Look at so many patients only, the most urgent first.")
@click.option(
    "--csv", "table", type=click.Path(path_type=Path, dir_okay=False), help="Write a row for every lapse, by reference."
)
@JSON
@click.pass_context
def preview(
    context: click.Context, file: Path, organisation: str | None, limit: int | None, table: Path | None, as_json: bool
) -> None:
    """Tell who would get what and when, who not and why, and what it costs; nothing is sent or written."""
    with parts_of(context) as parts:
        seen = foresee(
            parts.engine,
            file,
            organisation,
            parts.rules,
            ready=parts.systems,
            public_url=parts.settings.public_url,
            now=parts.clock.now(),
            limit=limit,
        )
    if table is not None:
        _write_table(table, seen)
    if as_json:
        print_json(preview_as_dict(seen))
        return
    for line in preview_lines(seen):
        click.echo(line)


@campaign.command(name="list", epilog="Example: reactivate campaign list --json")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List the campaign versions that enrol now."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        found = campaigns.running(conn)
    if as_json:
        print_json(
            [
                {
                    "campaign": each.key,
                    "version": each.version,
                    "holdout": each.holdout,
                    "paused_since": each.paused_at,
                }
                for each in found
            ]
        )
        return
    for each in found:
        paused = f", paused since {each.paused_at:%Y-%m-%d %H:%M}Z" if each.paused_at is not None else ""
        click.echo(f"{each.key} version {each.version}, holdout {each.holdout:.0%}{paused}")
    if not found:
        click.echo("no campaign is running: start one with `reactivate campaign start FILE`")


@campaign.command(epilog="Example: reactivate campaign pause welcome-back --as 'Maya Ortiz' --why 'phones are down'")
@_KEY
@_WHO
@_WHY
@ORGANISATION
@click.pass_context
def pause(context: click.Context, key: str, who: str, why: str, organisation: str | None) -> None:
    """Silence a campaign at once, with what is queued of it; nobody is enrolled until it is resumed."""
    who, why = named(who), _reason(why)
    with parts_of(context) as parts, parts.engine.begin() as conn:
        owner = organisation_of(conn, organisation)
        done = halts.pause(conn, owner, key, who=who, why=why, now=parts.clock.now())
    if not done.is_new:
        click.echo(f"{key} was paused already")
        return
    waits = f"{done.enrolments} enrolments and {done.touches} planned touches wait"
    click.echo(f"{key} is paused: {waits}; resume it with `reactivate campaign resume {key} --as NAME`")


@campaign.command(epilog="Example: reactivate campaign resume welcome-back --as 'Maya Ortiz'")
@_KEY
@_WHO
@ORGANISATION
@click.pass_context
def resume(context: click.Context, key: str, who: str, organisation: str | None) -> None:
    """Let a paused campaign go again; what waited goes out spread over hours, and what is too late expires."""
    who = named(who)
    with parts_of(context) as parts, parts.engine.begin() as conn:
        done = halts.resume(conn, organisation_of(conn, organisation), key, who=who, now=parts.clock.now())
    click.echo(f"{key} goes again: {done.touches} touches had waited" if done.is_new else f"{key} was not paused")


@campaign.command(epilog="Example: reactivate campaign stop welcome-back --as 'Maya Ortiz' --why 'a new one follows'")
@_KEY
@_WHO
@_WHY
@ORGANISATION
@click.pass_context
def stop(context: click.Context, key: str, who: str, why: str, organisation: str | None) -> None:
    """End a campaign for good: planned touches are revoked and its enrolments, in both arms, are finished."""
    who, why = named(who), _reason(why)
    with parts_of(context) as parts, parts.engine.begin() as conn:
        owner = organisation_of(conn, organisation)
        done = halts.stop(conn, owner, key, who=who, why=why, now=parts.clock.now())
    click.echo(f"{key} has ended: {done.enrolments} enrolments finished, {done.touches} planned touches revoked")


@campaign.command(epilog="Example: reactivate campaign history welcome-back")
@click.argument("key", required=False)
@ORGANISATION
@JSON
@click.pass_context
def history(context: click.Context, key: str | None, organisation: str | None, as_json: bool) -> None:
    """Tell who paused, resumed, moved or stopped a campaign, when, and why."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        organisation_id = organisation_of(conn, organisation)
        found = halts.history(conn, organisation_id, key)
        known = campaigns.keys(conn, organisation_id)
    if key is not None and key not in known:
        fail(f"no campaign is called {key}; there are {', '.join(known) or 'none yet'}", Exit.BREACH)
    keep = ("at", "campaign_key", "what", "who", "why", "enrolments")
    print_list(
        [{name: each[name] for name in keep} for each in found],
        map(_told, found),
        as_json=as_json,
        nothing="nobody paused, resumed, moved or stopped a campaign",
    )


def _write_table(path: Path, seen: Preview) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Person._fields)
            writer.writerows(seen.people)
    except OSError as error:
        fail(f"--csv {path}: cannot be written: {error.strerror}")


def _told(event: RowMapping) -> str:
    why = f": {event['why']}" if event["why"] else ""
    about = f"{event['campaign_key']} {event['what']} by {event['who']}"
    return f"{event['at']:%Y-%m-%d %H:%M}Z {about} ({event['enrolments']} enrolments){why}"


def _reason(why: str) -> str:
    text = " ".join(why.split())
    if not 1 <= len(text) <= _LONGEST_WHY:
        fail(f"--why: say in 1 to {_LONGEST_WHY} characters why")
    return text


def _reviewer(text: str) -> tuple[Role, str]:
    role, _, name = text.partition("=")
    if role not in set(Role) or not name.strip():
        fail(f"--released-by {text}: write it as marketing=NAME or clinical=NAME")
    return Role(role), name.strip()
