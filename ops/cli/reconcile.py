"""The command that holds our opt-outs against the provider's: what it knew and we did not is in force afterwards."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TextIO

import click

from channels.kit.discovery import discover
from domain.ledger import reconciling, senders
from domain.ledger.reconciling import Differences, Listed
from ops.channel_settings import means_opted_out
from ops.cli.base import JSON, ORGANISATION, Exit, fail, parts_of, print_json
from producers.campaigns import organisation_of

_WHEN: Final = "opted_out_at"

_TELL: Final = {
    "missing": "missing here, and in force now",
    "sent_after": "calls to these since they opted out",
    "overtaken": "taken back here by a later START, still blocked there",
    "ours_alone": "in force here, not on the list",
}


class _UnusableRowError(Exception):
    """The text names the field and says why, without the value."""


@click.command(epilog="Example: reactivate reconcile --provider-opt-outs opt-outs.csv")
@click.option(
    "--provider-opt-outs",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The provider's whole list as CSV; - reads it. Without it, only its refusals are compared.",
)
@click.option("--channel", default="sms", show_default=True, metavar="NAME", help="Whose list it is.")
@ORGANISATION
@JSON
@click.pass_context
def reconcile(context: click.Context, file: Path | None, channel: str, organisation: str | None, as_json: bool) -> None:
    """Compare the ledger's opt-outs, the provider's and what was sent; put what is missing in force at once.

    The CSV has a column `phone` (for email: `email`) and may have `opted_out_at`, an instant with its offset; a row
    without one counts from now. Differences are told as counts, patients by reference. Unusable rows are listed by
    line, the others taken. Exits with 1 if an opt-out was missing or a row could not be used; the same list again finds
    nothing missing.
    """
    if channel not in discover():
        fail(f"--channel: there is none of this name (there are: {', '.join(sorted(discover()))})")
    system = discover()[channel].contact_system
    with parts_of(context) as parts:
        now, problems, found = parts.clock.now(), list[str](), dict[str, Differences]()
        if file is not None:
            with parts.engine.connect() as conn:
                owner = organisation_of(conn, organisation)
            listed = _read(file, system, now, problems)
            found["list"] = reconciling.with_list(parts.engine, parts.vault, owner, system, listed, now)
        found["refusals"] = reconciling.with_refusals(parts.engine, means_opted_out, now)
    if as_json:
        print_json({"unusable": problems} | {source: asdict(each) for source, each in found.items()})
    else:
        for line in _lines(found):
            click.echo(line)
    for problem in problems:
        click.echo(f"reactivate: {problem}", err=True)
    if problems or any(each.missing for each in found.values()):
        sys.exit(Exit.BREACH)


def _lines(found: dict[str, Differences]) -> Iterator[str]:
    for source, each in found.items():
        yield f"{source}: {each.listed} opt-out{'' if each.listed == 1 else 's'} at the provider"
        for kind, words in _TELL.items():
            if kind == "missing" or getattr(each, kind):
                yield f"  {getattr(each, kind)} {words}"
        if each.patients:
            yield f"  concerned: {', '.join(each.patients)}"


def _read(path: Path, system: str, now: datetime, problems: list[str]) -> list[Listed]:
    name = "standard input" if str(path) == "-" else str(path)
    with _opened(path, name) as stream:
        reader = csv.DictReader(stream)
        listed = []
        try:
            if system not in (reader.fieldnames or ()):
                fail(f"{name}:1: {system}: required, but not there; expected the columns {system} and {_WHEN}")
            for row in reader:
                try:
                    listed.append(_listed(row, system, now))
                except _UnusableRowError as error:
                    problems.append(f"{name}:{reader.line_num}: {error}")
        except csv.Error as error:
            fail(f"{name}:{reader.line_num}: {error}")
    return listed


def _listed(row: dict[Any, Any], system: str, now: datetime) -> Listed:
    if None in row:
        raise _UnusableRowError("more fields than the header has")
    sender = senders.known_as(system, (row[system] or "").strip())
    if sender is None:
        raise _UnusableRowError(f"{system}: it cannot be used for messages")
    return Listed(sender, _instant((row.get(_WHEN) or "").strip(), now))


def _instant(text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise _UnusableRowError(f"{_WHEN}: no instant with an offset, such as 2026-03-08T01:30Z")
    # a clock that is ahead by minutes is no reason to leave an opt-out lying; one by a day is a wrong column
    if not datetime(1990, 1, 2, tzinfo=UTC) <= found <= now + timedelta(days=1):
        raise _UnusableRowError(f"{_WHEN}: before 1990, or still to come")
    return found.astimezone(UTC)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[TextIO | Iterable[str]]:
    if str(path) == "-":
        yield sys.stdin
        return
    try:
        file = path.open(newline="", encoding="utf-8-sig", errors="replace")
    except OSError as error:
        fail(f"{name}: {(error.strerror or 'it cannot be read').lower()}")
    with file:
        yield file
