"""Lakeside Health in the ledger, its organisation file, and a ledger for tests of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lakeside import ORGANISATION, settle
from sqlalchemy import Engine

from domain.ledger.store import open_ledger


@pytest.fixture
def organisation_file(tmp_path: Path) -> Path:
    """The organisation file of Lakeside Health."""
    path = tmp_path / "organisation.yaml"
    path.write_text(ORGANISATION)
    return path


@pytest.fixture
def lakeside(ledger: Engine) -> int:
    """The id of Lakeside Health, on each store."""
    return settle(ledger)


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """SQLite alone, where the files are what matters."""
    engine = open_ledger(sqlite_url)
    yield engine
    engine.dispose()
