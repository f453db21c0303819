"""The stories: the synthetic demonstration, and a rehearsal of a campaign on an export of your own."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from ops.cli.base import Exit, Terminal, fail, print_json
from ops.demo.embedded import NotQuiet
from ops.demo.script import REPORT, Listener, OwnExport, Script, StoryError, default_start
from ops.demo.simulated import SimulatorGone, WorldProblem
from ops.demo.story import play
from ops.demo.telling import listening, tell
from ops.runtime import logs
from producers.importing.dates import end_of_day, is_to_come
from producers.importing.source_file import ImportProblem

_CAMPAIGN = Path(__file__).parent.parent / "demo" / "campaign.yaml"

#: So many lines that the import refused are told of each file.
_FEW = 10

_OUT = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Directory of the story (it is emptied first)."
)
_FLEET = click.option("--fleet", is_flag=True, help="Private RabbitMQ, Redis, PostgreSQL and a process per role.")
_MONTHS = click.option("--months", default=12, show_default=True, type=click.IntRange(1, 60), help="Simulated months.")
_SEED = click.option("--seed", default=7, show_default=True, type=click.IntRange(0), help="Same seed, same report.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the report for machines.")


@click.command(epilog="Example: reactivate demo --patients 2000 --months 6")
@click.option("--patients", default=6000, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--sites", default=6, show_default=True, type=click.IntRange(1, 200))
@_MONTHS
@_SEED
@_FLEET
@_OUT
@_JSON
def demo(patients: int, sites: int, months: int, seed: int, fleet: bool, out: Path | None, as_json: bool) -> None:
    """Play twelve months of a synthetic health system and judge them; needs no server.

    A third is held out, so that the interval of the lift means something.
    """
    script = Script(
        directory=out or Path("build") / ("fleet-demo" if fleet else "demo"),
        campaign=_CAMPAIGN,
        start=default_start(),
        months=months,
        seed=seed,
        holdout=1 / 3,
        fleet=fleet,
        sites=sites,
        patients=patients,
    )
    _tell(script, as_json=as_json)


@click.command(
    epilog="Example: reactivate rehearse --organisation organisation.yaml --as-of 2021-03-31 exports/2021-03-31"
)
@click.argument("export", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--organisation", required=True, type=click.Path(path_type=Path), help="Organisation file.")
@click.option("--campaign", type=click.Path(path_type=Path), default=_CAMPAIGN, help="Campaign file.")
@click.option("--as-of", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Last day the export covers (UTC).")
@_MONTHS
@_SEED
@_FLEET
@_OUT
@_JSON
def rehearse(
    export: Path,
    organisation: Path,
    campaign: Path,
    as_of: datetime,
    months: int,
    seed: int,
    fleet: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Play a campaign on a FHIR export of your own, with simulated providers and patients: nothing leaves this machine.

    The story begins on the day after --as-of. Its ledger stays in the directory of the story: it holds your patients.
    """
    if is_to_come(as_of.date(), datetime.now(UTC)):
        fail(f"--as-of: {as_of:%Y-%m-%d} is to come; an export covers days that have been")
    script = Script(
        directory=out or Path("build") / ("fleet-rehearsal" if fleet else "rehearsal"),
        campaign=campaign,
        start=end_of_day(as_of.date()) + timedelta.resolution,
        months=months,
        seed=seed,
        fleet=fleet,
        own=OwnExport(export, organisation),
    )
    _tell(script, as_json=as_json)


def _tell(script: Script, *, as_json: bool) -> None:
    logs.configure("WARNING")
    try:
        with listening(script) as listener, _interruptible(listener) as between_steps:
            report = play(script, between_steps)
    except (StoryError, WorldProblem, ImportProblem) as error:
        fail(str(error))
    except (NotQuiet, SimulatorGone) as error:
        fail(str(error), Exit.UNAVAILABLE)
    if as_json:
        print_json(report)
    else:
        console = Terminal()
        if script.own is not None:
            console.print("\n".join(refused(report)), highlight=False, markup=False, soft_wrap=True)
        tell(report, console)
        console.print(_what_next(script, report), highlight=False, soft_wrap=True)
    broken = broken_promises(report)
    if broken:
        fail(f"promises were broken: {', '.join(broken)}", Exit.BREACH)


@contextmanager
def _interruptible(listener: Listener) -> Iterator[Listener]:
    """Ctrl-C ends a story between two steps, where nothing is half done; a second one ends it anywhere."""
    asked = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        threading.Thread(target=asked.set).start()

    def check() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    def stage(text: str) -> None:
        check()
        listener.stage(text)

    def instant(now: datetime) -> None:
        check()
        listener.instant(now)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield Listener(stage=stage, instant=instant)
    finally:
        signal.signal(signal.SIGINT, before)


def broken_promises(report: Mapping[str, Any]) -> list[str]:
    """What the ledger's audit or the witness found broken, or where the two disagree."""
    witness = report["witness"]
    found = [f"{name} ({count})" for name, count in report["promises"].items() if count]
    found += [f"{name} (witness: {count})" for name, count in witness["promises"].items() if count]
    if witness["provider_accepted"] != witness["ledger_accepted"]:
        found.append(
            f"the provider accepted {witness['provider_accepted']}, the ledger has {witness['ledger_accepted']}"
        )
    if witness["given_up"]:
        found.append(f"{witness['given_up']} calls to our web process were never answered")
    return found


def refused(report: Mapping[str, Any]) -> list[str]:
    """What the import could not take, by file and line; of every file the first few."""
    lines = []
    for file in report["imported"]:
        rejects = file["rejects"]
        lines += [f"{file['name']}:{each['line']}: {each['field']}: {each['reason']}" for each in rejects[:_FEW]]
        if len(rejects) > _FEW:
            lines.append(f"{file['name']}: more like these; `reactivate import` lists them")
    return lines


def _what_next(script: Script, report: Mapping[str, Any]) -> str:
    home = shlex.quote(str(script.directory))
    lines = [f"\n{report['simulated_days']} simulated days in {report['seconds']} s. The report is {home}/{REPORT}."]
    if script.own is not None:
        lines.append(f"{home} holds patients of yours: remove it when you are done.")
    if script.fleet:
        return "\n".join(lines)
    same = "make fleet-demo" if script.own is None else "the same command with --fleet"
    command = f".venv/bin/reactivate --home {home}"
    hints = {
        f"{command} explain {report['example_patient'] or 'PATIENT'}": "what this patient got, what not, and why",
        f"{command} report": "the figures again",
        f"{command} audit": "every promise, checked in SQL",
        same: "the same story on RabbitMQ, Redis and PostgreSQL",
    }
    width = max(map(len, hints))
    return "\n".join([*lines, "What to try next:", *(f"  {what:<{width}}  {why}" for what, why in hints.items())])
