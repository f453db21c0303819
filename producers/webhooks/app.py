"""The web application: every address the outside world can call, assembled from what it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from prometheus_client import REGISTRY, CollectorRegistry
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from channels.kit.contract import Channel
from domain.jobs import Job
from domain.ledger.vault import Vault
from ops.runtime import metrics
from ops.runtime.clock import Clock
from producers.webhooks.edge import Edge, Threads
from producers.webhooks.event_intake import EventIntake, TakeEvent
from producers.webhooks.handover import LINGER, Handover
from producers.webhooks.health import Health
from producers.webhooks.link_pages import LinkPages
from producers.webhooks.providers import ProviderWebhooks

#: Twilio waits fifteen seconds for an answer; after ten, a busy ledger is told as 503.
REQUEST_SECONDS: Final = 10.0
#: Threads that talk to the ledger; no more than its pool (8 + 8) has connections.
LEDGER_THREADS: Final = 12


def create_app(
    *,
    engine: Engine,
    vault: Vault,
    clock: Clock,
    channels: Mapping[str, tuple[Channel, Any]],
    public_url: str,
    link_key: bytes,
    jobs: Callable[[Job], None],
    take_event: TakeEvent,
    events_token: str = "",
    observe_opt_out: Callable[[float], None] = metrics.opt_out_seconds.observe,
    expected_revision: str | None = None,
    registry: CollectorRegistry = REGISTRY,
    request_seconds: float = REQUEST_SECONDS,
    linger: float = LINGER,
) -> Starlette:
    """The ASGI application. It closes nothing it was given; run it with `lifespan="on"` and without an access log.

    Args:
        channels: by name, each with its configuration; their webhooks are `/webhooks/<name>/<kind>`.
        public_url: how the world reaches us; providers sign addresses that start with it.
        link_key: signs and checks the links in messages.
        jobs: enqueues a hint; called from one thread of our own, may block or raise.
        observe_opt_out: is told the seconds from an opt-out's arrival to its commit.
        linger: seconds a stored row's hint waits for company before it is handed to the broker.
        expected_revision: the migration `/ready` insists on; None = any schema that has our tables.
    """
    threads = Threads(LEDGER_THREADS)
    handover = Handover(jobs, linger=linger)
    webhooks = ProviderWebhooks(
        engine=engine,
        vault=vault,
        clock=clock,
        channels=channels,
        public_url=public_url,
        threads=threads,
        handover=handover,
        observe_opt_out=observe_opt_out,
    )
    pages = LinkPages(engine=engine, clock=clock, link_key=link_key, threads=threads, observe_opt_out=observe_opt_out)
    events = EventIntake(take_event, events_token, threads)
    health = Health(engine=engine, threads=threads, registry=registry, expected_revision=expected_revision)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        handover.start()
        yield
        await webhooks.close()
        await threads.run(handover.close)

    return Starlette(
        routes=[
            Route("/webhooks/{channel}/{kind}", webhooks.take, methods=["POST"]),
            Route("/u/{token}", pages.ask, methods=["GET"]),
            Route("/u/{token}", pages.unsubscribe, methods=["POST"]),
            Route("/b/{token}", pages.book, methods=["GET"]),
            Route("/events", events.take, methods=["POST"]),
            Route("/live", health.live, methods=["GET"]),
            Route("/ready", health.ready, methods=["GET"]),
            Route("/metrics", health.metrics, methods=["GET"]),
        ],
        middleware=[Middleware(Edge, seconds=request_seconds, is_https=public_url.startswith("https://"))],
        lifespan=lifespan,
    )
