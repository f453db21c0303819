"""Lakeside Health in the ledger, and its organisation file."""

from __future__ import annotations

from pathlib import Path

import pytest
from lakeside import ORGANISATION, settle
from sqlalchemy import Engine


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
