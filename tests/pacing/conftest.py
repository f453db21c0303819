"""A Redis that a test may kill."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.services.redis import Redis as RedisServer


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that a test may kill."""
    # not below tmp_path: the server's own user may not enter there
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        server = RedisServer(Path(directory) / "redis")
        server.start()
        server.wait()
        yield server
        server.stop()
