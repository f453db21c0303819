"""The web application: every address the outside world can call, assembled from what it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
from prometheus_client import REGISTRY, CollectorRegistry
from sqlalchemy import Connection, Engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from channels.kit.contract import Channel
from domain.jobs import Job
from domain.ledger.vault import Vault
from domain.rules.replies.intent import prepare
from domain.rules.rulebook import Rulebook
from ops.runtime import metrics
from ops.runtime.clock import Clock
from producers.webhooks.admission import OTHERS_AT_ONCE, Admission
from producers.webhooks.arrival_store import ArrivalStore
from producers.webhooks.edge import Edge, Threads
from producers.webhooks.event_intake import EventIntake, TakeEvent
from producers.webhooks.handover import LINGER, Handover
from producers.webhooks.health import Health
from producers.webhooks.keeper import STORE_SECONDS, Keeper
from producers.webhooks.lanes import Lanes
from producers.webhooks.link_pages import LinkPages
from producers.webhooks.providers import ProviderWebhooks

#: Twilio waits fifteen seconds for an answer; after ten, neither ledger nor disk took it, and it is told 503.
REQUEST_SECONDS: Final = 10.0
#: Seconds for what is being stored at the end; what is not, was never answered.
CLOSING_SECONDS: Final = 5.0
#: Threads that talk to the ledger; no more than its pool (8 + 8) has connections.
LEDGER_THREADS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class WebParts:
    """What the application is assembled from. It closes none of it."""

    engine: Engine
    vault: Vault
    clock: Clock
    channels: Mapping[str, tuple[Channel, Any]]
    """By name, each with its configuration; their webhooks are `/webhooks/<name>/<kind>`."""
    public_url: str
    """How the world reaches us; providers sign addresses that start with it."""
    link_key: bytes
    """Signs and checks the links in messages."""
    jobs: Callable[[Job], None]
    """Enqueues a hint; called from one thread of our own, may block or raise."""
    take_event: TakeEvent
    spool_directory: Path
    """Where arrivals are kept while the ledger is away; several processes may share it."""
    is_heard: bool = False
    """Whether it tells the ledger every second if choices wait on its disk, so that outreach waits for them."""
    events_token: str = ""
    observe_opt_out: Callable[[float], None] = metrics.opt_out_seconds.observe
    """Is told the seconds from an opt-out's arrival to its commit."""
    schema_trouble: Callable[[Connection], str | None] = lambda _: None
    """The migration `/ready` insists on; None = any schema that has our tables."""
    registry: CollectorRegistry = REGISTRY
    request_seconds: float = REQUEST_SECONDS
    store_seconds: float = STORE_SECONDS
    """What the ledger has for one arrival, before it is kept in the spool."""
    others_at_once: int = OTHERS_AT_ONCE
    """Requests under way of those who can ask again."""
    rules: Rulebook | None = None
    """How far an opt-out reaches in each organisation; without them, to everything."""
    linger: float = LINGER
    """Seconds a stored row's hint waits for company before it is handed to the broker."""


def create_app(parts: WebParts) -> Starlette:
    """The ASGI application; run it with `lifespan="on"` and without an access log.

    Raises:
        GrammarError: the rules for replies cannot be used.
    """
    # reading them takes a second, which no patient's message should wait for
    prepare()
    engine, clock, threads = parts.engine, parts.clock, Threads(LEDGER_THREADS)
    handover = Handover(parts.jobs, linger=parts.linger)
    store = ArrivalStore(
        engine=engine,
        vault=parts.vault,
        clock=clock,
        handover=handover,
        observe_opt_out=parts.observe_opt_out,
        rules=parts.rules,
    )
    heard_by = engine if parts.is_heard else None
    lanes = Lanes(parts.spool_directory, parts.vault, store, clock, heard_by)
    keeper = Keeper(lanes.choices, lanes.receipts, seconds=parts.store_seconds)
    webhooks = ProviderWebhooks(
        store=store,
        keeper=keeper,
        clock=clock,
        channels=parts.channels,
        public_url=parts.public_url,
        threads=threads,
    )
    pages = LinkPages(engine=engine, store=store, keeper=keeper, clock=clock, link_key=parts.link_key, threads=threads)
    events = EventIntake(parts.take_event, parts.events_token, threads)
    health = Health(
        engine=engine,
        spool=lanes.choices,
        threads=threads,
        registry=parts.registry,
        schema_trouble=parts.schema_trouble,
    )
    return Starlette(
        routes=_routes(webhooks, pages, events, health),
        middleware=[
            Middleware(Edge, seconds=parts.request_seconds, is_https=parts.public_url.startswith("https://")),
            Middleware(Admission, others=parts.others_at_once),
        ],
        lifespan=_lifespan(handover, lanes, webhooks, threads),
    )


def _routes(webhooks: ProviderWebhooks, pages: LinkPages, events: EventIntake, health: Health) -> list[Route]:
    return [
        Route("/webhooks/{channel}/{kind}", webhooks.take, methods=["POST"]),
        Route("/u/{token}", pages.ask, methods=["GET"]),
        Route("/u/{token}", pages.unsubscribe, methods=["POST"]),
        Route("/b/{token}", pages.book, methods=["GET"]),
        Route("/events", events.take, methods=["POST"]),
        Route("/live", health.live, methods=["GET"]),
        Route("/ready", health.ready, methods=["GET"]),
        Route("/metrics", health.metrics, methods=["GET"]),
    ]


def _lifespan(
    handover: Handover, lanes: Lanes, webhooks: ProviderWebhooks, threads: Threads
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        handover.start()
        lanes.start()
        yield
        with anyio.move_on_after(CLOSING_SECONDS):
            await webhooks.close()
        for close in (lanes.close, handover.close):
            await threads.run(close)

    return lifespan
