"""Lakeside Health with a campaign running, on each store."""

from __future__ import annotations

import pytest
from lakeside import settle
from sqlalchemy import Engine
from welcome_back import AWAY, Lakeside

from domain.ledger.vault import Vault


@pytest.fixture
def health(ledger: Engine, vault: Vault) -> Lakeside:
    """Lakeside Health with the example campaign running."""
    lakeside = Lakeside(ledger, vault, settle(ledger))
    lakeside.start(now=AWAY)
    return lakeside
