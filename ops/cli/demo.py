"""The stories: the synthetic demonstration, and a rehearsal of a campaign on an export of your own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ops.cli.base import Exit, fail, print_json
from ops.demo.embedded import NotQuiet
from ops.demo.simulated import SimulatorGone, WorldProblem
from ops.demo.story import REPORT, OwnExport, Script, StoryError, default_start, play
from ops.demo.telling import listening, tell
from ops.runtime import logs
from producers.importing.dates import end_of_day
from producers.importing.source_file import ImportProblem

_CAMPAIGN = Path(__file__).parent.parent / "demo" / "campaign.yaml"

_OUT = click.option("--out", type=click.Path(path_type=Path), help="Directory of the story (it is emptied first).")
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
        with listening(script) as listener:
            report = play(script, listener)
    except (StoryError, WorldProblem, ImportProblem) as error:
        fail(str(error))
    except (NotQuiet, SimulatorGone) as error:
        fail(str(error), Exit.UNAVAILABLE)
    if as_json:
        print_json(report)
    else:
        console = Console()
        tell(report, console)
        console.print(_what_next(script, report), highlight=False, soft_wrap=True)
    broken = broken_promises(report)
    if broken:
        fail(f"promises were broken: {', '.join(broken)}", Exit.BREACH)


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


def _what_next(script: Script, report: Mapping[str, Any]) -> str:
    home = shlex.quote(str(script.directory))
    patient = report["example_patient"] or "PATIENT"
    lines = [
        f"\n{report['simulated_days']} simulated days in {report['seconds']} s. The report is {home}/{REPORT}.",
        "What to try next:",
    ]
    if script.fleet:
        return "\n".join(lines[:1])
    lines += [
        f"  .venv/bin/reactivate --home {home} explain {patient}   what this patient got, what not, and why",
        f"  .venv/bin/reactivate --home {home} report              the figures again, by channel and segment",
        f"  .venv/bin/reactivate --home {home} audit               every promise, checked in SQL",
        "  make fleet-demo                                        the same story on RabbitMQ, Redis and PostgreSQL",
    ]
    return "\n".join(lines)
