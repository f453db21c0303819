"""The web application: every address the outside world can call, assembled from what it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from prometheus_client import REGISTRY, CollectorRegistry
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from channels.kit.contract import Channel
from domain.jobs import Job
from domain.ledger.vault import Vault
from domain.rules.replies.intent import prepare
from ops.runtime import metrics
from ops.runtime.clock import Clock
from producers.webhooks.admission import OTHERS_AT_ONCE, Admission
from producers.webhooks.arrival_store import ArrivalStore
from producers.webhooks.edge import Edge, Threads
from producers.webhooks.event_intake import EventIntake, TakeEvent
from producers.webhooks.handover import LINGER, Handover
from producers.webhooks.health import Health
from producers.webhooks.keeper import STORE_SECONDS, Keeper
from producers.webhooks.link_pages import LinkPages
from producers.webhooks.providers import ProviderWebhooks
from producers.webhooks.replay import Replay
from producers.webhooks.spool import Spool

#: Twilio waits fifteen seconds for an answer; after ten, neither ledger nor disk took it, and it is told 503.
REQUEST_SECONDS: Final = 10.0
#: Seconds for what is being stored at the end; what is not, was never answered.
CLOSING_SECONDS: Final = 5.0
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
    spool_directory: Path,
    events_token: str = "",
    observe_opt_out: Callable[[float], None] = metrics.opt_out_seconds.observe,
    expected_revision: str | None = None,
    registry: CollectorRegistry = REGISTRY,
    request_seconds: float = REQUEST_SECONDS,
    store_seconds: float = STORE_SECONDS,
    others_at_once: int = OTHERS_AT_ONCE,
    linger: float = LINGER,
) -> Starlette:
    """The ASGI application. It closes nothing it was given; run it with `lifespan="on"` and without an access log.

    Args:
        channels: by name, each with its configuration; their webhooks are `/webhooks/<name>/<kind>`.
        public_url: how the world reaches us; providers sign addresses that start with it.
        link_key: signs and checks the links in messages.
        jobs: enqueues a hint; called from one thread of our own, may block or raise.
        observe_opt_out: is told the seconds from an opt-out's arrival to its commit.
        spool_directory: where arrivals are kept while the ledger is away; several processes may share it.
        store_seconds: what the ledger has for one arrival, before it is kept there.
        others_at_once: requests under way of those who can ask again.
        linger: seconds a stored row's hint waits for company before it is handed to the broker.
        expected_revision: the migration `/ready` insists on; None = any schema that has our tables.

    Raises:
        GrammarError: the rules for replies cannot be used.
    """
    # reading them takes a second, which no patient's message should wait for
    prepare()
    threads = Threads(LEDGER_THREADS)
    handover = Handover(jobs, linger=linger)
    store = ArrivalStore(engine=engine, vault=vault, clock=clock, handover=handover, observe_opt_out=observe_opt_out)
    choices, receipts = Spool(spool_directory, vault), Spool(spool_directory / "receipts", vault, lane="receipts")
    replays = [Replay(spool, store, clock) for spool in (choices, receipts)]
    keeper = Keeper(choices, receipts, seconds=store_seconds)
    webhooks = ProviderWebhooks(
        store=store, keeper=keeper, clock=clock, channels=channels, public_url=public_url, threads=threads
    )
    pages = LinkPages(engine=engine, store=store, keeper=keeper, clock=clock, link_key=link_key, threads=threads)
    events = EventIntake(take_event, events_token, threads)
    health = Health(
        engine=engine, spool=choices, threads=threads, registry=registry, expected_revision=expected_revision
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        handover.start()
        for spool in (choices, receipts):
            spool.start()
        for replay in replays:
            replay.start()
        yield
        with anyio.move_on_after(CLOSING_SECONDS):
            await webhooks.close()
        for close in (*(each.close for each in replays), choices.close, receipts.close, handover.close):
            await threads.run(close)

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
        middleware=[
            Middleware(Edge, seconds=request_seconds, is_https=public_url.startswith("https://")),
            Middleware(Admission, others=others_at_once),
        ],
        lifespan=lifespan,
    )
