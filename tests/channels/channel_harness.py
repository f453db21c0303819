"""The one harness of all channels: a case says what the provider does, and what outcome and traffic must come of it.

Each channel brings `cases_<name>.py` beside this module, with `CASES`, `MESSAGE` and `provider(script)`.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

from channels.kit.contract import Outcome, Outgoing
from channels.kit.discovery import providers

PUBLIC_URL = "https://outreach.example.org"

#: A Friday noon in New York.
NOW = datetime(2026, 3, 6, 17, 0, tzinfo=UTC)


def outgoing(**changes: Any) -> Outgoing:
    """A plain message, valid for two hours."""
    return replace(
        Outgoing(
            reference="abcdefghijklmnopqrstuvwx27",
            to="",
            body="Lakeside Health: it is time for a visit. Reply STOP to end.",
            valid_until=NOW + timedelta(hours=2),
            now=NOW,
            organisation="Lakeside Health",
        ),
        **changes,
    )


@dataclass(frozen=True)
class Case:
    """One situation."""

    name: str
    script: Any
    """What the provider does; the table's own provider understands it."""
    expected: Outcome
    message: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    calls: int = 1
    """How many messages or calls must have reached the provider."""
    check: Callable[[Any], None] | None = None
    """Looks at the first thing that reached the provider."""


@dataclass
class Provider:
    """A provider that is up: how to reach it, and what reached it."""

    environ: dict[str, str]
    received: list[Any] = field(default_factory=list)
    connections: int = 0


def table(channel: str) -> ModuleType:
    """The case table of a channel; a channel without one is an error."""
    return importlib.import_module(f"cases_{channel}")


async def drive(channel: str, case: Case) -> tuple[Outcome, Provider]:
    """Send one message to a provider that does what the case says."""
    cases = table(channel)
    provider: AbstractAsyncContextManager[Provider] = cases.provider(case.script)
    async with provider as up, sender_of(channel, up, case.environ) as sender:
        message = replace(cases.MESSAGE, **case.message)
        async with asyncio.timeout(60):
            return await sender.send(message), up


@asynccontextmanager
async def sender_of(channel: str, provider: Provider, environ: Mapping[str, str] | None = None) -> AsyncIterator[Any]:
    """The channel's sender, set up for this provider."""
    found = providers()[channel]
    config = found.configure({**provider.environ, **(environ or {})}, PUBLIC_URL)
    sender = found.open(config)
    try:
        yield sender
    finally:
        await sender.aclose()


@asynccontextmanager
async def refusing_port() -> AsyncIterator[int]:
    """A port of this machine that refuses connections, and stays ours while it does."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@asynccontextmanager
async def deaf_port() -> AsyncIterator[int]:
    """A port that neither takes nor refuses a connection: its backlog is full and nobody accepts."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
