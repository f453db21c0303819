"""The one HTTP client of all channels, and what a missing or bare answer means for the message.

The line that matters is the first byte: before it has left, a failed call surely reached nobody and may be repeated;
after it, only an answer can tell, and without one the outcome is uncertain.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import urlencode

import aiohttp
import orjson

from channels.kit.contract import Outcome, OutcomeKind, SideEffect
from channels.kit.errors import ProviderError

#: Idle connections are dropped sooner than servers drop them (uvicorn: 5 s), so that a request hardly ever meets one
#: that is just being closed, which would make its outcome uncertain.
_KEEP_ALIVE_SECONDS = 4.0

#: Providers answer with a few hundred bytes; what is longer is no answer of theirs.
_LARGEST_ANSWER = 64 * 1024

_LONGEST_RETRY_AFTER = timedelta(hours=1)

#: The request was not looked at: wrong address, credentials, method, or a proxy in between. RFC 9110, 15.4 and 15.5.
_WRONGLY_SET_UP = frozenset({301, 302, 307, 308, 401, 403, 404, 405, 407})

#: The request may have been acted on although this is no success.
_UNCLEAR = frozenset({303, 408})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes

    def json_object(self) -> Mapping[str, object]:
        """The JSON object that the body holds; empty where it holds none."""
        try:
            said = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return said if isinstance(said, dict) else {}


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The call ended without a complete answer."""

    may_have_left: bool
    """Whether any byte of the request may have reached the provider."""
    code: str
    """Of a closed set: connect_failed, connect_timeout, tls_failed, answer_timeout, connection_lost,
    answer_unreadable."""


class HttpClient:
    """A pool of kept-alive connections with time limits. Follows no redirect, repeats nothing, keeps no cookie."""

    def __init__(self, *, timeout_seconds: float, headers: Mapping[str, str], connections: int = 100) -> None:
        """Must be called from a coroutine.

        Args:
            timeout_seconds: for a whole call, waiting for a free connection included.
            headers: sent with every call.
            connections: open at once, at most.
        """
        traces = aiohttp.TraceConfig()
        traces.on_request_headers_sent.append(_note_first_byte)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=timeout_seconds / 2),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[traces],
        )

    async def post_form(self, url: str, fields: Mapping[str, str]) -> Answer | NoAnswer:
        """POST `fields` as a form (UTF-8). Raises nothing that the network or the other side brings about."""
        progress = _Progress()
        # what no encoding can carry (a lone surrogate) becomes a question mark rather than an exception in a batch
        body = urlencode(fields, errors="replace").encode("ascii")
        try:
            async with self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as response:
                return Answer(response.status, response.headers, await _read(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return NoAnswer(progress.began, _code_of(error, began=progress.began))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


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
    text = answer.headers.get("Retry-After", "").strip()
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


@dataclass(slots=True)
class _Progress:
    began: bool = False


async def _note_first_byte(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    # aiohttp signals just before it hands the first bytes to the socket, never after
    context.trace_request_ctx.began = True


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            response.close()  # the rest is not worth the connection
            raise aiohttp.ClientPayloadError("answer too long")
    return bytes(body)


def _code_of(error: Exception, *, began: bool) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "tls_failed"
    if isinstance(error, TimeoutError):
        return "answer_timeout" if began else "connect_timeout"
    if not began:
        return "connect_failed"
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)):
        return "answer_unreadable"
    return "connection_lost"
