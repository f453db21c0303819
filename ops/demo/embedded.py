"""Embedded: web, bus, broker, workers and clock of a whole fleet, as threads of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from dramatiq import Worker

from domain.events.topology import TOPOLOGY
from domain.ledger.quiet import TO_PUBLISH, under_way
from domain.ledger.store import reading
from ops import assembly
from ops.assembly import Parts
from ops.runtime.broker import working
from ops.runtime.broker_local import InProcessBroker
from ops.runtime.bus_local import LocalBus
from ops.serving import serve_web

#: Seconds of real time in which work at one instant must come to rest.
_PATIENCE = 60.0


class NotQuiet(Exception):  # noqa: N818 - a state of the fleet
    """Work at one instant did not come to rest; the message says which kind."""


class Embedded:
    """A fleet in one process. A context manager: entering starts it, leaving finishes what is claimed."""

    def __init__(self, parts: Parts, scan_every: timedelta) -> None:
        self._parts = parts
        self.rounds = assembly.rounds(parts, scan_every)
        self._closing = ExitStack()
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            queues = assembly.job_queues(self._parts)
            starting.enter_context(assembly.actors(self._parts, queues, self._stop))
            # a thread per queue, as the fleet has a process: one channel's provider is waited for while another sends
            workers = [starting.enter_context(working(self._parts.broker, [queue], threads=1)) for queue in queues]
            starting.callback(_tell_to_stop, workers)
            consumers = [
                threading.Thread(
                    target=self._parts.bus.consume, args=(queue, TOPOLOGY[queue], handler, self._stop), name=queue
                )
                for queue, handler in assembly.event_handlers(self._parts).items()
            ]
            for thread in consumers:
                thread.start()
                starting.callback(thread.join)
            starting.callback(self._stop.set)
            starting.enter_context(serve_web(self._parts))
            self._closing = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.__exit__(kind, error, trace)

    def settle(self, now: datetime, events: int) -> None:  # noqa: ARG002 - events come by HTTP, taken when answered
        """Do everything that is due at `now`, until nothing is left.

        Raises:
            NotQuiet: something did not come to rest.
        """
        while True:
            self._wait_until_quiet(now)
            did = self.rounds.run(now)
            # a hint of the web process may have begun work after the round's look: it must be over, too
            if not did and not self._under_way(now):
                return

    def next_at(self, now: datetime) -> datetime | None:
        """When the fleet will next have something to do."""
        return self.rounds.next_at(now)

    def _under_way(self, now: datetime) -> frozenset[str]:
        with reading(self._parts.engine) as conn:
            return under_way(conn, now)

    def _wait_until_quiet(self, now: datetime) -> None:
        deadline = time.monotonic() + _PATIENCE
        bus, broker = self._parts.bus, self._parts.broker
        while True:
            if isinstance(bus, LocalBus):
                bus.join()
            if isinstance(broker, InProcessBroker):
                broker.join_all()
            busy = self._under_way(now) - {TO_PUBLISH}
            if not busy:
                return
            if time.monotonic() > deadline:
                raise NotQuiet(f"{', '.join(sorted(busy))} did not come to rest within {_PATIENCE:.0f} s")
            self._stop.wait(0.002)


def _tell_to_stop(workers: Sequence[Worker]) -> None:
    """Tell all of them before the first is waited for: each looks only every now and then."""
    for worker in workers:
        for thread in worker.workers:
            thread.stop()
        for consumer in worker.consumers.values():
            consumer.stop()
