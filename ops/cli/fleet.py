"""Commands that run the fleet: one process per role, or everything embedded in one."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import structlog
from sqlalchemy.exc import DBAPIError

from channels.kit.discovery import discover
from domain import jobs
from domain.events.topology import TOPOLOGY
from ops import assembly
from ops.cli.base import Exit, fail, migrate_ledger, parts_of, print_json
from ops.demo.embedded import Embedded
from ops.migrations.fit import UnfitLedgerError, check_schema
from ops.runtime import logs, metrics
from ops.runtime.broker import run_worker
from ops.runtime.connecting import wait_for_servers
from ops.runtime.settings import SettingsError
from ops.services.start import start as start_services
from ops.serving import serve_web
from producers.clock import run_clock

log = structlog.get_logger(__name__)


class _Seconds(click.FloatRange):
    """A range in which `nan` is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return number


_PAUSE = click.option(
    "--pause", default=0.5, show_default=True, type=_Seconds(0.001, 60), help="Seconds between two rounds."
)

#: Seconds between two tries of the web process to check its keys, and how long it waits for the first to be over.
_CHECK_EVERY, _CHECK_FIRST = 5.0, 1.0


#: Seconds after the signal until a process that has not ended is ended: jobs have 25 of them, the rest is for goodbyes.
OVERDUE = 40.0


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set; a second Ctrl-C ends at once, and so does a thread that will not end."""
    stop = threading.Event()

    def handle(signum: int, _frame: object) -> None:
        if stop.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        # from a thread: the main thread may hold the event's lock in `wait` at this very moment
        threading.Thread(target=ask).start()

    def ask() -> None:
        if not stop.is_set():
            stop.set()
            # never cancelled: what hangs may be a library's thread, for which the interpreter waits at its very end
            overdue = threading.Timer(OVERDUE, _end_anyway)
            overdue.daemon = True
            overdue.start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_anyway() -> None:
    """A statement or a library's thread hangs: nothing is lost that a kill would not lose, which is nothing."""
    log.error("stop_overdue", threads=threading.active_count() - 1)
    logging.shutdown()
    os._exit(Exit.UNAVAILABLE)


@contextmanager
def _process(
    context: click.Context, *, waits: bool = True, migrates: bool = False
) -> Iterator[tuple[assembly.Parts, threading.Event]]:
    """A fleet process: logs, metrics, servers waited for (unless told not to), parts, and the event that ends it.

    Unless it migrates by itself, the ledger must suit this release.
    """
    with parts_of(context, migrated=False) as parts, _stopping() as stop:
        logs.configure(parts.settings.log_level)
        assembly.log_loosened(parts.rules)
        stop_metrics: Callable[[], None] | None = None
        if parts.settings.metrics_port:
            try:
                stop_metrics = metrics.serve(parts.settings.metrics_port)
            except OSError:
                fail(f"REACTIVATE_METRICS_PORT: port {parts.settings.metrics_port} is taken")
        try:
            if waits:
                wait_for_servers(parts.engine, parts.settings.amqp_url, stop)
                if not stop.is_set():
                    if not migrates:
                        check_schema(parts.engine)
                    assembly.check_keys(parts.engine, parts.vault)
                    assembly.log_unknown_organisations(parts.engine, parts.rules)
            yield parts, stop
        finally:
            if stop_metrics is not None:
                stop_metrics()


@contextmanager
def _keys_checked_meanwhile(parts: assembly.Parts, stop: threading.Event) -> Iterator[None]:
    """Check schema and keys once the ledger answers, which nobody waits for; what will not mend ends the process.

    Raises:
        SettingsError: the keys are others than the ledger's.
        UnfitLedgerError: the ledger is a newer release's.
    """
    wrong: list[SettingsError | UnfitLedgerError] = []

    def check() -> None:
        while not stop.is_set():
            try:
                check_schema(parts.engine)
                assembly.check_keys(parts.engine, parts.vault)
            except DBAPIError:
                stop.wait(_CHECK_EVERY)
            except (SettingsError, UnfitLedgerError) as error:
                # webhooks wait on the disk until it was migrated
                if isinstance(error, UnfitLedgerError) and error.is_behind:
                    stop.wait(_CHECK_EVERY)
                    continue
                wrong.append(error)
                stop.set()
            else:
                return

    checking = threading.Thread(target=check, name="keys", daemon=True)
    checking.start()
    # a ledger that is there answers at once: with wrong keys not one webhook should be sealed
    checking.join(_CHECK_FIRST)
    if not wrong:
        yield
    if wrong:
        raise wrong[0]


def queue_names() -> list[str]:
    """Every queue a worker may serve."""
    of_channels = [queue for name in discover() for queue in assembly.channel_queues(name)]
    return [jobs.INTAKE, jobs.ENROL, *of_channels, jobs.RECEIPTS, jobs.REPLIES, jobs.ASKING]


@click.command(epilog="Example: reactivate worker sms --threads 4")
@click.argument("queue", type=click.Choice(queue_names()))
@click.option("--threads", default=4, show_default=True, type=click.IntRange(1, 256), help="Batches worked on at once.")
@click.pass_context
def worker(context: click.Context, queue: str, threads: int) -> None:
    """Serve one queue until SIGTERM or Ctrl-C; what is claimed is finished first."""
    with _process(context) as (parts, stop):
        if parts.settings.is_embedded:
            fail("a worker of its own needs RabbitMQ: set REACTIVATE_AMQP_URL, or run everything with `reactivate up`")
        handlers = assembly.event_handlers(parts)
        if queue in handlers:
            parts.bus.consume(queue, TOPOLOGY[queue], handlers[queue], stop)
            return
        if queue not in assembly.job_queues(parts):
            # a fleet may run without a channel; a worker that ended would be started again for ever
            click.echo(f"the channel of queue {queue} is not configured: nothing to serve until it is", err=True)
            stop.wait()
            return
        with assembly.actors(parts, [queue], stop):
            run_worker(parts.broker, [queue], threads, stop)


@click.command(epilog="Example: reactivate clock")
@_PAUSE
@click.option(
    "--scan-every",
    default=15,
    show_default=True,
    type=click.IntRange(1, 366 * 24 * 60),
    help="Minutes between two inactivity scans.",
)
@click.pass_context
def clock(context: click.Context, pause: float, scan_every: int) -> None:
    """Lead the fleet: scan, dispatch, sweep and publish. A second clock stands by until the first is gone."""
    with _process(context) as (parts, stop):
        rounds = assembly.rounds(parts, timedelta(minutes=scan_every))
        run_clock(rounds, parts.clock, stop, pause=pause)


@click.command(epilog="Example: REACTIVATE_WEB_PORT=8080 reactivate web")
@click.pass_context
def web(context: click.Context) -> None:
    """Serve webhooks, unsubscribe and booking links, events over HTTP, health and metrics."""
    # a web process that waited for the ledger would keep no webhook meanwhile
    with _process(context, waits=False) as (parts, stop), _keys_checked_meanwhile(parts, stop), serve_web(parts):
        stop.wait()


@click.command(epilog="Example: reactivate --home practice up")
@_PAUSE
@click.pass_context
def up(context: click.Context, pause: float) -> None:
    """Run everything in this one process, on SQLite: for development and a small practice."""
    with _process(context, migrates=True) as (parts, stop):
        if not parts.settings.is_embedded:
            fail("`reactivate up` is embedded; REACTIVATE_AMQP_URL is set: run the fleet's processes instead")
        click.echo(migrate_ledger(parts.engine, contract=True), err=True)
        if not parts.channels:
            click.echo("no channel is set up: lapses are noticed, and nobody is enrolled or written to", err=True)
        with Embedded(parts, assembly.SCAN_EVERY) as embedded:
            click.echo(f"serving at {parts.settings.public_url}; Ctrl-C ends it and loses nothing", err=True)
            run_clock(embedded.rounds, parts.clock, stop, pause=pause)


@click.group()
def services() -> None:
    """Private RabbitMQ, Redis and PostgreSQL for development."""


@services.command(name="up", epilog="Example: reactivate services up --directory build/services")
@click.option("--directory", type=click.Path(path_type=Path), help="Where they keep their data (default: temporary).")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def services_up(directory: Path | None, as_json: bool) -> None:
    """Start private servers on free ports and print how to reach them; Ctrl-C ends them."""
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    with start_services(directory=directory, durable=directory is not None) as started, _stopping() as stop:
        urls = {
            "REACTIVATE_DATABASE_URL": started.postgres_admin_url,
            "REACTIVATE_AMQP_URL": started.amqp_url("reactivate"),
            "REACTIVATE_REDIS_URL": started.redis_url,
        }
        if as_json:
            print_json(urls)
        else:
            for name, value in urls.items():
                click.echo(f"export {name}={value}")
            click.echo("# running until Ctrl-C", err=True)
        stop.wait()
