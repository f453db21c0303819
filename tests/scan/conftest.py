"""Lakeside Health in the ledger."""

from __future__ import annotations

import pytest
from lakeside import settle
from sqlalchemy import Engine


@pytest.fixture
def lakeside(ledger: Engine) -> int:
    """The id of Lakeside Health, on each store."""
    return settle(ledger)
