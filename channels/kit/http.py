"""The one HTTP client of all channels, and what a missing or bare answer means for the message.

The line that matters is the first byte: before it has left, a failed call surely reached nobody and may be repeated;
after it, only an answer can tell, and without one the outcome is uncertain.
"""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, urlencode, urlsplit

from channels.kit.contract import Outcome, OutcomeKind, SideEffect
from channels.kit.errors import ProviderError
from channels.kit.http_answer import Answer, NoAnswer
from channels.kit.http_pool import Origin, Pool

__all__ = [
    "Answer",
    "HttpClient",
    "NoAnswer",
    "outcome_of_code",
    "outcome_of_status",
    "outcome_without_answer",
    "retry_after",
]

#: Of every call. Answers of a few hundred bytes are not worth being packed.
_HEADERS = {
    "User-Agent": "patient-reactivation-fleet",
    "Accept-Encoding": "identity",
    "Content-Type": "application/x-www-form-urlencoded",
}

#: What stands for itself in the path of an address, one that is quoted already included. RFC 3986, 3.3.
_PATH = "/%:@!$&'()*+,;=~-._"

_LONGEST_RETRY_AFTER = timedelta(hours=1)

#: The request was not looked at: wrong address, credentials, method, or a proxy in between. RFC 9110, 15.4 and 15.5.
_WRONGLY_SET_UP = frozenset({301, 302, 307, 308, 401, 403, 404, 405, 407})

#: The request may have been acted on although this is no success.
_UNCLEAR = frozenset({303, 408})


class HttpClient:
    """Kept-alive connections with time limits. Follows no redirect, repeats nothing, keeps no cookie, asks no proxy."""

    def __init__(self, *, timeout_seconds: float, headers: Mapping[str, str], connections: int = 100) -> None:
        """Must be called from a coroutine.

        Args:
            timeout_seconds: for a whole call, waiting for a free connection included.
            headers: sent with every call.
            connections: open at once to one host, at most.

        Raises:
            ValueError: a header that would end before its end.
        """
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout_seconds
        self._headers = _lines({**_HEADERS, **headers})
        self._limit = connections
        self._pools: dict[Origin, Pool] = {}

    async def post_form(self, url: str, fields: Mapping[str, str]) -> Answer | NoAnswer:
        """POST `fields` as a form (UTF-8). Raises nothing that the network or the other side brings about."""
        deadline = self._loop.time() + self._timeout
        try:
            origin, start = _start_of_post(url)
        except ValueError:
            return NoAnswer(may_have_left=False, code="connect_failed")
        # what no encoding can carry (a lone surrogate) becomes a question mark rather than an exception in a batch
        body = urlencode(fields, errors="replace").encode("ascii")
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (start, self._headers, len(body), body)
        return await self._pool(origin).call(request, deadline)

    async def get(self, url: str) -> Answer | NoAnswer:
        """GET `url`. Raises nothing that the network or the other side brings about."""
        deadline = self._loop.time() + self._timeout
        try:
            origin, start = _start("GET", url)
        except ValueError:
            return NoAnswer(may_have_left=False, code="connect_failed")
        return await self._pool(origin).call(b"%b%b\r\n" % (start, self._headers), deadline)

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, limit=self._limit, connect_seconds=self._timeout / 2)
        return pool


def outcome_without_answer(failure: NoAnswer) -> Outcome:
    """RETRY where surely nothing left this machine, else UNCERTAIN."""
    if failure.may_have_left:
        return Outcome(OutcomeKind.UNCERTAIN, code=failure.code)
    # a certificate does not get better by itself, and every message would meet it
    effect = SideEffect.PAUSE_CHANNEL if failure.code == "tls_failed" else None
    return Outcome(OutcomeKind.RETRY, code=failure.code, effect=effect)


def outcome_of_status(answer: Answer, now: datetime, code: str | None = None) -> Outcome:
    """What a status alone says, where the provider's own error code says nothing of its own.

    429 was not processed. 5xx may have been (a gateway lost the answer). Statuses that mean "not here" or "not you" are
    our set-up's fault, not the message's: it waits while the channel is paused. Any other 4xx refuses this message.
    """
    status, code = answer.status, code or f"http_{answer.status}"
    if status == 429:
        return Outcome(OutcomeKind.THROTTLED, code=code, retry_after=retry_after(answer, now))
    if status in _WRONGLY_SET_UP:
        return Outcome(OutcomeKind.RETRY, code=code, effect=SideEffect.PAUSE_CHANNEL)
    if 400 <= status < 500 and status not in _UNCLEAR:
        return Outcome(OutcomeKind.REJECTED, code=code)
    return Outcome(OutcomeKind.UNCERTAIN, code=code)


def outcome_of_code(answer: Answer, now: datetime, code: str, errors: Mapping[str, ProviderError]) -> Outcome:
    """What the provider's own error code says by its table `errors`, or the status where the table lacks it."""
    known = errors.get(code)
    if known is None:
        return outcome_of_status(answer, now, code)
    return known.outcome(retry_after(answer, now) if known.kind is OutcomeKind.THROTTLED else None)


def retry_after(answer: Answer, now: datetime) -> timedelta | None:
    """The Retry-After header, in seconds or as an HTTP date, within 0 s to 1 h; None where there is none to be read."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # the length check keeps absurd numbers out of timedelta's arithmetic
        wait = timedelta(seconds=int(text)) if len(text) < 9 else _LONGEST_RETRY_AFTER
    else:
        try:
            named = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        wait = (named if named.tzinfo else named.replace(tzinfo=UTC)) - now
    return min(max(wait, timedelta(0)), _LONGEST_RETRY_AFTER)


@lru_cache(maxsize=64)
def _start_of_post(url: str) -> tuple[Origin, bytes]:
    # of the few addresses that messages are posted to; those of questions name a number, and are not kept
    return _start("POST", url)


def _start(method: str, url: str) -> tuple[Origin, bytes]:
    """Where calls of an address go, and the lines they begin with."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("ascii" if url.isascii() else "idna").decode()
    is_encrypted = parts.scheme == "https"
    usual = 443 if is_encrypted else 80
    named = f"[{host}]" if ":" in host else host
    authority = named if parts.port in {None, usual} else f"{named}:{parts.port}"
    path = quote(parts.path or "/", safe=_PATH)
    if parts.query:
        path += "?" + quote(parts.query, safe=_PATH + "?")
    lines = f"{method} {path} HTTP/1.1\r\nHost: {authority}\r\n"
    return Origin(host, parts.port or usual, is_encrypted), lines.encode("ascii")


def _lines(headers: Mapping[str, str]) -> bytes:
    for name, value in headers.items():
        if not (name + value).isprintable():
            raise ValueError(f"the header {name!r} holds what no header may hold")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
