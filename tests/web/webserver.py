"""The web application on a real socket, before a household in the ledger, called the way providers call it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from household import Household, StoppedClock, settle_in
from sqlalchemy import Engine
from starlette.applications import Starlette
from waiting import wait_until

from channels.sms import CHANNEL
from domain.jobs import Job
from domain.ledger.vault import Vault
from domain.rules import links
from producers.webhooks.app import WebParts, create_app

PUBLIC_URL = "https://reach.example.org/hooks"
AUTH_TOKEN = "a-token-of-the-simulated-provider"
EVENTS_TOKEN = "a-token-of-a-publisher"
LINK_KEY = b"a-link-key-of-the-tests-32-bytes"
#: The SMS channel's settings; nothing is sent here, so nobody listens at its address.
SMS_ENVIRON = {
    "REACTIVATE_SMS_URL": "http://127.0.0.1:9",
    "REACTIVATE_SMS_ACCOUNT_SID": "AC" + "0" * 32,
    "REACTIVATE_SMS_AUTH_TOKEN": AUTH_TOKEN,
    "REACTIVATE_SMS_FROM": "+13035550100",
}


@dataclass
class Web:
    """A running server: how to call it, and what it handed on."""

    client: httpx.Client
    household: Household
    jobs: list[Job] = field(default_factory=list)
    events: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    opt_out_seconds: list[float] = field(default_factory=list)

    def provider(
        self, kind: str, fields: Mapping[str, str], *, query: str = "", token: str = AUTH_TOKEN
    ) -> httpx.Response:
        """A webhook as the provider signs it."""
        path, given = signed(f"/webhooks/sms/{kind}" + (f"?{query}" if query else ""), fields, token)
        return self.client.post(path, **given)

    def inbound(self, text: str, *, sid: str = "SM" + "a" * 32, sender: str = "+13035550101") -> httpx.Response:
        """A patient's text."""
        return self.provider("inbound", {"MessageSid": sid, "From": sender, "To": "+13035550100", "Body": text})

    def inbound_request(self, *, sid: str, sender: str) -> tuple[str, dict[str, Any]]:
        """A patient's STOP, to be posted by another client: path and arguments."""
        fields = {"MessageSid": sid, "From": sender, "To": "+13035550100", "Body": "STOP"}
        return signed("/webhooks/sms/inbound", fields, AUTH_TOKEN)

    def status(self, status: str, *, ref: str = "", sid: str = "SM" + "b" * 32, code: str = "") -> httpx.Response:
        """A status callback."""
        fields = {"MessageSid": sid, "MessageStatus": status} | ({"ErrorCode": code} if code else {})
        return self.provider("status", fields, query=f"ref={ref}" if ref else "")

    def link(self, purpose: str, touch_id: int) -> str:
        """The path of a link in a message."""
        return f"/{purpose[0]}/{links.make_token(LINK_KEY, purpose, touch_id)}"


def signed(path: str, fields: Mapping[str, str], token: str) -> tuple[str, dict[str, Any]]:
    """Path and arguments of a post, signed over the public address, not the one it really reaches."""
    signed = PUBLIC_URL + path + "".join(name + fields[name] for name in sorted(fields))
    mac = base64.b64encode(hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()).decode()
    return path, {"data": dict(fields), "headers": {"X-Twilio-Signature": mac}}


#: A ledger that somebody else settled, or nobody.
NOBODY = Household(*[0] * 6, enrolments=(0, 0), touches=(0, 0))

Serve = Callable[[Starlette], httpx.Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Runs applications with uvicorn, each on a free port of its own."""
    running: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []

    def start(app: Starlette) -> httpx.Client:
        config = uvicorn.Config(app, port=0, lifespan="on", access_log=False, log_config=None, server_header=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        running.append((server, thread, client))
        return client

    yield start
    for server, thread, client in running:
        client.close()
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def web(ledger: Engine, vault: Vault, serve: Serve) -> Web:
    """The application on each store, with the real SMS channel."""
    return start_web(ledger, vault, serve)


def start_web(ledger: Engine, vault: Vault, serve: Serve, *, settles: bool = True, **changes: Any) -> Web:
    """The application, with some of its arguments changed; `settles`: the household moves in first."""
    household = settle_in(ledger, vault) if settles else NOBODY
    made = Web(client=httpx.Client(), household=household)
    made.client.close()
    given: dict[str, Any] = {
        "engine": ledger,
        "vault": vault,
        "clock": StoppedClock(),
        "channels": {"sms": (CHANNEL, CHANNEL.configure(SMS_ENVIRON, PUBLIC_URL))},
        "public_url": PUBLIC_URL,
        "link_key": LINK_KEY,
        "jobs": made.jobs.append,
        "take_event": lambda source, headers, body: made.events.append((source, headers, body)),
        "spool_directory": Path(tempfile.gettempdir()) / f"reactivate-spool-{uuid.uuid4().hex}",
        "events_token": EVENTS_TOKEN,
        "observe_opt_out": made.opt_out_seconds.append,
    }
    made.client = serve(create_app(WebParts(**(given | changes))))
    return made
