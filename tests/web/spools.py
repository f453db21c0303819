"""Spools as processes open them, one after another or side by side, and what a test puts in and takes out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from household import NOW, PHONE, StoppedClock
from outage import sid
from sqlalchemy import Engine

from domain.ledger.vault import Vault
from producers.webhooks.arrival_store import ArrivalStore
from producers.webhooks.arrivals import Arrival, ReplyArrival, unpack
from producers.webhooks.handover import Handover
from producers.webhooks.replay import Replay
from producers.webhooks.spool import Spool, received


def open_spool(directory: Path, vault: Vault) -> Spool:
    """As a process of its own would open it."""
    spool = Spool(directory, vault)
    spool.start()
    spool.adopt()
    return spool


@contextmanager
def opened(directory: Path, vault: Vault) -> Iterator[Spool]:
    """The same, until the process ends."""
    spool = open_spool(directory, vault)
    try:
        yield spool
    finally:
        spool.close()


@contextmanager
def replaying(spool: Spool, ledger: Engine, vault: Vault) -> Iterator[None]:
    """Meanwhile the spool is emptied into the ledger, with hardly a pause between two tries."""
    clock = StoppedClock()
    store = ArrivalStore(
        engine=ledger, vault=vault, clock=clock, handover=Handover(lambda _: None), observe_opt_out=lambda _: None
    )
    replay = Replay(spool, store, clock, longest_pause=0.01)
    replay.start()
    try:
        yield
    finally:
        replay.close()


def stop(number: int) -> ReplyArrival:
    """A patient's STOP, the `number`th."""
    return ReplyArrival("sms", "phone", sid(number), PHONE, "STOP", NOW + timedelta(seconds=number))


def keep(spool: Spool, *arrivals: Arrival) -> None:
    """Put these in, one after another."""
    for each in arrivals:
        spool.append([each]).result(timeout=30)


def take_all(spool: Spool, at_once: int = 2) -> list[str]:
    """Take everything out, a few at once: the ids of the messages in it."""
    found = []
    while records := spool.peek(at_once):
        for record in records:
            arrival = unpack(spool.open(record))
            assert arrival.at == received(record)
            found += [arrival.provider_id] if isinstance(arrival, ReplyArrival) else []
        spool.advance(records)
    return found
