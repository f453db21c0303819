"""Commands about templates: check and preview files, release a version, recall it, tell what was decided."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from domain.ledger import releases, texts
from domain.ledger.releases import Version
from domain.ledger.store import reading
from domain.ledger.texts import VersionNews
from domain.rules.rulebook import Rulebook
from domain.rules.sms_text import cut, fold
from domain.rules.template_lint import lint
from domain.rules.templates import SAMPLES, TemplateError, choose, render
from domain.rules.vocabulary import Role, Segment, TouchKind
from ops.cli.base import JSON, ORGANISATION, ORGANISATION_FILE, Exit, fail, named, parts_of, print_json
from producers.campaign_file import read_campaign
from producers.campaigns import check_name, organisation_of, release_all
from producers.importing.organisation_file import read_organisation
from producers.lexicon import lexicon
from producers.templates import SHIPPED, TemplateEntry, read_library

_PATH = click.argument("path", type=click.Path(path_type=Path), default=SHIPPED)
_FROM = click.option(
    "--from", "source", type=click.Path(path_type=Path), help="File or folder of templates, or a campaign file."
)
_WHO = click.option("--as", "who", required=True, help="Your name; it is recorded.")


@click.group()
def template() -> None:
    """Check, preview, release and recall templates."""


@template.command(epilog="Example: reactivate template check docs/examples/templates.yaml")
@_PATH
@ORGANISATION_FILE
@JSON
def check(path: Path, organisation_file: Path | None, as_json: bool) -> None:
    """Judge a file or folder of templates (without PATH: the library that comes along); exits with 1 on a finding."""
    library = read_library(path)
    if organisation_file is not None:
        read_organisation(organisation_file)
    if as_json:
        print_json(
            [
                {
                    "file": str(each.path),
                    "line": each.problem.line,
                    "template": each.template,
                    "field": each.problem.field,
                    "rule": each.finding.rule,
                    "words": each.finding.words,
                    "advice": each.finding.advice,
                }
                for each in library.judged
            ]
        )
    else:
        for each in library.judged:
            click.echo(f"{each.path}:{each.problem.line}: {each.template}: {each.finding}")
    if library.judged:
        fail(f"{len(library.judged)} findings; nothing of these templates can be released", Exit.BREACH)
    if not as_json:
        click.echo(f"{path}: fine. {len(library.entries)} templates, judged by lexicon {lexicon().version}")


@template.command(
    epilog="Example: reactivate template preview docs/examples/templates.yaml spring-walk --language es --channel sms"
)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("key")
@click.option("--language", default="en", show_default=True)
@click.option("--channel", default="sms", show_default=True)
@click.option("--patient-like", "segment", type=click.Choice([each.value for each in Segment]), help="A segment.")
@click.option("--step", default=0, show_default=True, type=click.IntRange(0, 5), help="Step of the cadence, from 0.")
@JSON
def preview(path: Path, key: str, language: str, channel: str, segment: str | None, step: int, as_json: bool) -> None:
    """Show a template of PATH as a patient would get it, with sample values, and its segments."""
    entry = read_library(path).find(key)
    here = [each for each in entry.templates() if (each.channel, each.language) == (channel, language)]
    here = [each for each in here if segment is None or each.segment in {"", segment}]
    here = [each for each in here if each.step in {-1, step}]
    if not here:
        fail(f"{entry.name} has no {channel} text in {language} for {segment or 'anybody'} at step {step}")
    kind = here[0].step_kind or TouchKind.OUTREACH.value
    text = choose(
        here,
        channel=channel,
        language=language,
        segment=segment or here[0].segment,
        step_kind=kind,
        step=step,
        seasons=[each.season for each in here],
    )
    try:
        subject = render(text.subject, SAMPLES) if text.subject else None
        body = render(text.body, SAMPLES)
    except TemplateError as error:
        fail(f"{entry.name}, {channel}, {language}: {error}: `reactivate template check {path}` tells its line")
    parts = cut(fold(body)) if channel == "sms" else []
    if as_json:
        print_json({"template": entry.name, "subject": subject, "body": body, "segments": parts})
        return
    click.echo(f"{entry.name}, {channel}, {language}")
    if subject:
        click.echo(f"subject: {subject}")
    click.echo(body)
    for nth, part in enumerate(parts, 1):
        click.echo(f"segment {nth} of {len(parts)}: {part!r}")


@template.command(name="list", epilog="Example: reactivate template list --json")
@_PATH
@JSON
def list_(path: Path, as_json: bool) -> None:
    """List the templates of a file or folder (without PATH: of the library that comes along)."""
    rows = [_row(each) for _, each in sorted(read_library(path).entries.items())]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        where = ", ".join(row["segments"]) or "every segment"
        more = f"; {row['season']}" if row["season"] else ""
        more += f"; incentive: {row['incentive']}" if row["incentive"] else ""
        languages, channels = " ".join(row["languages"]), " ".join(row["channels"])
        click.echo(f"{row['template']}  {where}, {row['when']}  [{channels}] [{languages}]{more}")


@template.command(epilog="Example: reactivate template status welcome --json")
@click.argument("key", required=False)
@ORGANISATION
@JSON
@click.pass_context
def status(context: click.Context, key: str | None, organisation: str | None, as_json: bool) -> None:
    """Tell which versions are recorded, released, recalled: by whom, when, and why."""
    with parts_of(context) as parts, reading(parts.engine) as conn:
        organisation_id = organisation_of(conn, organisation)
        found = releases.versions(conn, organisation_id, key)
        known = [each.key for each in releases.versions(conn, organisation_id)] if key and not found else []
    if as_json:
        print_json([_told(each) for each in found])
    else:
        _tell_versions(found)
    if key and not found:
        there = ", ".join(dict.fromkeys(known)) or "none yet: release one, or start a campaign"
        fail(f"no template {key} is recorded; recorded are {there}", Exit.BREACH)
    if not found and not as_json:
        click.echo("no template is recorded: release one, or start a campaign")


def _tell_versions(found: list[Version]) -> None:
    for each in found:
        click.echo(f"{each.name}: {each.state}")
        for event in each.events:
            role = f" for {event['role']}" if event["role"] else ""
            why = f": {event['why']}" if event["why"] else ""
            click.echo(f"  {event['at']:%Y-%m-%d %H:%M}Z {event['what']}{role} by {event['who']}{why}")


@template.command(epilog="Example: reactivate template release 6-12-invite@1 --as 'Maya Ortiz' --role marketing")
@click.argument("name", metavar="KEY[@VERSION]")
@_WHO
@click.option("--role", required=True, type=click.Choice([each.value for each in Role]), help="In which role.")
@_FROM
@ORGANISATION
@click.pass_context
def release(
    context: click.Context, name: str, who: str, role: str, source: Path | None, organisation: str | None
) -> None:
    """Let a template version out; it takes two people, one for marketing and one for clinical."""
    who = named(who)
    with parts_of(context) as parts, parts.engine.begin() as conn:
        now, organisation_id = parts.clock.now(), organisation_of(conn, organisation)
        check_name(conn, organisation_id)
        version_id = _to_release(conn, organisation_id, name, source, parts.rules, now)
        release_all(conn, [version_id], {Role(role): who}, now)
        (state,) = [each for each in releases.versions(conn, organisation_id) if each.id == version_id]
    click.echo(f"{state.name}: {state.state}")


@template.command(
    epilog="Example: reactivate template recall 6-12-invite@1 --as 'Sam Reed' --why 'the number in it is wrong'"
)
@click.argument("name", metavar="KEY[@VERSION]")
@_WHO
@click.option("--why", required=True, help="For those who read it later; it is recorded.")
@ORGANISATION
@click.pass_context
def recall(context: click.Context, name: str, who: str, why: str, organisation: str | None) -> None:
    """Stop a template version (without VERSION: every one) at once, with what is queued of it. There is no way back."""
    key, version = _split(name)
    who = named(who)
    if not why.strip() or len(why) > 500:
        fail("--why: say in 1 to 500 characters why it is recalled")
    with parts_of(context) as parts, parts.engine.begin() as conn:
        organisation_id = organisation_of(conn, organisation)
        done = releases.recall(conn, organisation_id, key, version, who=who, why=why.strip(), now=parts.clock.now())
    waits = f"{done.stopped} planned touches wait, {done.queued} of them were queued"
    click.echo(f"{', '.join(done.names)}: recalled. {waits}")


def _split(name: str) -> tuple[str, int | None]:
    key, at, version = name.partition("@")
    if not key or (at and not version.isdecimal()):
        fail(f"{name}: write it as KEY or KEY@VERSION, as `reactivate template status` does")
    return key, int(version) if at else None


def _to_release(
    conn: Connection, organisation_id: int, name: str, source: Path | None, rules: Rulebook, now: datetime
) -> int:
    """The version meant, recorded as its file says now; one that no file has any more is judged as recorded."""
    key, number = _split(name)
    news = _news(key, number, source, rules)
    if news is not None:
        return texts.record(conn, organisation_id, news, now)
    found = [each for each in releases.versions(conn, organisation_id, key) if number in {None, each.version}]
    if not found:
        fail(f"{name} is neither in the library that comes along nor recorded: name its file with --from")
    wrong = [str(finding) for text in texts.texts_of(conn, found[-1].id) for finding in lint(text, lexicon())]
    if wrong:
        fail(f"{found[-1].name} is not fit by the lexicon of today: {wrong[0]}")
    return found[-1].id


def _news(key: str, number: int | None, source: Path | None, rules: Rulebook) -> VersionNews | None:
    if key.startswith("campaign:"):
        if source is None:
            return None
        inline = read_campaign(source, rules).file.inline()
        if inline is None or inline.key != key:
            fail(f"{source} has no texts of its own called {key}")
        return inline
    library = read_library(source or SHIPPED)
    if source is None and not any(key == known and number in {None, version} for known, version in library.entries):
        return None
    entry = library.find(key if number is None else f"{key}@{number}")
    library.check(entry.name)
    return entry.news()


def _row(entry: TemplateEntry) -> dict[str, Any]:
    steps = f" {', '.join(map(str, entry.steps))}" if entry.steps else ""
    return {
        "template": entry.name,
        "segments": [each.value for each in entry.segments],
        "when": f"{entry.step_kind}{steps}" if entry.step_kind else "any step",
        "season": entry.season,
        "incentive": entry.incentive.item if entry.incentive else None,
        "channels": list(dict.fromkeys(each.channel for each in entry.texts)),
        "languages": sorted({each.language for each in entry.texts}),
    }


def _told(version: Version) -> dict[str, Any]:
    keep = ("at", "what", "role", "who", "why", "checksum", "lexicon", "stopped")
    return {
        "template": version.name,
        "state": version.state,
        "checksum": version.checksum,
        "events": [{name: each[name] for name in keep if each[name] is not None} for each in version.events],
    }
