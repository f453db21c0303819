"""Outages: a ledger that can be made to go away, and what the web application keeps on disk meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from relay import Relay
from sqlalchemy import Engine
from waiting import wait_until
from webserver import Serve, Web, start_web

from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault


@pytest.fixture
def relay(postgres_url: str) -> Iterator[tuple[Relay, str]]:
    """PostgreSQL behind a relay that can be cut, and the URL through it."""
    relay, url = Relay.before(postgres_url)
    with relay:
        yield relay, url


@pytest.fixture
def away(relay: tuple[Relay, str]) -> Iterator[tuple[Relay, Engine]]:
    """An engine whose PostgreSQL can be made to go away."""
    engine = open_ledger(relay[1])
    yield relay[0], engine
    engine.dispose()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The spool's directory, not made yet."""
    return tmp_path / "home" / "spool"


@dataclass(frozen=True)
class Outage:
    """Web processes whose ledger can be made to go away, and the one directory where they keep things meanwhile."""

    relay: Relay
    ledger: Engine
    directory: Path
    _start: Callable[..., Web]

    def start(self, **changes: Any) -> Web:
        """A web process, with some of its arguments changed."""
        return self._start(**changes)

    def begin(self) -> None:
        """The ledger goes away: every connection breaks, and none is made."""
        self.relay.cut()

    def end(self) -> None:
        """The ledger is back, and everything that waited for it is taken."""
        self.relay.mend()
        wait_until(lambda: is_drained(self.directory))


@pytest.fixture
def outage(away: tuple[Relay, Engine], vault: Vault, serve: Serve, directory: Path) -> Outage:
    """An outage that did not begin yet, of a ledger with the household in it once a process is started."""
    relay, ledger = away
    return Outage(relay, ledger, directory, lambda **changes: start_before(ledger, vault, serve, directory, **changes))


def start_before(engine: Engine, vault: Vault, serve: Serve, directory: Path, **changes: Any) -> Web:
    """The application with its spool in `directory`."""
    return start_web(engine, vault, serve, spool_directory=directory, **changes)


def on_disk(directory: Path) -> bytes:
    """Every byte the spool has written."""
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def is_drained(directory: Path) -> bool:
    """Whether nothing waits there any more."""
    return not [*directory.glob("*.spool"), *(directory / "receipts").glob("*.spool")]


def sid(number: int) -> str:
    """A provider's message id."""
    return f"SM{number:032x}"
