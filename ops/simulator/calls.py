"""Calls to the organisation's web process: each is made until it is answered, and every failure is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from ops.simulator.agenda import Agenda, Kind

#: Calls at once; also the connections kept open.
AT_ONCE = 64
#: A failed call is tried again at the next step of time so often, then every simulated hour.
PROMPT_TRIES = 3
MOST_TRIES = 72
#: Answers that no repetition will change, for calls that carry no patient's wish.
FINAL = frozenset({400, 404, 405, 410, 413, 415, 422})
#: A patient's wish is repeated whatever the answer.
WISHES = frozenset({"reply", "unsubscribe"})


@dataclass(slots=True)
class Call:
    """One call. With a form or a body it is a POST, else a GET whose redirect is taken for an answer."""

    label: str
    """What it is, for the counts: receipt, reply, event, unsubscribe, booking_link, scanner."""
    url: str
    key: str
    """Whom it concerns; calls of one key are made in order."""
    form: Mapping[str, str] | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    begins: Callable[[], None] | None = None
    """Run before each try."""
    answered: Callable[[], None] | None = None
    """Run when the answer was 2xx (GET: or 3xx)."""
    tries: int = 0

    @property
    def is_get(self) -> bool:
        """Whether it only asks."""
        return self.form is None and self.body is None


class Caller:
    """Makes calls over kept connections. `public_url` is where our web process answers (set by `begin`)."""

    def __init__(self, agenda: Agenda, now: Callable[[], datetime]) -> None:
        self.public_url = ""
        self._agenda = agenda
        self._now = now
        self._session: ClientSession | None = None
        self._failed: list[Call] = []
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        """Calls that were not answered 2xx, each time, as `label:status` (status 0: no answer at all)."""
        self.given_up: Counter[str] = Counter()

    async def open(self) -> None:
        """Open the session, on the running loop."""
        self._session = ClientSession(
            connector=TCPConnector(limit=AT_ONCE, keepalive_timeout=60), timeout=ClientTimeout(total=30)
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def make(self, call: Call) -> bool:
        """Make a call; if it fails it is kept for later, so nothing is lost. Whether it was answered."""
        call.tries += 1
        if call.begins is not None:
            call.begins()
        status = await self._request(call)
        if 200 <= status < (400 if call.is_get else 300):
            self.answered[call.label] += 1
            if call.answered is not None:
                call.answered()
            return True
        self.failed[f"{call.label}:{status}"] += 1
        if call.is_get or (status in FINAL and call.label not in WISHES):
            self.given_up[call.label] += 1
        else:
            self._keep(call)
        return False

    def plan(self, call: Call, at: datetime) -> None:
        """Make the call at a simulated instant (UTC)."""

        async def act() -> None:
            await self.make(call)

        self._agenda.add(at, Kind.REPLY, call.key, act)

    def plan_again(self) -> int:
        """Put the calls that failed since the last step back on the agenda; how many."""
        failed, self._failed = self._failed, []
        for call in failed:
            self.plan(call, self._now())
        return len(failed)

    def _keep(self, call: Call) -> None:
        if call.tries >= MOST_TRIES:
            self.given_up[call.label] += 1
        elif call.tries < PROMPT_TRIES:
            self._failed.append(call)
        else:
            self.plan(call, self._now() + timedelta(hours=1))

    async def _request(self, call: Call) -> int:
        """The status of the answer, 0 without one."""
        if self._session is None:
            raise RuntimeError("Caller.open first")
        method = "GET" if call.is_get else "POST"
        data = call.body if call.form is None else dict(call.form)
        try:
            async with self._session.request(
                method, call.url, data=data, headers=call.headers, allow_redirects=False
            ) as response:
                await response.read()
                return response.status
        except (ClientError, TimeoutError, OSError):
            return 0
