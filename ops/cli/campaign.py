"""Commands about campaigns: check a file, start it, list what runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from domain.ledger import campaigns
from domain.ledger.store import reading
from domain.rules.vocabulary import Role
from ops.cli.base import ORGANISATION, fail, parts_of, print_json
from ops.runtime.settings import rules_place
from producers.campaign_file import read_campaign
from producers.campaigns import start_campaign
from producers.rule_files import read_rules

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group()
def campaign() -> None:
    """Check, start and list campaigns."""


@campaign.command(epilog="Example: reactivate campaign check docs/examples/campaign.yaml")
@_FILE
def check(file: Path) -> None:
    """Check a campaign file; every problem is told with its line and field."""
    found = read_campaign(file, read_rules(rules_place(os.environ))).file
    click.echo(f"{file}: fine. {found.campaign}: {len(found.cadence)} touches, holdout {found.holdout:.0%}")


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
@click.pass_context
def start(context: click.Context, file: Path, organisation: str | None, people: tuple[str, ...]) -> None:
    """Start a campaign file whose texts are released as a new version; the same file again changes nothing."""
    reviewers = dict(map(_reviewer, people))
    with parts_of(context) as parts:
        running, is_new = start_campaign(parts.engine, file, organisation, parts.rules, parts.clock.now(), reviewers)
    click.echo(f"{running.key} version {running.version} {'started' if is_new else 'was running already'}")


@campaign.command(name="list", epilog="Example: reactivate campaign list --json")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List the campaign versions that enrol now."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        found = campaigns.running(conn)
    if as_json:
        print_json([{"campaign": each.key, "version": each.version, "holdout": each.holdout} for each in found])
        return
    for each in found:
        click.echo(f"{each.key} version {each.version}, holdout {each.holdout:.0%}")
    if not found:
        click.echo("no campaign is running: start one with `reactivate campaign start FILE`")


def _reviewer(text: str) -> tuple[Role, str]:
    role, _, name = text.partition("=")
    if role not in set(Role) or not name.strip():
        fail(f"--released-by {text}: write it as marketing=NAME or clinical=NAME")
    return Role(role), name.strip()
