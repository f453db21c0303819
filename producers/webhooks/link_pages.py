"""Links in our messages: `/b/…` leads to the site's booking page, `/u/…` unsubscribes. Opening one changes nothing.

Mail scanners and link previews open every link, so a GET is never a wish; RFC 8058's POST is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import anyio
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from domain.ledger import link_targets
from domain.ledger.link_targets import LinkTarget
from domain.ledger.store import reading
from domain.ledger.transactions import transact
from domain.rules import links
from ops.runtime.clock import Clock
from producers.webhooks.arrival_store import ArrivalStore, LinkLostError
from producers.webhooks.arrivals import UnsubscribeArrival
from producers.webhooks.edge import Threads, read_body
from producers.webhooks.keeper import Keeper
from producers.webhooks.pages import page

_log = structlog.get_logger(__name__)

_FIELD: Final = "List-Unsubscribe"
_ONE_CLICK: Final = "One-Click"
#: Seconds the ledger has to find a link's target; a patient who waits longer has gone.
FIND_SECONDS: Final = 5.0
_AWAY: Final = (SQLAlchemyError, TimeoutError)
_RETRY: Final = {"retry-after": "60"}


class LinkPages:
    """What is behind the links in our messages."""

    def __init__(
        self,
        *,
        engine: Engine,
        store: ArrivalStore,
        keeper: Keeper,
        clock: Clock,
        link_key: bytes,
        threads: Threads,
        seconds: float = FIND_SECONDS,
    ) -> None:
        self._engine = engine
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._key = link_key
        self._threads = threads
        self._seconds = seconds

    async def book(self, request: Request) -> Response:
        """Send the patient on to the site's booking page; the token goes with them as `ref`."""
        token = request.path_params["token"]
        try:
            target = await self._target(links.BOOK, token)
        except _AWAY as error:
            # the token names the touch, only the ledger its site
            _log.warning("link_not_found", purpose=links.BOOK, error=type(error).__name__)
            return page("later", _language(request), status=503, headers=_RETRY)
        if target is None:
            return page("lost", "en", status=404)
        if request.method == "GET":
            await self._note_click(target.touch_id)
        if target.booking_url is None:
            return page("call", target.language, organisation=target.organisation, phone=target.phone)
        return RedirectResponse(_with_ref(target.booking_url, token), status_code=302)

    async def ask(self, request: Request) -> Response:
        """Show the page with the button; nothing changes."""
        try:
            target = await self._target(links.UNSUBSCRIBE, request.path_params["token"])
        except _AWAY as error:
            # the button works without the ledger: the token is proof enough
            _log.warning("link_not_found", purpose=links.UNSUBSCRIBE, error=type(error).__name__)
            return page("ask", _language(request))
        if target is None:
            return page("lost", "en", status=404)
        return page("ask", target.language, organisation=target.organisation)

    async def unsubscribe(self, request: Request) -> Response:
        """RFC 8058 one-click, from a mail program or from our own page's button. It comes only once: it is kept."""
        at, received = self._clock.now(), request.state.received
        touch_id = links.read_token(self._key, links.UNSUBSCRIBE, request.path_params["token"])
        if touch_id is None:
            return page("lost", "en", status=404)
        if not await _is_one_click(request):
            return page("unclear", _language(request), status=400)
        arrival = UnsubscribeArrival(touch_id, at)
        store = partial(self._store.take, arrival, lambda: time.perf_counter() - received)
        try:
            target = await self._keeper.keep(arrival, partial(self._threads.run, store), passing=(LinkLostError,))
        except LinkLostError:
            return page("lost", "en", status=404)
        if target is None:
            return page("done", _language(request))
        return page("done", target.language, organisation=target.organisation)

    async def _target(self, purpose: str, token: str) -> LinkTarget | None:
        touch_id = links.read_token(self._key, purpose, token)
        if touch_id is None:
            return None
        with anyio.fail_after(self._seconds):
            return await self._threads.run(lambda: self._find(touch_id))

    def _find(self, touch_id: int) -> LinkTarget | None:
        with reading(self._engine) as conn:
            return link_targets.find(conn, touch_id)

    async def _note_click(self, touch_id: int) -> None:
        try:
            with anyio.fail_after(self._seconds):
                await self._threads.run(lambda: self._record_click(touch_id))
        except _AWAY as error:
            # the patient's way to an appointment is worth more than our note about it
            _log.warning("click_not_recorded", touch_id=touch_id, error=type(error).__name__)

    def _record_click(self, touch_id: int) -> None:
        transact(self._engine, lambda conn: link_targets.record_click(conn, touch_id, self._clock.now()))


def _language(request: Request) -> str:
    """What the browser prefers: only the ledger knows the patient's language."""
    return request.headers.get("accept-language", "en")[:2].lower()


def _with_ref(booking_url: str, token: str) -> str:
    parts = urlsplit(booking_url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("ref", token)]
    return urlunsplit(parts._replace(query=urlencode(query)))


async def _is_one_click(request: Request) -> bool:
    """Whether the form says so, in either of the encodings RFC 8058 allows."""
    body = await read_body(request)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return parse_qs(body.decode("latin-1")).get(_FIELD) == [_ONE_CLICK]

    async def parts() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, parts(), max_files=0, max_fields=10).parse()
    except MultiPartException:
        return False
    return bool(form.get(_FIELD) == _ONE_CLICK)
