"""Two simulated providers over real sockets, each with a ledger of its own: one fails in every way a provider can.

What counts is what both of them took: nobody is texted twice, and all that was not taken by the one is by the other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from household import NOW, StoppedClock, rows
from practice import Desk, Person, Practice
from sqlalchemy import Engine

from channels.kit.discovery import providers
from domain.ledger.attempts import attempt
from domain.ledger.touches import touch
from ops.runtime.breaker import POLICY
from ops.runtime.breakers import LocalStore, Store
from ops.runtime.breakers_redis import RedisStore
from ops.runtime.loop import LoopThread
from ops.simulator.agenda import Agenda
from ops.simulator.calls import Caller
from ops.simulator.contacts import Contacts
from ops.simulator.draws import Draws
from ops.simulator.provider_sms import SmsProvider
from ops.simulator.sms_account import SmsAccount, SmsFaults
from ops.simulator.witness import Accepted, Witness

SECOND = timedelta(seconds=1)
TEN = POLICY.at_least

#: What a provider may do: answer; refuse the connection; answer 503; take on and hang up; neither take on nor answer.
WELL, REFUSES, UNAVAILABLE, LOSES_ANSWERS, SILENT = "well", "refuses", "503", "loses answers", "silent"


class Book(Witness):
    """A witness that also tells whose numbers it heard of."""

    def __init__(self, path: Path) -> None:
        super().__init__(Contacts(()), path)
        self.taken: Counter[str] = Counter()

    def accept(self, message: Accepted) -> None:
        self.taken[message.to] += 1
        super().accept(message)


@dataclass
class Simulated:
    """One provider on a port of its own, and how it behaves at the moment."""

    name: str
    book: Book
    asked: int = 0
    mode: str = WELL
    port: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    runner: web.AppRunner | None = None

    @property
    def environ(self) -> dict[str, str]:
        prefix = f"REACTIVATE_{self.name.upper()}"
        return {
            f"{prefix}_URL": f"http://127.0.0.1:{self.port}",
            f"{prefix}_ACCOUNT_SID": f"AC{self.name.encode().hex()}",
            f"{prefix}_AUTH_TOKEN": "token",
            f"{prefix}_FROM": "+13035550199",
            # a silent provider is waited for so long; also a busy machine answers within it
            f"{prefix}_TIMEOUT_SECONDS": "8",
        }

    async def start(self) -> None:
        account = SmsAccount(f"AC{self.name.encode().hex()}", "token")
        agenda = Agenda()
        provider = SmsProvider(
            account,
            draws=Draws(7),
            now=lambda: NOW,
            agenda=agenda,
            witness=self.book,
            caller=Caller(agenda, lambda: NOW),
            reached=lambda _to, _text: None,
            faults=SmsFaults.none(),
        )
        application = provider.application()
        application.middlewares.append(self._behave)
        self.runner = web.AppRunner(application)
        await self.runner.setup()
        await self.listen()

    async def listen(self) -> None:
        assert self.runner is not None
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]

    async def become(self, mode: str) -> None:
        assert self.runner is not None
        if mode == REFUSES:
            for site in list(self.runner.sites):
                await site.stop()
        elif self.mode == REFUSES:
            await self.listen()
        self.mode = mode

    async def stop(self) -> None:
        assert self.runner is not None
        self.over.set()
        await self.runner.cleanup()

    @property
    def _behave(self) -> Any:
        @web.middleware
        async def behave(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self.asked += 1
            if self.mode == UNAVAILABLE:
                return web.Response(status=503, text="upstream connect error")
            if self.mode == SILENT:
                await self.over.wait()
            answer = await handler(request)
            if self.mode == LOSES_ANSWERS and request.transport is not None:
                request.transport.abort()
            return answer

        return behave


class Both:
    """Our worker, and the two providers it may ask."""

    def __init__(self, desk: Desk, loop: LoopThread, first: Simulated, second: Simulated, stores: list[Store]) -> None:
        self._loop = loop
        self.first, self.second = first, second
        members = {}
        for each in (first, second):
            channel = providers()[each.name]
            weight = {f"REACTIVATE_{each.name.upper()}_WEIGHT": "100" if each is first else "0"}
            members[each.name] = (channel, channel.configure(each.environ | weight, "https://reach.example.org"))
        self.workers = [desk.worker(members["sms"][0], members=members, store=store) for store in stores]

    def become(self, mode: str) -> None:
        self._loop.run(self.first.become(mode))

    def send(self, people: list[Person]) -> None:
        """In batches of ten, by the workers in turn."""
        ids = [each.touch for each in people]
        for nth, start in enumerate(range(0, len(ids), TEN)):
            self.workers[nth % len(self.workers)].send(ids[start : start + TEN])

    def close(self) -> None:
        for worker in self.workers:
            worker.close()

    @property
    def texted(self) -> Counter[str]:
        return self.first.book.taken + self.second.book.taken


@contextmanager
def serving(desk: Desk, tmp_path: Path, stores: list[Store]) -> Iterator[Both]:
    loop = LoopThread("providers")
    first, second = (Simulated(name, Book(tmp_path / name)) for name in ("sms", "sms_second"))
    loop.run(first.start())
    loop.run(second.start())
    both = Both(desk, loop, first, second, stores)
    yield both
    both.close()
    for each in (first, second):
        loop.run(each.stop())
        each.book.close()
    loop.close()


@pytest.fixture
def both(desk: Desk, tmp_path: Path) -> Iterator[Both]:
    with serving(desk, tmp_path, [LocalStore()]) as opened:
        yield opened


def states(ledger: Engine) -> Counter[tuple[str, str]]:
    found = rows(ledger, attempt)
    return Counter((each["provider"], each["state"]) for each in found if each["state"] != "released")


def test_a_provider_that_refuses_connections_is_left_after_ten_calls_and_everybody_is_texted_once(
    ledger: Engine, practice: Practice, both: Both
) -> None:
    people = [practice.person() for _ in range(30)]
    both.become(REFUSES)

    both.send(people)
    # what was refused is due at once
    both.send(people)

    assert both.texted == Counter(each.number for each in people)
    assert both.first.asked == 0
    assert states(ledger) == {("sms", "retry"): TEN, ("sms_second", "accepted"): 30}


@pytest.mark.parametrize("mode", [UNAVAILABLE, LOSES_ANSWERS, SILENT])
def test_what_a_failing_provider_may_have_taken_is_not_sent_by_the_other(
    ledger: Engine, practice: Practice, both: Both, mode: str
) -> None:
    people = [practice.person() for _ in range(30)]
    both.become(mode)

    both.send(people)
    both.send(people)

    # at most once each: whether or not the first took them, they wait to be resolved
    assert set(both.texted.values()) == {1}
    assert both.first.asked == TEN
    assert states(ledger) == {("sms", "uncertain"): TEN, ("sms_second", "accepted"): 20}
    assert Counter(each["state"] for each in rows(ledger, touch)) == {"uncertain": TEN, "accepted": 20}
    assert sum(both.first.book.taken.values()) == (TEN if mode == LOSES_ANSWERS else 0)


def test_a_provider_that_recovers_gets_its_numbers_back_after_three_trials(
    ledger: Engine, practice: Practice, both: Both, clock: StoppedClock
) -> None:
    people = [practice.person() for _ in range(30)]
    both.become(REFUSES)
    both.send(people[:TEN])
    both.become(WELL)

    clock.at = NOW + POLICY.rest * SECOND
    both.send(people[TEN : 2 * TEN])
    trials = sum(both.first.book.taken.values())
    clock.at += SECOND
    both.send(people[2 * TEN :])
    both.send(people)

    assert trials == POLICY.trials
    # those of the failure were due at once, and are the provider's own again
    assert sum(both.first.book.taken.values()) == POLICY.trials + 2 * TEN
    assert both.texted == Counter(each.number for each in people)
    assert {each["state"] for each in rows(ledger, touch)} == {"accepted"}


def test_processes_share_what_they_find_by_redis(
    ledger: Engine, practice: Practice, desk: Desk, tmp_path: Path, redis_url: str, redis_prefix: str
) -> None:
    stores: list[Store] = [RedisStore(redis_url, redis_prefix) for _ in range(2)]
    with serving(desk, tmp_path, stores) as both:
        people = [practice.person() for _ in range(30)]
        both.become(UNAVAILABLE)

        both.send(people)

        assert both.first.asked == TEN
        assert states(ledger) == {("sms", "uncertain"): TEN, ("sms_second", "accepted"): 20}


def test_without_redis_each_process_finds_out_by_itself_and_nobody_is_texted_twice(
    ledger: Engine, practice: Practice, desk: Desk, tmp_path: Path
) -> None:
    stores: list[Store] = [RedisStore("redis://127.0.0.1:1/0", "x:") for _ in range(2)]
    with serving(desk, tmp_path, stores) as both:
        people = [practice.person() for _ in range(40)]
        both.become(LOSES_ANSWERS)

        both.send(people)
        both.send(people)

        assert both.first.asked == 2 * TEN
        assert set(both.texted.values()) == {1}
        assert states(ledger) == {("sms", "uncertain"): 2 * TEN, ("sms_second", "accepted"): 20}
