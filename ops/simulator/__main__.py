"""Runs the simulation as one process: `python -m ops.simulator --world DIR --clock FILE`.

With `--make` it first writes a world (organisation.yaml, export/, export-csv/, world.json) into DIR; without a clock
that is all it does.
It prints one line of JSON when its ports are open, and stops on SIGTERM, SIGINT, or when the pipe on its standard
input closes, so that it never outlives whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from aiohttp import web

from ops.runtime.clock import SharedClock
from ops.simulator.certificate import CERTIFICATE, server_context
from ops.simulator.control import control_application
from ops.simulator.draws import Draws
from ops.simulator.ehr import World, adopt_export, generate, read_world, write_recipe
from ops.simulator.export import write_world
from ops.simulator.provider_smtp import SmtpFaults
from ops.simulator.sms_account import SmsAccount, SmsFaults
from ops.simulator.stage import Credentials, Stage


def main(arguments: list[str] | None = None) -> int:
    """Make a world or serve one. Exit code 2 for a user's mistake."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.make and options.clock is None:
        parser.error("--clock: the simulation needs the file of its clock")
    if options.adopt is not None and options.organisation is None:
        parser.error("--adopt: the export needs the --organisation file by which it is read")
    try:
        world = _make(options) if options.make else read_world(options.world)
        if options.clock is not None:
            uvloop.run(_serve(world, options))
    except (ValueError, OSError) as error:
        print(f"simulator: {error}", file=sys.stderr)  # noqa: T201 - a command's own message
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.simulator", description=__doc__)
    parser.add_argument("--world", type=Path, required=True, metavar="DIR", help="where the world is or will be")
    parser.add_argument("--clock", type=Path, metavar="FILE", help="the shared clock's file")
    parser.add_argument("--control-port", type=int, default=0, help="0 takes a free port, here and below")
    parser.add_argument("--sms-port", type=int, default=0)
    parser.add_argument("--smtp-port", type=int, default=0)
    parser.add_argument("--sms-rate", type=float, default=0.0, help="messages a second before 20429 (0: no limit)")
    parser.add_argument("--sms-burst", type=int, default=100, help="messages at once before 20429")
    parser.add_argument("--no-faults", action="store_true", help="providers that never fail")
    parser.add_argument("--make", action="store_true", help="write a world first")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sites", type=int, default=6)
    parser.add_argument("--patients", type=int, default=6000)
    parser.add_argument("--start", default="2025-01-06", help="first day of the story (UTC)")
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--adopt", type=Path, metavar="DIR", help="with --make: use the patients of this FHIR export")
    parser.add_argument("--organisation", type=Path, metavar="FILE", help="with --adopt: how the export is read")
    return parser


def _make(options: argparse.Namespace) -> World:
    start = _instant(options.start)
    if options.adopt is None:
        world = generate(options.seed, options.sites, options.patients, start, options.months)
        write_world(world, options.world)
    else:
        world = adopt_export(options.seed, options.adopt, options.organisation, start, options.months)
        write_recipe(world, options.world)
    return world


def _instant(text: str) -> datetime:
    """A date or an instant; without a zone it is UTC."""
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def credentials(seed: int, rate_per_second: float = 0.0, burst: int = 100) -> Credentials:
    """The providers' accounts of a seed."""
    draws = Draws(seed)
    account = SmsAccount(
        sid="AC" + draws.token("account") * 2,
        token=draws.token("auth token") * 2,
        rate_per_second=rate_per_second,
        burst=burst,
    )
    return Credentials(account, smtp_user="reactivation", smtp_password=draws.token("smtp password"))


async def _serve(world: World, options: argparse.Namespace) -> None:
    clock = SharedClock(options.clock)
    login = credentials(world.recipe.seed, options.sms_rate, options.sms_burst)
    stage = Stage(
        world,
        options.world,
        clock.now,
        login,
        sms_faults=SmsFaults.none() if options.no_faults else None,
        smtp_faults=SmtpFaults.none() if options.no_faults else None,
    )
    async with AsyncExitStack() as open_things:
        open_things.callback(clock.close)
        open_things.push_async_callback(stage.close)
        ports = {
            "control": await _listen(open_things, control_application(stage), options.control_port),
            "sms": await _listen(open_things, stage.sms.application(), options.sms_port),
        }
        smtp = await stage.smtp.listen(server_context(options.world), options.smtp_port)
        open_things.callback(smtp.close)
        ready = {
            **ports,
            "smtp": smtp.sockets[0].getsockname()[1],
            "ca_file": str(options.world / CERTIFICATE),
            "account_sid": login.sms.sid,
            "auth_token": login.sms.token,
            "smtp_user": login.smtp_user,
            "smtp_password": login.smtp_password,
        }
        with _watching() as stopped:
            print(json.dumps(ready), flush=True)  # noqa: T201 - the line the conductor waits for
            await stopped.wait()


async def _listen(open_things: AsyncExitStack, application: web.Application, port: int) -> int:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1, keepalive_timeout=3600)
    await runner.setup()
    open_things.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return int(runner.addresses[0][1])


@contextmanager
def _watching() -> Iterator[asyncio.Event]:
    """An event that is set by a signal to end, or when the parent closes our standard input."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    # a terminal or /dev/null tells nothing about a parent; a pipe does
    descriptor = sys.stdin.fileno() if sys.stdin else -1
    is_pipe = descriptor >= 0 and stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    if is_pipe:
        loop.add_reader(descriptor, lambda: stopped.set() if os.read(descriptor, 4096) == b"" else None)
    yield stopped
    if is_pipe:
        loop.remove_reader(descriptor)


if __name__ == "__main__":
    sys.exit(main())
