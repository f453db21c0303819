"""Commands about the rules of outreach: what is in force and why, and whether somebody may be contacted now."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click

from domain.rules.places import state_code
from domain.rules.quiet_hours import zone_info
from domain.rules.rulebook import Kind, Row, Rulebook
from domain.rules.window import Window, window_at
from ops.cli.base import JSON, Exit, fail, print_json
from producers.rule_files import read_rules

_NOT_ADVICE = "This is what the software enforces, not legal advice: see docs/rules.md."
_IN = ("zones", "state", "instant")
_OUT = ("allowed", "next_allowed", "window_end", "rule")
_LOCAL = "%Y-%m-%d %a %H:%M"

_RULES = click.option(
    "--rules",
    "place",
    type=click.Path(path_type=Path),
    envvar="REACTIVATE_RULES",
    help="The organisations' own file or folder (default: REACTIVATE_RULES).",
)
_ORGANISATION = click.option("--organisation", metavar="KEY", help="By its own rules (default: one without a file).")


class WrongFieldError(ValueError):
    """What is wrong with a field of a question; the text has the field and the reason."""


@click.command(epilog="Example: reactivate rules --kind hours --state FL")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only this table.")
@click.option("--state", help="Only the country's rows and this state's, such as FL.")
@_ORGANISATION
@_RULES
@JSON
def rules(kind: str | None, state: str | None, organisation: str | None, place: Path | None, as_json: bool) -> None:
    """Print the rules in force, and why: limit, source, when it was checked, what an organisation put in its place."""
    rulebook = _rulebook(place, organisation)
    try:
        states = None if state is None else _states(state)
    except WrongFieldError as problem:
        raise click.UsageError(f"--{problem}") from None
    wanted = [
        (key, row)
        for key in ([organisation] if organisation else [None, *rulebook.organisations])
        for row in rulebook.rows(key, kind=Kind(kind) if kind else None, states=states)
        # of further organisations only what they changed
        if key == organisation or row.override is not None
    ]
    if as_json:
        print_json([_row_as_dict(key, row) for key, row in wanted])
        return
    for key, row in wanted:
        for line in _row_lines(key if key != organisation else None, row):
            click.echo(line)
    if states is not None and kind in {None, Kind.HOURS}:
        click.echo(f"hours in force in {', '.join(sorted(states))}: {rulebook.in_force(organisation, states).week}")
    click.echo(_NOT_ADVICE)


@click.command(epilog="Example: reactivate hours --zones America/Denver,America/Phoenix --at 2026-03-08T01:30Z")
@click.option("--zones", help="Every IANA zone the person may be in, separated by commas.")
@click.option("--state", default="", help="The state, or states, whose rules count, such as FL.")
@click.option("--at", "instant", help="Instant with its offset from UTC, or Z (default: now).")
@click.option(
    "--csv",
    "questions",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Answer a file with the columns zones (separated by ; or |), state and instant instead; - = standard input.",
)
@_ORGANISATION
@_RULES
@JSON
def hours(
    zones: str | None,
    state: str,
    instant: str | None,
    questions: Path | None,
    organisation: str | None,
    place: Path | None,
    as_json: bool,
) -> None:
    """Whether outreach is allowed at an instant, by which rule, when next, and when that window ends."""
    if (zones is None) == (questions is None) or (questions is not None and (as_json or state or instant)):
        raise click.UsageError("give either --zones, with --state, --at and --json as you like, or --csv alone")
    rulebook = _rulebook(place, organisation)
    _note_others(rulebook, organisation)
    if questions is not None:
        _answer_all(rulebook, organisation, questions)
        return
    try:
        at = _instant(instant) if instant is not None else datetime.now(UTC)
        places, codes = _zones(zones or ""), _states(state)
    except WrongFieldError as problem:
        raise click.UsageError(f"--{str(problem).replace('instant', 'at', 1)}") from None
    found = window_at(at, places, rulebook.in_force(organisation, codes))
    if as_json:
        print_json({**_told(found), "at": _utc(at), "zones": places, "states": sorted(codes)})
        return
    for line in _window_lines(at, places, found):
        click.echo(line)


def _rulebook(place: Path | None, organisation: str | None) -> Rulebook:
    rulebook = read_rules(place)
    if organisation is not None and organisation not in rulebook.organisations:
        click.echo(f"{organisation} has no file of its own: it goes by everybody's rules", err=True)
    return rulebook


def _note_others(rulebook: Rulebook, organisation: str | None) -> None:
    """Say whose rules were not asked for: who reads these hours may think that they are theirs."""
    if organisation is None and rulebook.organisations:
        others = ", ".join(sorted(rulebook.organisations))
        click.echo(f"by everybody's rules; {others} has its own: ask with --organisation", err=True)


def _row_as_dict(organisation: str | None, row: Row) -> dict[str, Any]:
    override = row.override
    return {
        "id": row.id,
        "kind": row.kind.value,
        "organisation": organisation,
        "jurisdiction": row.jurisdiction,
        "basis": row.basis.value,
        "says": row.says,
        "limit": str(row.limit),
        "in_force": str(row.in_force),
        "source": row.source,
        "checked_on": None if row.checked_on is None else row.checked_on.isoformat(),
        "to_be_verified_by_counsel": row.counsel,
        "enforced": row.enforced,
        "override": None
        if override is None
        else {
            "file": override.file,
            "laxer_than_the_law": override.is_looser,
            "reason": override.reason,
            "acknowledged_by": override.acknowledged_by,
            "acknowledged_on": None if override.acknowledged_on is None else override.acknowledged_on.isoformat(),
        },
    }


def _row_lines(organisation: str | None, row: Row) -> Iterator[str]:
    whose = f"{organisation}: " if organisation else ""
    yield f"{whose}{row.id} ({row.jurisdiction}, {row.basis}): {row.in_force}"
    yield f"    {row.says}"
    checked = f"checked on {row.checked_on}" if row.checked_on is not None else "recalled, not checked"
    counsel = "; to be verified by counsel" if row.counsel else ""
    known = "" if row.enforced else "; for people to know, the system does not act on it"
    yield f"    source: {row.source}; {checked}{counsel}{known}"
    if row.override is not None:
        yield f"    {_override_line(row)}"


def _override_line(row: Row) -> str:
    override = row.override
    if override is None:
        return ""
    why = f": {override.reason}" if override.reason else ""
    if not override.is_looser:
        return f"instead of {row.limit}, by {override.file}{why}"
    by = f"acknowledged by {override.acknowledged_by} on {override.acknowledged_on}"
    return f"LAXER THAN THE LAW, instead of {row.limit}, by {override.file}, {by}{why}"


def _window_lines(at: datetime, zones: Iterable[str], found: Window) -> Iterator[str]:
    yield f"{'allowed' if found.allowed else 'not allowed'} at {_everywhere(at, zones)}"
    yield f"rule: {found.rule}"
    if found.next_allowed is None or found.window_end is None:
        yield "next allowed: never, these zones share no hour"
        return
    yield f"next allowed: {_everywhere(found.next_allowed, zones)}"
    yield f"that window ends: {_everywhere(found.window_end, zones)}"


def _everywhere(at: datetime, zones: Iterable[str]) -> str:
    local = "; ".join(f"{at.astimezone(zone_info(zone)):{_LOCAL}} {zone}" for zone in zones)
    return f"{_utc(at)} ({local})"


def _told(found: Window) -> dict[str, Any]:
    return {
        "allowed": found.allowed,
        "next_allowed": _utc(found.next_allowed),
        "window_end": _utc(found.window_end),
        "rule": found.rule,
    }


def _utc(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _answer_all(rulebook: Rulebook, organisation: str | None, path: Path) -> None:
    """Row in, row out: nothing but the row at hand is kept."""
    name = "standard input" if str(path) == "-" else str(path)
    with _opened(path, name) as file:
        reader = csv.DictReader(file, strict=True)
        writer = _writer(reader, name)
        refused = 0
        while True:
            try:
                row = next(reader, None)
                if row is None:
                    break
                answer = _answer(rulebook, organisation, row)
            except (WrongFieldError, csv.Error) as problem:
                refused += 1
                click.echo(f"{name}:{reader.line_num}: {problem}", err=True)
                continue
            writer.writerow({**row, **answer, "allowed": "yes" if answer["allowed"] else "no"})
    if refused:
        fail(f"{name}: {refused} {'row was' if refused == 1 else 'rows were'} not answered", Exit.BREACH)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[TextIO]:
    if str(path) == "-":
        yield sys.stdin
        return
    try:
        # bytes that are no UTF-8 make a field wrong, and not the rest unreadable
        file = path.open(newline="", encoding="utf-8-sig", errors="replace")
    except OSError as error:
        fail(f"{name}: {(error.strerror or 'it cannot be read').lower()}")
    with file:
        yield file


def _writer(reader: csv.DictReader[str], name: str) -> csv.DictWriter[str]:
    try:
        columns = reader.fieldnames or ()
    except csv.Error as error:
        fail(f"{name}:1: {error}")
    missing = [column for column in _IN if column not in columns]
    if missing:
        fail(f"{name}:1: {', '.join(missing)}: required, but not there; expected the columns {', '.join(_IN)}")
    kept = [column for column in columns if column not in _OUT]
    writer = csv.DictWriter(sys.stdout, [*kept, *_OUT], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    return writer


def _answer(rulebook: Rulebook, organisation: str | None, row: Mapping[Any, Any]) -> dict[str, Any]:
    if None in row:
        raise WrongFieldError("more fields than the header has")
    at, zones, states = _instant(row["instant"] or ""), _zones(row["zones"] or ""), _states(row["state"] or "")
    return _told(window_at(at, zones, rulebook.in_force(organisation, states)))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[,;|]", text) if part.strip()]


def _zones(text: str) -> list[str]:
    found = list(dict.fromkeys(_parts(text)))
    if not found:
        raise WrongFieldError("zones: expected one IANA time zone at least, such as America/Denver")
    for name in found:
        try:
            zone_info(name)
        except (LookupError, ValueError, OSError):
            raise WrongFieldError(f"zones: {name} is no IANA time zone such as America/Denver") from None
    return found


def _states(text: str) -> set[str]:
    found = set()
    for part in _parts(text):
        code = state_code(part)
        if code is None:
            raise WrongFieldError(f"state: {part} is no US state or territory such as FL")
        found.add(code)
    return found


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise WrongFieldError(f"instant: {text or 'nothing'} is no instant with an offset, such as 2026-03-08T01:30Z")
    try:
        # the search looks ahead, and local clocks lie on both sides
        if 1900 <= found.astimezone(UTC).year <= 2200:
            return found.astimezone(UTC)
    except OverflowError:
        pass
    raise WrongFieldError(f"instant: {text} lies outside the years 1900 to 2200")
