"""A small world on a stage, a clock to step, and a web process of ours that only listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import ClientSession, encode_basic_auth, web

from ops.simulator.__main__ import credentials
from ops.simulator.ehr import World, generate
from ops.simulator.provider_smtp import SmtpFaults
from ops.simulator.sms_account import SmsFaults
from ops.simulator.stage import Credentials, Stage

T = TypeVar("T")

#: A Tuesday, noon in New York and 9 in the morning in Los Angeles.
START = datetime(2025, 1, 7, 17, tzinfo=UTC)
LOGIN: Credentials = credentials(7)


@dataclass
class Clock:
    """Simulated time in one process."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def pass_by(self, **stretch: float) -> datetime:
        self.at += timedelta(**stretch)
        return self.at


@dataclass
class Ours:
    """Our web process, as a stand-in that notes every call and answers as it is told."""

    url: str = ""
    status: int = 204
    calls: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def to(self, path: str) -> list[bytes]:
        return [body for _, found, _, body in self.calls if found.startswith(path)]

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        return web.Response(status=self.status)


@dataclass
class Scene:
    """A stage with its providers listening."""

    stage: Stage
    clock: Clock
    ours: Ours
    world: World
    sms_url: str
    http: ClientSession

    async def text(self, to: str, body: str = "Hello. Reply STOP to opt out.", ref: str = "a1", **fields: str) -> Any:
        """POST a message as our channel does; the response is read."""
        form = {
            "To": to,
            "From": "+12125550100",
            "Body": body,
            "ValidityPeriod": "3600",
            "StatusCallback": f"{self.ours.url}/webhooks/sms/status?ref={ref}",
            **fields,
        }
        async with self.http.post(self.sms_url, data=form, headers=entry()) as response:
            return response.status, await response.json()


def entry(token: str = LOGIN.sms.token) -> dict[str, str]:
    """The header that opens the SMS provider's door."""
    return {"Authorization": encode_basic_auth(LOGIN.sms.sid, token)}


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run one scenario to its end, within a minute."""
    return asyncio.run(asyncio.wait_for(scenario, 120))


@asynccontextmanager
async def on_stage(
    directory: Path,
    world: World,
    *,
    sms_faults: SmsFaults | None = None,
    smtp_faults: SmtpFaults | None = None,
    login: Credentials = LOGIN,
    events: dict[str, str] | None = None,
) -> AsyncIterator[Scene]:
    """Put a world on a stage whose providers never fail, unless told how."""
    clock, ours = Clock(), Ours()
    stage = Stage(
        world,
        directory,
        clock.now,
        login,
        sms_faults=sms_faults or SmsFaults.none(),
        smtp_faults=smtp_faults or SmtpFaults.none(),
    )
    listening = web.Application()
    listening.router.add_route("*", "/{path:.*}", ours.answer)
    runners = [web.AppRunner(listening), web.AppRunner(stage.sms.application(), access_log=None)]
    try:
        for runner in runners:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        ours.url = f"http://127.0.0.1:{runners[0].addresses[0][1]}"
        await stage.begin(ours.url, events or {"transport": "http", "token": "let-me-in"})
        sms_url = f"http://127.0.0.1:{runners[1].addresses[0][1]}/2010-04-01/Accounts/{login.sms.sid}/Messages.json"
        async with ClientSession() as http:
            yield Scene(stage, clock, ours, world, sms_url, http)
    finally:
        await stage.close()
        for runner in runners:
            await runner.cleanup()


@pytest.fixture(scope="session")
def small_world() -> World:
    """Three hundred patients at four sites."""
    return generate(7, sites=4, patients=300, start=START)
