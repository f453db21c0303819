"""The edge: what holds for every request. Bodies and time are bounded, errors say nothing, headers are strict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.ledger.senders import NoOrganisationError
from producers.webhooks.spool import SpoolError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Bytes of a request's body. CloudEvents' own guidance is 64 KiB; provider callbacks are far smaller.
BODY_LIMIT: Final = 64 * 1024

_HEADERS: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex, nofollow",
}
_DEFAULT_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"


class BodyTooLargeError(Exception):
    """The body is longer than we read."""


def problem(status: int, title: str, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document (RFC 9457). `detail` must not repeat a value from the request."""
    content: dict[str, str | int] = {"type": "about:blank", "title": title, "status": status}
    if detail is not None:
        content["detail"] = detail
    return JSONResponse(content, status, media_type="application/problem+json", headers=headers)


async def read_body(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """The whole body, at most `limit` bytes.

    Raises:
        BodyTooLargeError: it is longer, by its header or in fact.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLargeError
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise BodyTooLargeError
    return bytes(body)


class Threads:
    """Where the ledger is talked to: a bounded number of threads, never the event loop.

    A request that runs out of time leaves its thread behind; what that commits is committed, and a repeat of the
    request changes nothing.
    """

    def __init__(self, most: int) -> None:
        self._limiter = CapacityLimiter(most)

    async def run(self, work: Callable[[], T]) -> T:
        """`work()` in a thread."""
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)


class Edge:
    """ASGI middleware around everything: a deadline, strict headers, and errors that tell the outside nothing."""

    def __init__(self, app: ASGIApp, *, seconds: float, is_https: bool) -> None:
        self._app = app
        self._seconds = seconds
        self._is_https = is_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._is_https)
        scope.setdefault("state", {})["received"] = time.perf_counter()
        failure: Response | None = None
        try:
            with anyio.fail_after(self._seconds):
                await self._app(scope, receive, answer)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - a traceback's message may carry what a patient wrote
            failure = _failure(error, scope)
        if failure is not None and not answer.has_begun:
            await failure(scope, receive, answer)


def _failure(error: Exception, scope: Scope) -> Response:
    if isinstance(error, BodyTooLargeError):
        return problem(413, "Content Too Large", f"at most {BODY_LIMIT} bytes are read")
    endpoint = getattr(scope.get("endpoint"), "__name__", "unknown")
    _log.error("request_failed", route=endpoint, error=type(error).__name__)
    if isinstance(error, (TimeoutError, SQLAlchemyError, NoOrganisationError, SpoolError)):
        # not stored: whoever called must not believe that it was
        return problem(503, "Service Unavailable", "nothing was stored; try again", {"retry-after": "5"})
    return problem(500, "Internal Server Error")


class _Answer:
    """Adds the headers every answer carries, and remembers whether one has begun."""

    def __init__(self, send: Send, is_https: bool) -> None:
        self._send = send
        self._is_https = is_https
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("content-security-policy", _DEFAULT_POLICY)
            if self._is_https:
                headers["strict-transport-security"] = "max-age=31536000"
        await self._send(message)
