"""A household in the ledger, for everything about replies, receipts and choices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from household import Household, settle_in
from sqlalchemy import Engine

from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault


@pytest.fixture
def household(ledger: Engine, vault: Vault) -> Household:
    """Two enrolled patients who share a phone, on each store."""
    return settle_in(ledger, vault)


@pytest.fixture
def sqlite_ledger(sqlite_url: str) -> Iterator[Engine]:
    """A ledger on SQLite only, for tests of rules that run over many cases."""
    engine = open_ledger(sqlite_url)
    yield engine
    engine.dispose()
