"""A practice, a stopped clock, a provider and a desk of send workers, on each store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from household import StoppedClock
from practice import Desk, Practice, Provider, a_desk
from sqlalchemy import Engine

from domain.ledger.vault import Vault


@pytest.fixture
def practice(ledger: Engine, vault: Vault) -> Practice:
    return Practice(ledger, vault)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def desk(practice: Practice, clock: StoppedClock) -> Iterator[Desk]:
    with a_desk(practice, clock) as opened:
        yield opened
