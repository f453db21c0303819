"""The outside: simulated providers with a ledger of their own, patients who answer, and proxies before every server.

It lives on one event loop in a thread of the harness, on the time of the fleet's clock, which goes as real time does.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from ops.simulator.agenda import Action, Agenda, Kind
from ops.simulator.calls import Call, Caller
from ops.simulator.certificate import CERTIFICATE, server_context
from ops.simulator.contacts import Contacts
from ops.simulator.draws import Draws
from ops.simulator.people import Person
from ops.simulator.provider_sms import SmsProvider
from ops.simulator.provider_smtp import Mail, SmtpFaults, SmtpProvider
from ops.simulator.sms_account import SmsAccount, SmsFaults
from ops.simulator.witness import Accepted, Witness
from tests.faults.proxy import Proxy

T = TypeVar("T")

#: Seconds between two looks at what is due, and until a call that failed is made again.
_STEP, _AGAIN = 0.02, 0.4
#: Shares of the people who, having got a text, write each of these.
_WORDS = (
    ("STOP", 0.08),
    ("HELP", 0.02),
    ("C", 0.02),
    ("please stop texting me", 0.02),
    ("yes I would like to book a visit", 0.02),
)
_UNSUBSCRIBES = 0.06
#: A booking link; everybody follows it.
_LINK = re.compile(r"http://127\.0\.0\.1:\d+/\S+")
#: Share of the numbers whose carrier knows an opt-out that nobody told us.
_KNOWN_TO_CARRIER = 0.02
#: Seconds between an opt-out in force and a call that its claim need not have seen (the promise), and for the way.
_BLIND, _WAY = 1.0, 0.5


class TickingWitness(Witness):
    """The provider's ledger, on a clock that goes on: an opt-out counts from the moment it was seen to be in force."""

    def __init__(self, contacts: Contacts, path: Path, own_words: tuple[str, ...]) -> None:
        super().__init__(contacts, path, own_words)
        self.slack = 0.0
        """Seconds by which what arrives may be late: the delay of proxies, and the harness's own."""

    def _is_barred(self, message: Accepted) -> bool:
        owners = self._contacts.owners(message.to)
        own = self._barred.get(message.to)
        sinces = [self._refusal(self._contacts.of(person)) for person in owners]
        if own is None:
            if not sinces or None in sinces:
                return False
            own = max(found for found in sinces if found is not None)
        return message.arrived > own[1] + _BLIND + _WAY + self.slack


class _Persistent(Caller):
    """A provider that repeats a call until it is answered; what was answered is never told again."""

    def _keep(self, call: Call) -> None:
        self.plan(call, self._now() + timedelta(seconds=_AGAIN))


class Outside:
    """Providers, patients and proxies. Methods may be called from any thread."""

    def __init__(self, seed: int, directory: Path, now: Callable[[], datetime]) -> None:
        self.now = now
        self.draws = Draws(seed)
        self.agenda = Agenda()
        self._contacts = Contacts([])
        own_words = ("Northstar Health", "100 Example Street, New York, NY 10001")
        self.witness = TickingWitness(self._contacts, directory / "witness.jsonl", own_words)
        self.caller = _Persistent(self.agenda, now)
        self.account = SmsAccount(sid="AC" + self.draws.token("account") * 2, token=self.draws.token("auth token") * 2)
        self.password = self.draws.token("smtp password")
        self.sms = SmsProvider(
            self.account,
            draws=self.draws,
            now=now,
            agenda=self.agenda,
            witness=self.witness,
            caller=self.caller,
            reached=self._text_arrived,
            faults=replace(SmsFaults.none(), opted_out=_KNOWN_TO_CARRIER),
        )
        #: The stand-by: an account of its own, and message ids of its own, in the one ledger of what patients got.
        self.second_account = SmsAccount(sid="AC" + self.draws.token("second") * 2, token=self.draws.token("token") * 2)
        self.sms_second = SmsProvider(
            self.second_account,
            draws=Draws(seed + 1),
            now=now,
            agenda=self.agenda,
            witness=self.witness,
            caller=self.caller,
            reached=self._text_arrived,
            faults=SmsFaults.none(),
        )
        self.smtp = SmtpProvider(
            "reactivation",
            self.password,
            draws=self.draws,
            now=now,
            agenda=self.agenda,
            witness=self.witness,
            reached=self._mail_arrived,
            faults=SmtpFaults.none(),
        )
        self.proxies: dict[str, Proxy] = {}
        self.ports: dict[str, int] = {}
        self.asked_to_stop: dict[str, float] = {}
        """Contact -> when the web process answered its opt-out (monotonic)."""
        self._arrived: Counter[tuple[str, date]] = Counter()
        self.lag = 0.0
        """The longest that this loop was late, in seconds."""
        self.certificate = directory / CERTIFICATE
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outside", daemon=True)
        self._busy: set[asyncio.Task[None]] = set()
        self._runners: list[web.AppRunner] = []
        self._smtp_server: asyncio.Server | None = None
        self._stepping: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self._open())
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self.witness.close()

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop and wait."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def on_loop(self, work: Callable[[], T]) -> T:
        """Run a function on the loop and wait."""

        async def do() -> T:
            return work()

        return self.do(do())

    def stand_before(self, name: str, host: str, port: int) -> int:
        """Put a proxy before a server; its port."""
        proxy = self.proxies[name] = Proxy(host, port)
        self.do(proxy.start())
        return proxy.port

    def meet(self, people: list[Person]) -> None:
        """These people exist from now on."""

        def meet() -> None:
            self._contacts._owners |= {
                contact: owners + self._contacts._owners.get(contact, [])
                for contact, owners in Contacts(people)._owners.items()
            }

        self.on_loop(meet)

    def is_idle(self) -> bool:
        """Whether every call was answered, and nobody is about to write."""
        return self.on_loop(lambda: not self._busy and not len(self.agenda))

    def judged(self) -> Mapping[str, Any]:
        """The witness's counts, and its references."""
        return self.on_loop(
            lambda: {
                "promises": self.witness.promises(),
                "references": self.witness.references(),
                "accepted": self.witness.accepted(),
            }
        )

    async def _open(self) -> None:
        await self.caller.open()
        for name, provider in (("sms", self.sms), ("sms-second", self.sms_second)):
            runner = web.AppRunner(provider.application(), access_log=None, shutdown_timeout=1)
            self._runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.ports[name] = int(runner.addresses[0][1])
        self._smtp_server = await self.smtp.listen(server_context(self._directory))
        self.ports["smtp"] = int(self._smtp_server.sockets[0].getsockname()[1])
        self._stepping = asyncio.create_task(self._step())

    async def _close(self) -> None:
        if self._stepping is not None:
            self._stepping.cancel()
        for task in list(self._busy):
            task.cancel()
        for proxy in self.proxies.values():
            await proxy.close()
        if self._smtp_server is not None:
            self._smtp_server.close()
        for runner in self._runners:
            await runner.cleanup()
        await self.caller.close()

    async def _step(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_STEP)
            self.lag = max(self.lag, time.monotonic() - before - _STEP)
            self.caller.plan_again()
            chains: dict[str, list[Action]] = {}
            while group := self.agenda.take_group(self.now()):
                for action in group:
                    chains.setdefault(action.key, []).append(action)
            for chain in chains.values():
                task = asyncio.create_task(_run(chain))
                self._busy.add(task)
                task.add_done_callback(self._busy.discard)

    def _text_arrived(self, number: str, text: str) -> None:
        link = _LINK.search(text)
        if link is not None:
            # nobody repeats a click: a key of its own, or a STOP would wait for it
            self.caller.plan(Call("booking_link", link[0], f"link {number}"), self.now())
        if self.witness.just_wrote(number, self.now()) or "STOP" not in text:
            return
        words = self._words(number)
        if words is not None:
            self._agree(number, Kind.REPLY, partial(self._write, number, words))

    def _words(self, number: str) -> str | None:
        """What they write, if anything; the first of a day say each of the words once."""
        if (nth := self._nth_today("text")) < len(_WORDS):
            return _WORDS[nth][0]
        drawn = self.draws.fraction("words", number, self.now().date())
        for words, share in _WORDS:
            drawn -= share
            if drawn < 0:
                return words
        return None

    def _nth_today(self, what: str) -> int:
        key = (what, self.now().date())
        self._arrived[key] += 1
        return self._arrived[key] - 1

    def _write(self, number: str, words: str) -> None:
        stops = "stop" in words.lower()
        self.witness.wrote(number, self.now(), is_opt_out=stops)
        answered = partial(self._stopped, number) if stops else _nothing
        self.sms.text_from_patient(number, words, begins=_nothing, answered=answered)

    def _mail_arrived(self, mail: Mail) -> None:
        if mail.unsubscribe_url is None or self.witness.just_wrote(mail.to, self.now()):
            return
        drawn = self.draws.happens(_UNSUBSCRIBES, "unsubscribes", mail.to, self.now().date())
        if self._nth_today("mail") > 0 and not drawn:
            return
        call = Call(
            "unsubscribe",
            mail.unsubscribe_url,
            mail.to,
            form={"List-Unsubscribe": "One-Click"},
            answered=partial(self._stopped, mail.to),
        )
        self.caller.plan(call, self.now() + timedelta(seconds=self.draws.fraction("later", mail.to) * 2))

    def _agree(self, contact: str, kind: Kind, act: Callable[[], None]) -> None:
        at = self.now() + timedelta(seconds=self.draws.fraction("later", contact, self.now().date()) * 2)

        async def do() -> None:
            act()

        self.agenda.add(at, kind, contact, do)

    def _stopped(self, contact: str) -> None:
        self.asked_to_stop.setdefault(contact, time.monotonic())


async def _run(chain: list[Action]) -> None:
    for action in chain:
        await action.act()


def _nothing() -> None:
    return None
