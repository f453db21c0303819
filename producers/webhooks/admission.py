"""Admission: how many requests are worked on at once. Who will not ask again is never turned away."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from producers.webhooks.edge import problem

#: Requests under way of those who can ask again: a browser, a publisher of events.
OTHERS_AT_ONCE: Final = 200
#: Few and cheap, and an orchestrator that gets no answer to them makes a busy hour worse.
_PROBES: Final = frozenset({"/live", "/ready", "/metrics"})


class Admission:
    """ASGI middleware: over the limit 503, but for provider webhooks and one-click unsubscribes.

    Those wait for the ledger as long as it may take, and then go to the spool. What bounds them is the number of open
    files of the process and the size of a body.
    """

    def __init__(self, app: ASGIApp, *, others: int = OTHERS_AT_ONCE) -> None:
        self._app = app
        self._others = others
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or turn it away."""
        if scope["type"] != "http" or _comes_only_once(scope) or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._others:
            busy = problem(503, "Service Unavailable", "too busy; try again", {"retry-after": "5"})
            await busy(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1


def _comes_only_once(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith("/webhooks/") or (path.startswith("/u/") and scope["method"] == "POST")
