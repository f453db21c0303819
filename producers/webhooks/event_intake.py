"""Events over HTTP: `POST /events` hands CloudEvents to intake, and tells the publisher what is wrong with them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from domain.events.envelope import EventProblem, is_batch
from producers.webhooks.edge import BODY_LIMIT, Threads, problem, read_body

_SOURCE: Final = "http:/events"
#: Bytes of a batch of events.
_BATCH_LIMIT: Final = 1024 * 1024

#: `take(source, headers, body)`: headers have lower-case names; returns once the event is committed.
TakeEvent = Callable[[str, Mapping[str, str], bytes], None]


class EventIntake:
    """`POST /events` with a bearer token; without a configured token everything is refused."""

    def __init__(self, take: TakeEvent, token: str, threads: Threads) -> None:
        self._take = take
        self._token = token
        self._threads = threads

    async def take(self, request: Request) -> Response:
        """202 once the event is in the ledger; 401, 413 or 422 with a problem document otherwise."""
        if not self._is_authorised(request.headers.get("authorization", "")):
            return problem(401, "Unauthorized", "a bearer token is required", {"www-authenticate": "Bearer"})
        is_many = is_batch(request.headers.get("content-type", ""))
        body = await read_body(request, _BATCH_LIMIT if is_many else BODY_LIMIT)
        headers = {name.lower(): value for name, value in request.headers.items() if name.lower() != "authorization"}
        try:
            await self._threads.run(lambda: self._take(_SOURCE, headers, body))
        except EventProblem as error:
            return problem(422, "Unprocessable Content", str(error))
        return Response(status_code=202)

    def _is_authorised(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        is_known = hmac.compare_digest(token.strip().encode(), self._token.encode())
        return bool(self._token) and scheme.lower() == "bearer" and is_known
