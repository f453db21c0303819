"""What a Twilio-compatible provider may do with a message, and what must come of it."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs

from aiohttp import web
from certificates import server_context
from channel_harness import NOW, PUBLIC_URL, Case, Provider, deaf_port, outgoing, refusing_port

from channels.kit.contract import Outcome, OutcomeKind, SideEffect

ACCEPTED, REJECTED, THROTTLED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.THROTTLED
RETRY, UNCERTAIN = OutcomeKind.RETRY, OutcomeKind.UNCERTAIN
BAD, OPTED_OUT, PAUSE = SideEffect.BAD_ADDRESS, SideEffect.OPTED_OUT, SideEffect.PAUSE_CHANNEL

ACCOUNT = "AC00000000000000000000000000000001"
SID = "SM00000000000000000000000000000042"
MESSAGE = outgoing(to="+12125550123")
IMPATIENT = {"REACTIVATE_SMS_TIMEOUT_SECONDS": "0.5"}
#: Long enough for the provider to be reached, also on a machine that has much else to do.
REACHING = {"REACTIVATE_SMS_TIMEOUT_SECONDS": "3"}


@dataclass(frozen=True)
class Says:
    """A complete answer."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


#: What a provider does without answering completely.
HANG, RESET, HANG_UP, CUT_SHORT, NO_HTTP, REFUSE, DEAF, SELF_SIGNED = (
    "hang", "reset", "hang up", "cut short", "no http", "refuse", "deaf", "self-signed",
)  # fmt: skip


def created() -> Says:
    """Twilio's answer to a message it takes."""
    return Says(201, json.dumps({"sid": SID, "status": "queued", "error_code": None}))


def refused(code: int, status: int = 400, **headers: str) -> Says:
    """Twilio's answer to a message it does not take."""
    return Says(status, json.dumps({"code": code, "message": "not shown to anyone", "status": status}), headers)


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    authorization: str
    form: dict[str, list[str]]


@asynccontextmanager
async def provider(script: Says | str) -> AsyncIterator[Provider]:
    """A provider over a real socket that does one thing to every call."""
    if script in (REFUSE, DEAF):
        async with refusing_port() if script == REFUSE else deaf_port() as port:
            yield Provider(_environ(f"http://127.0.0.1:{port}"))
        return
    over, up = asyncio.Event(), Provider({})

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        form = parse_qs((await request.read()).decode("ascii"), keep_blank_values=True, strict_parsing=True)
        up.received.append(Call(request.method, request.path, request.headers.get("Authorization", ""), form))
        if isinstance(script, Says):
            return web.Response(status=script.status, text=script.body, headers=script.headers)
        return await _misbehave(script, request, over)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    context: ssl.SSLContext | None = server_context() if script == SELF_SIGNED else None
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    up.environ = _environ(f"{'https' if context else 'http'}://localhost:{runner.addresses[0][1]}")
    try:
        yield up
    finally:
        over.set()
        await runner.cleanup()


async def _misbehave(script: str, request: web.BaseRequest, over: asyncio.Event) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    if script == HANG:
        await over.wait()
    elif script == RESET:
        transport.abort()
    elif script == HANG_UP:
        transport.close()
    elif script == CUT_SHORT:
        transport.write(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n" + created().body.encode()[:20])
        transport.close()
    elif script == NO_HTTP:
        transport.write(b"220 mail.example.org ESMTP\r\n")
        transport.close()
    return web.Response()


def _environ(url: str) -> dict[str, str]:
    return {
        "REACTIVATE_SMS_URL": url,
        "REACTIVATE_SMS_ACCOUNT_SID": ACCOUNT,
        "REACTIVATE_SMS_AUTH_TOKEN": "token-of-the-test",
        "REACTIVATE_SMS_FROM": "+12125550100",
    }


def _is_a_twilio_request(call: Call) -> None:
    credentials = base64.b64encode(f"{ACCOUNT}:token-of-the-test".encode()).decode()
    assert (call.method, call.path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    assert call.authorization == f"Basic {credentials}"
    assert call.form == {
        "To": ["+12125550123"],
        "From": ["+12125550100"],
        "Body": ["Lakeside Health: it is time for a visit. Reply STOP to end."],
        "ValidityPeriod": ["7200"],
        "StatusCallback": [f"{PUBLIC_URL}/webhooks/sms/status?ref=abcdefghijklmnopqrstuvwx27"],
    }


def _names_the_service(call: Call) -> None:
    assert call.form["MessagingServiceSid"] == ["MG1"]
    assert "From" not in call.form


def _is_ten_hours(call: Call) -> None:
    assert call.form["ValidityPeriod"] == ["36000"]


def _is_one_second(call: Call) -> None:
    assert call.form["ValidityPeriod"] == ["1"]


def _is_folded(call: Call) -> None:
    assert call.form["Body"] == ['It\'s time - call us... & say "hello"']


def _is_unicode(call: Call) -> None:
    assert call.form["Body"] == ["Está a tiempo… 👍&To=+19995550199"]
    assert call.form["To"] == ["+12125550123"]


def _minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


CASES = [
    Case("a message is taken", created(), Outcome(ACCEPTED, SID), check=_is_a_twilio_request),
    Case(
        "a messaging service picks the sender",
        created(),
        Outcome(ACCEPTED, SID),
        environ={"REACTIVATE_SMS_FROM": "", "REACTIVATE_SMS_MESSAGING_SERVICE_SID": "MG1"},
        check=_names_the_service,
    ),
    Case(
        "a wide window is Twilio's longest",
        created(),
        Outcome(ACCEPTED, SID),
        message={"valid_until": NOW + timedelta(hours=11)},
        check=_is_ten_hours,
    ),
    Case(
        "a closing window is one second",
        created(),
        Outcome(ACCEPTED, SID),
        message={"valid_until": NOW + timedelta(seconds=1.9)},
        check=_is_one_second,
    ),
    Case(
        "a closed window is not sent into",
        created(),
        Outcome(RETRY, code="window_closed"),
        message={"valid_until": NOW + timedelta(seconds=0.9)},
        calls=0,
    ),
    Case(
        "a window long closed is not sent into",
        created(),
        Outcome(RETRY, code="window_closed"),
        message={"valid_until": NOW - timedelta(days=1)},
        calls=0,
    ),
    Case(
        "smart punctuation is folded",
        created(),
        Outcome(ACCEPTED, SID),
        message={"body": "It’s time – call us… & say “hello”"},
        check=_is_folded,
    ),
    Case(
        "a text cannot add fields",
        created(),
        Outcome(ACCEPTED, SID),
        message={"body": "Está a tiempo… 👍&To=+19995550199"},
        check=_is_unicode,
    ),
    # Twilio's error codes
    Case("20429", refused(20429, 429), Outcome(THROTTLED, code="20429", retry_after=timedelta(seconds=5))),
    Case(
        "20429 with a time named",
        refused(20429, 429, **{"Retry-After": "7"}),
        Outcome(THROTTLED, code="20429", retry_after=timedelta(seconds=7)),
    ),
    Case("30001", refused(30001), Outcome(THROTTLED, code="30001", retry_after=_minutes(1))),
    Case("21611", refused(21611), Outcome(THROTTLED, code="21611", retry_after=_minutes(1))),
    Case("30022", refused(30022), Outcome(THROTTLED, code="30022", retry_after=_minutes(1))),
    Case("30003", refused(30003), Outcome(RETRY, code="30003", retry_after=timedelta(hours=4), later_tries=2)),
    Case("30008", refused(30008), Outcome(RETRY, code="30008", retry_after=timedelta(hours=1), later_tries=1)),
    Case("30006", refused(30006), Outcome(REJECTED, code="30006", effect=BAD)),
    Case("21635", refused(21635), Outcome(REJECTED, code="21635", effect=BAD)),
    Case("30005", refused(30005), Outcome(REJECTED, code="30005", effect=BAD)),
    Case("21211", refused(21211), Outcome(REJECTED, code="21211", effect=BAD)),
    Case("21614", refused(21614), Outcome(REJECTED, code="21614", effect=BAD)),
    Case("21610", refused(21610), Outcome(REJECTED, code="21610", effect=OPTED_OUT)),
    Case("21610 as 403", refused(21610, 403), Outcome(REJECTED, code="21610", effect=OPTED_OUT)),
    Case("21408", refused(21408, 403), Outcome(RETRY, code="21408", effect=PAUSE)),
    Case("30002", refused(30002), Outcome(RETRY, code="30002", effect=PAUSE)),
    Case("30034", refused(30034), Outcome(RETRY, code="30034", effect=PAUSE)),
    Case("30004", refused(30004), Outcome(REJECTED, code="30004")),
    Case("30007", refused(30007), Outcome(REJECTED, code="30007")),
    Case("an unknown code is not retried", refused(21617), Outcome(REJECTED, code="21617")),
    Case("wrong credentials", refused(20003, 401), Outcome(RETRY, code="20003", effect=PAUSE)),
    # statuses without a code of Twilio's
    Case("a bare 400", Says(400, "bad"), Outcome(REJECTED, code="http_400")),
    Case("a code that is none", Says(400, '{"code": "x\\ny"}'), Outcome(REJECTED, code="http_400")),
    Case("no such page", Says(404, "<html>"), Outcome(RETRY, code="http_404", effect=PAUSE)),
    Case("a bare 429", Says(429), Outcome(THROTTLED, code="http_429")),
    Case(
        "429 until a date",
        Says(429, headers={"Retry-After": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}),
        Outcome(THROTTLED, code="http_429", retry_after=timedelta(seconds=90)),
    ),
    Case(
        "429 for ever is an hour",
        Says(429, headers={"Retry-After": "9" * 30}),
        Outcome(THROTTLED, code="http_429", retry_after=timedelta(hours=1)),
    ),
    Case("429 and nonsense", Says(429, headers={"Retry-After": "soon"}), Outcome(THROTTLED, code="http_429")),
    Case("request timeout", Says(408), Outcome(UNCERTAIN, code="http_408")),
    Case("a server error", Says(500, "oops"), Outcome(UNCERTAIN, code="http_500")),
    Case("a server error with a code", refused(21211, 500), Outcome(UNCERTAIN, code="http_500")),
    Case("a gateway's error", Says(502), Outcome(UNCERTAIN, code="http_502")),
    Case("a gateway's time-out", Says(504), Outcome(UNCERTAIN, code="http_504")),
    Case("garbage instead of JSON", Says(201, "{]"), Outcome(UNCERTAIN, code="no_sid")),
    Case("JSON of another kind", Says(201, "[1, 2]"), Outcome(UNCERTAIN, code="no_sid")),
    Case("deeply nested JSON", Says(201, "[" * 50_000), Outcome(UNCERTAIN, code="no_sid")),
    Case("a sid that is none", Says(201, '{"sid": 42}'), Outcome(UNCERTAIN, code="no_sid")),
    Case("an empty success", Says(201), Outcome(UNCERTAIN, code="no_sid")),
    Case("a success without end", Says(201, " " * 70_000), Outcome(UNCERTAIN, code="answer_unreadable")),
    Case(
        "a redirect is not followed",
        Says(307, headers={"Location": "/elsewhere"}),
        Outcome(RETRY, code="http_307", effect=PAUSE),
    ),
    Case(
        "see other, which may follow an acceptance",
        Says(303, headers={"Location": "/"}),
        Outcome(UNCERTAIN, code="http_303"),
    ),
    # no answer
    Case("no answer in time", HANG, Outcome(UNCERTAIN, code="answer_timeout"), environ=REACHING),
    Case("a reset after the request", RESET, Outcome(UNCERTAIN, code="connection_lost")),
    Case("a hang-up after the request", HANG_UP, Outcome(UNCERTAIN, code="connection_lost")),
    Case("an answer cut short", CUT_SHORT, Outcome(UNCERTAIN, code="answer_unreadable")),
    Case("an answer in another protocol", NO_HTTP, Outcome(UNCERTAIN, code="answer_unreadable")),
    Case("a refused connection", REFUSE, Outcome(RETRY, code="connect_failed"), calls=0),
    Case("a connection nobody takes", DEAF, Outcome(RETRY, code="connect_timeout"), environ=IMPATIENT, calls=0),
    Case("an unknown certificate", SELF_SIGNED, Outcome(RETRY, code="tls_failed", effect=PAUSE), calls=0),
]
