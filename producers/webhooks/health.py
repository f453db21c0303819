"""Health: whether this process lives, whether it can do its work, and its numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
from anyio import to_thread
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domain.ledger.inbound import reply
from domain.ledger.store import reading
from producers.webhooks.edge import Threads, problem
from producers.webhooks.spool import Spool

#: Seconds in which the ledger must answer, or it counts as away.
_PATIENCE: Final = 2.0


class Health:
    """`GET /live`, `GET /ready`, `GET /metrics`."""

    def __init__(
        self,
        *,
        engine: Engine,
        spool: Spool,
        threads: Threads,
        registry: CollectorRegistry,
        schema_trouble: Callable[[Connection], str | None],
    ) -> None:
        self._engine = engine
        self._spool = spool
        self._threads = threads
        self._registry = registry
        self._schema_trouble = schema_trouble

    async def live(self, request: Request) -> Response:  # noqa: ARG002 - the signature of an endpoint
        """The event loop turns."""
        return JSONResponse({"status": "live"})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002 - the signature of an endpoint
        """The ledger has the tables this version needs; or it is away, and the disk keeps what providers tell us.

        A process taken out of the load balancer while the ledger is away could keep nothing.
        """
        is_away, trouble = True, None
        with anyio.move_on_after(_PATIENCE):
            is_away, trouble = await self._threads.run(self._look)
        if is_away:
            trouble = await to_thread.run_sync(self._spool.trouble)
            trouble = trouble and f"the ledger cannot be reached, and {trouble}"
        if trouble is not None:
            return problem(503, "Service Unavailable", trouble)
        return JSONResponse({"status": "ready", "ledger": "away"} if is_away else {"status": "ready"})

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002 - the signature of an endpoint
        """Prometheus' text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def _look(self) -> tuple[bool, str | None]:
        """Whether the ledger is away, and what else is wrong with it."""
        try:
            with reading(self._engine) as conn:
                conn.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return True, None
        return False, self._trouble()

    def _trouble(self) -> str | None:
        try:
            with reading(self._engine) as conn:
                conn.execute(select(reply.c.id).limit(1))
                return self._schema_trouble(conn)
        except SQLAlchemyError:
            return "the ledger's tables are missing: run `reactivate migrate`"
