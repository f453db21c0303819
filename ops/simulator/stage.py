"""The simulation as a whole: one world, its providers and patients, and the steps in which they act."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ops.simulator.agenda import Action, Agenda, Kind
from ops.simulator.calls import AT_ONCE, Caller
from ops.simulator.contacts import Contacts
from ops.simulator.diary import Diary
from ops.simulator.ehr import World
from ops.simulator.news import AmqpPublisher, HttpPublisher, News, Publisher
from ops.simulator.patients import Patients
from ops.simulator.provider_sms import SmsProvider
from ops.simulator.provider_smtp import SmtpFaults, SmtpProvider
from ops.simulator.sms_account import SmsAccount, SmsFaults
from ops.simulator.witness import Witness

LEDGER = "witness.jsonl"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What our side must know to use the providers."""

    sms: SmsAccount
    smtp_user: str
    smtp_password: str


class Stage:
    """Everything outside our organisation's software, driven by `advance`."""

    def __init__(
        self,
        world: World,
        directory: Path,
        now: Callable[[], datetime],
        credentials: Credentials,
        *,
        sms_faults: SmsFaults | None = None,
        smtp_faults: SmtpFaults | None = None,
    ) -> None:
        self.now = now
        self.agenda = Agenda()
        contacts = Contacts(world.people)
        self.witness = Witness(contacts, directory / LEDGER, world.own_words)
        self.caller = Caller(self.agenda, now)
        self.diary = Diary(world, self.agenda, now, self._hear)
        self.patients = Patients(
            draws=world.draws,
            now=now,
            agenda=self.agenda,
            contacts=contacts,
            diary=self.diary,
            witness=self.witness,
            caller=self.caller,
        )
        self.sms = SmsProvider(
            credentials.sms,
            draws=world.draws,
            now=now,
            agenda=self.agenda,
            witness=self.witness,
            caller=self.caller,
            reached=self.patients.text_arrived,
            faults=sms_faults or SmsFaults(),
        )
        self.patients.use(self.sms)
        self.smtp = SmtpProvider(
            credentials.smtp_user,
            credentials.smtp_password,
            draws=world.draws,
            now=now,
            agenda=self.agenda,
            witness=self.witness,
            reached=self.patients.mail_arrived,
            faults=smtp_faults or SmtpFaults(),
        )
        self._news: list[News] = []
        self._publisher: Publisher | None = None
        self._turn = asyncio.Lock()

    async def begin(self, public_url: str, events: dict[str, str]) -> None:
        """Start the story: our web process answers at `public_url`; `events` says where news goes.

        Raises:
            ValueError: it has begun already, or `events` names no transport.
        """
        if self._publisher is not None:
            raise ValueError("the story has begun already")
        transport = events.get("transport")
        if transport == "http":
            publisher: Publisher = HttpPublisher(self.caller, events.get("token", ""))
        elif transport == "amqp":
            publisher = AmqpPublisher(events["url"])
        else:
            raise ValueError("events.transport: expected http or amqp")
        self._publisher = publisher
        self.caller.public_url = public_url.rstrip("/")
        await self.caller.open()
        self.diary.open()

    async def advance(self) -> int:
        """Do everything due by now, in a fixed order, and wait for every answer; how much was done.

        Raises:
            RuntimeError: the story has not begun.
        """
        if self._publisher is None:
            raise RuntimeError("the story has not begun: POST /control/begin first")
        async with self._turn:
            self.caller.plan_again()
            await self._publisher.publish(())
            did = 0
            while group := self.agenda.take_group(self.now()):
                await _run(group)
                did += len(group)
                if group[0].kind is Kind.RECORDS:
                    news, self._news = self._news, []
                    await self._publisher.publish(news)
            return did

    def progress(self) -> dict[str, Any]:
        """When the next action is due, and how many events were confirmed since the beginning."""
        next_at = self.agenda.next_at()
        return {
            "next_at": next_at.isoformat() if next_at else None,
            "events": self._publisher.confirmed.total() if self._publisher else 0,
            "unconfirmed": self._publisher.unconfirmed if self._publisher else 0,
        }

    def state(self) -> dict[str, Any]:
        """Counts for people: what was planned, done, answered and refused."""
        return {
            "now": self.now().isoformat(),
            "planned": len(self.agenda),
            **self.progress(),
            "calls": {
                "answered": dict(self.caller.answered),
                "failed": dict(self.caller.failed),
                "given_up": dict(self.caller.given_up),
            },
            "refused": {
                "sms": {str(code): count for code, count in self.sms.refused.items()},
                "email": dict(self.smtp.refused),
            },
            "patients": dict(self.patients.did),
            "records": dict(self.diary.counts),
            "news": dict(self._publisher.confirmed) if self._publisher else {},
        }

    def testimony(self) -> dict[str, Any]:
        """What the witness saw."""
        self.witness.flush()
        return {
            "accepted": self.witness.accepted(),
            "answers": self.witness.answers(),
            "promises": self.witness.promises(),
            "messages": self.witness.references(),
        }

    async def close(self) -> None:
        """Close connections and the witness's file."""
        if self._publisher is not None:
            await self._publisher.close()
        await self.caller.close()
        self.witness.close()

    def _hear(self, news: News) -> None:
        self._news.append(news)


async def _run(group: list[Action]) -> None:
    """Actions of one key in order, different keys at once."""
    chains: dict[str, list[Action]] = {}
    for action in group:
        chains.setdefault(action.key, []).append(action)
    waiting = iter(chains.values())

    async def work() -> None:
        for chain in waiting:
            for action in chain:
                await action.act()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(AT_ONCE, len(chains))):
            tasks.create_task(work())
