"""Runs a seeded campaign of faults against a real fleet on private servers, and says what became of its promises.

Example: make faults ARGS="--injections 200 --seed 7 --only crash-commit"
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from ops.services.process import ServiceError
from tests.faults.campaign import Day, campaign, shares
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.report import as_json, print_table, write_into

#: A promise was broken; a mistake of the user's; a server is missing. As the fleet's own commands.
_BREACH, _MISTAKE, _UNAVAILABLE = 1, 2, 3
#: Columns of the table where nobody says how wide it may be.
_WIDTH = 180
#: Days in a row that may pass without one injection of a kind before the campaign goes on with the next.
_PATIENCE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit code 0 when every promise was kept."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - {each.name for each in FAULTS}:
        parser.error(f"--only: there is no fault {', '.join(sorted(unknown))}; --list tells which there are")
    if options.list:
        for each in FAULTS:
            sys.stdout.write(f"{each.name:22} {each.what}\n")
        return 0
    chosen = [each for each in FAULTS if not options.only or each.name in options.only]
    began = time.monotonic()
    try:
        days = _run(chosen, options)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return _UNAVAILABLE
    if options.as_json:
        sys.stdout.write(as_json(days, options.seed) + "\n")
    else:
        print_table(days, Console(width=None if sys.stdout.isatty() else _WIDTH))
    if options.into is not None:
        write_into(options.into, days, options.seed, (time.monotonic() - began) / 60, datetime.now(UTC))
    problems = [f"{day.fault}: {problem}" for day in days for problem in day.problems]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 0 if all(day.is_sound for day in days) else _BREACH


def _run(chosen: Sequence[Fault], options: argparse.Namespace) -> list[Day]:
    days: list[Day] = []
    wanted = shares(chosen, options.injections)
    with tempfile.TemporaryDirectory(prefix="reactivate-faults-") as made:
        directory = options.keep or Path(made)
        directory.mkdir(exist_ok=True, parents=True)
        with campaign(directory, options.seed) as played:
            for fault in chosen:
                idle = 0
                while wanted[fault.name] > 0 and idle < _PATIENCE:
                    day = played.play(fault, min(wanted[fault.name], options.a_day), options.people)
                    days.append(day)
                    wanted[fault.name] -= day.injected
                    idle = 0 if day.injected else idle + 1
                    sys.stderr.write(f"day {len(days)}: {fault.name}: {day.injected} injected, {day.totals}\n")
                    sys.stderr.writelines(f"  {problem}\n" for problem in day.problems)
                    sys.stderr.flush()
    return days


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--injections", type=int, default=200, help="in all, shared among the kinds (default: 200)")
    parser.add_argument("--seed", type=int, default=7, help="of people, their words and the faults' order (default: 7)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this kind only; may be repeated")
    parser.add_argument("--people", type=int, default=150, help="new people a day (default: 150)")
    parser.add_argument("--a-day", type=int, default=40, help="injections a day, at most (default: 40)")
    parser.add_argument("--json", action="store_true", dest="as_json", help="for machines")
    parser.add_argument(
        "--into", type=Path, metavar="PAGE", help="replace the table of this page, too (docs/faults.md)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave logs and the provider's ledger there")
    parser.add_argument("--list", action="store_true", help="tell the kinds of faults")
    return parser


if __name__ == "__main__":
    sys.exit(main())
