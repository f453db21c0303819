"""Migrating while texts go out at full speed: nobody waits longer than a migration may ask for, nothing goes twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from household import StoppedClock
from interleaving import behind
from practice import Desk, Practice, Provider, a_desk
from sqlalchemy import Engine, create_engine, text
from waiting import wait_until

from domain.ledger.store import open_ledger, reading
from domain.ledger.vault import Vault
from ops.migrations.run import upgrade
from ops.migrations.session import MigrationBlockedError, Patience

AHEAD = Path(__file__).with_name("ahead")
#: What a migration may make others wait, and what a send may wait at all: PostgreSQL itself refuses it more.
PATIENCE = Patience(timedelta(seconds=1), tries=20, first_pause=0.05, longest_pause=0.2)
BOUND_MS = 3_000
PEOPLE, BATCH = 400, 4


@pytest.fixture
def fleet_engine(postgres_url: str) -> Iterator[Engine]:
    engine = open_ledger(f"{postgres_url}?options=-c%20lock_timeout%3D{BOUND_MS}")
    yield engine
    engine.dispose()


def test_sends_go_on_through_expansions_backfill_index_and_contract(
    postgres_url: str, fleet_engine: Engine, vault: Vault
) -> None:
    practice, provider = Practice(fleet_engine, vault), Provider()
    touches = [practice.person(number=f"+1303{n:03}0100").touch for n in range(200, 200 + PEOPLE)]
    batches = [touches[first : first + BATCH] for first in range(0, PEOPLE, BATCH)]
    sending = _Sending(batches)

    def see_sends_go_on(_line: str) -> None:
        before = len(provider.calls)
        wait_until(lambda: len(provider.calls) > before)

    with a_desk(practice, StoppedClock()) as desk, ThreadPoolExecutor(2) as pool:
        senders = [pool.submit(sending.run, desk, provider) for _ in range(2)]
        came = upgrade(postgres_url, contract=True, patience=PATIENCE, tell=see_sends_go_on, beyond=AHEAD)
        sending.hurry.set()
        for each in senders:
            each.result()

    assert list(came.done) == ["ahead1", "ahead2", "ahead3", "ahead4"]
    assert len(provider.called) == PEOPLE
    assert set(provider.called.values()) == {1}
    with reading(fleet_engine) as conn:
        assert conn.scalar(text("SELECT count(*) FROM touch WHERE state = 'accepted'")) == PEOPLE
        assert conn.scalar(text("SELECT count(*) FROM attempt WHERE state = 'accepted'")) == PEOPLE


def test_a_migration_that_waits_for_a_long_transaction_lets_the_sends_go_on(
    postgres_url: str, fleet_engine: Engine, vault: Vault
) -> None:
    practice, provider = Practice(fleet_engine, vault), Provider()
    people = [practice.person() for _ in range(3)]
    patience = Patience(timedelta(milliseconds=500), tries=2, first_pause=0.01)
    reader = create_engine(postgres_url)

    with a_desk(practice, StoppedClock()) as desk, reader.begin() as busy:
        busy.execute(text("SELECT count(*) FROM touch"))
        with behind(reader, busy, lambda: upgrade(postgres_url, patience=patience, beyond=AHEAD)) as upgrading:
            # the transaction is still open, and the migration stands in line before this claim
            desk.worker(provider).send([each.touch for each in people])

            assert set(provider.called.values()) == {1}
            assert len(provider.called) == len(people)
            assert isinstance(upgrading.exception(), MigrationBlockedError)
    reader.dispose()


class _Sending:
    """Two workers' way through the batches: slow enough to outlast the migration, until they may hurry."""

    def __init__(self, batches: Sequence[Sequence[int]]) -> None:
        self.hurry = threading.Event()
        self._left = iter(batches)
        self._lock = threading.Lock()

    def run(self, desk: Desk, provider: Provider) -> None:
        worker = desk.worker(provider)
        while batch := self._next():
            worker.send(list(batch))
            self.hurry.wait(0.02)

    def _next(self) -> Sequence[int]:
        with self._lock:
            return next(self._left, ())
