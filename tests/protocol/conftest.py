"""The send model, explored once for every test of this directory."""

from __future__ import annotations

import pytest
from exploring import Explored, explore
from send_model import Protocol


@pytest.fixture(scope="session")
def explored() -> Explored:
    """Every state of the protocol as it is."""
    return explore(Protocol())
