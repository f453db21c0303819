"""Links in our messages: `/b/…` leads to the site's booking page, `/u/…` unsubscribes. Opening one changes nothing.

Mail scanners and link previews open every link, so a GET is never a wish; RFC 8058's POST is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from domain.ledger import choices, link_targets
from domain.ledger.link_targets import LinkTarget
from domain.ledger.store import reading
from domain.ledger.transactions import transact
from domain.rules import links
from ops.runtime.clock import Clock
from producers.webhooks.edge import Threads, read_body
from producers.webhooks.pages import page

_log = structlog.get_logger(__name__)

_FIELD: Final = "List-Unsubscribe"
_ONE_CLICK: Final = "One-Click"


class LinkPages:
    """What is behind the links in our messages."""

    def __init__(
        self,
        *,
        engine: Engine,
        clock: Clock,
        link_key: bytes,
        threads: Threads,
        observe_opt_out: Callable[[float], None],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._key = link_key
        self._threads = threads
        self._observe_opt_out = observe_opt_out

    async def book(self, request: Request) -> Response:
        """Send the patient on to the site's booking page; the token goes with them as `ref`."""
        token = request.path_params["token"]
        target = await self._target(links.BOOK, token)
        if target is None:
            return page("lost", "en", status=404)
        if request.method == "GET":
            await self._threads.run(lambda: self._record_click(target.touch_id))
        if target.booking_url is None:
            return page("call", target.language, organisation=target.organisation, phone=target.phone)
        return RedirectResponse(_with_ref(target.booking_url, token), status_code=302)

    async def ask(self, request: Request) -> Response:
        """Show the page with the button; nothing changes."""
        target = await self._target(links.UNSUBSCRIBE, request.path_params["token"])
        if target is None:
            return page("lost", "en", status=404)
        return page("ask", target.language, organisation=target.organisation)

    async def unsubscribe(self, request: Request) -> Response:
        """RFC 8058 one-click, from a mail program or from our own page's button."""
        target = await self._target(links.UNSUBSCRIBE, request.path_params["token"])
        if target is None or target.contact_point_id is None:
            return page("lost", "en", status=404)
        if not await _is_one_click(request):
            return page("unclear", target.language, status=400)
        contact_point_id, received = target.contact_point_id, request.state.received
        await self._threads.run(lambda: self._opt_out(target.organisation_id, contact_point_id, received))
        return page("done", target.language, organisation=target.organisation)

    async def _target(self, purpose: str, token: str) -> LinkTarget | None:
        touch_id = links.read_token(self._key, purpose, token)
        return None if touch_id is None else await self._threads.run(lambda: self._find(touch_id))

    def _find(self, touch_id: int) -> LinkTarget | None:
        with reading(self._engine) as conn:
            return link_targets.find(conn, touch_id)

    def _record_click(self, touch_id: int) -> None:
        try:
            transact(self._engine, lambda conn: link_targets.record_click(conn, touch_id, self._clock.now()))
        except SQLAlchemyError as error:
            # the patient's way to an appointment is worth more than our note about it
            _log.warning("click_not_recorded", touch_id=touch_id, error=type(error).__name__)

    def _opt_out(self, organisation_id: int, contact_point_id: int, received: float) -> None:
        now = self._clock.now()

        def stop(conn: Connection) -> None:
            choices.opt_out(
                conn,
                organisation_id=organisation_id,
                contact_point_id=contact_point_id,
                source="one_click",
                at=now,
                now=now,
            )

        transact(self._engine, stop)
        self._observe_opt_out(time.perf_counter() - received)


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
