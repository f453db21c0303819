"""A practice with patients to write to, and the provider's edge: a channel that remembers every call made to it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from household import NOW, add, enrol, meet, plan_touch
from rulebooks import STANDARD
from sqlalchemy import Connection, Engine, update

from channels.kit.contract import Outcome, OutcomeKind, Outgoing, Rate
from domain.ledger import choices
from domain.ledger.campaigns import campaign, campaign_template
from domain.ledger.finishes import MOST_ATTEMPTS
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import contact_point, patient, patient_contact
from domain.ledger.texts import template, template_version
from domain.ledger.vault import Vault
from ops.runtime.breakers import Breakers, LocalStore, Store
from ops.runtime.loop import LoopThread
from ops.runtime.pacing import Ask, Grant
from workers.providers import Providers
from workers.rendering import Renderer
from workers.send import SendWorker

SYSTEMS = {"sms": "phone", "email": "email"}
ACCEPTED = Outcome(OutcomeKind.ACCEPTED)
DENVER = "America/Denver"


@dataclass(frozen=True)
class Person:
    """Ids of one patient, enrolled in the treatment arm, with one text planned for now."""

    id: int
    enrolment: int
    touch: int
    phone: int | None
    email: int | None
    number: str


class Practice:
    """One site in Denver and one running campaign."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self.engine = engine
        self.vault = vault
        self._people = 0
        with engine.begin() as conn:
            self.organisation = add(
                conn, organisation, key="o", name="Northstar Health", phone="+1 303 555 0100", postal_address="1 Road"
            )
            self.site = add(
                conn, site, organisation_id=self.organisation, key="main", name="Main", zone=DENVER, state="CO"
            )
            self.campaign = add(
                conn,
                campaign,
                organisation_id=self.organisation,
                key="welcome-back",
                version=1,
                checksum="0",
                definition={},
                holdout=0.1,
                started_at=NOW,
            )
            self.text = add(
                conn,
                template_version,
                organisation_id=self.organisation,
                key="hello",
                version=1,
                checksum="0",
                recorded_at=NOW,
                released_at=NOW,
            )
            add(conn, campaign_template, campaign_id=self.campaign, template_version_id=self.text)
            for channel, subject in (("sms", None), ("email", "Hello")):
                add(
                    conn,
                    template,
                    template_version_id=self.text,
                    channel=channel,
                    language="en",
                    subject=subject,
                    body=f"{channel} from {{organisation}}: {{link}} STOP {{postal_address}}",
                )

    def person(self, *, number: str | None = None, mail: str | None = None, **columns: Any) -> Person:
        """A patient with a phone of their own (or `number`; "" for none) and, if told, a mail address."""
        self._people += 1
        nth = self._people
        number = f"+1{('303', '720')[nth // 100]}55501{nth % 100:02}" if number is None else number
        with self.engine.begin() as conn:
            who = add(
                conn,
                patient,
                **{
                    "organisation_id": self.organisation,
                    "ref": f"P{nth:04}",
                    "home_site_id": self.site,
                    "language": "en",
                    **columns,
                },
            )
            points = {
                system: meet(conn, self.vault, self.organisation, system, value)
                for system, value in (("phone", number), ("email", mail))
                if value
            }
            for point in points.values():
                add(conn, patient_contact, patient_id=who, contact_point_id=point)
            enrolled = enrol(conn, self.organisation, self.site, self.campaign, who)
        planned = self.plan(who, enrolled)
        return Person(who, enrolled, planned, points.get("phone"), points.get("email"), number)

    def plan(self, who: int | None, enrolled: int | None, **values: Any) -> int:
        """One more touch; a text planned for now unless told otherwise."""
        with self.engine.begin() as conn:
            return plan_touch(
                conn,
                **{
                    "organisation_id": self.organisation,
                    "site_id": self.site,
                    "patient_id": who,
                    "enrolment_id": enrolled,
                    "expires_at": NOW + timedelta(days=5),
                    **values,
                },
            )

    def stop(self, who: Person) -> None:
        """A STOP from the patient's phone, at NOW."""
        with self.engine.begin() as conn:
            self.stop_on(conn, who)

    def stop_on(self, conn: Connection, who: Person) -> None:
        """The same, within a transaction that the test leads."""
        assert who.phone is not None
        choices.opt_out(
            conn,
            organisation_id=self.organisation,
            contact_point_id=who.phone,
            source="reply",
            at=NOW,
            now=NOW,
        )

    def change_zones(self, point: int | None, zones: str) -> None:
        """Where a number's own area code says that its owner may be."""
        with self.engine.begin() as conn:
            conn.execute(update(contact_point).where(contact_point.c.id == point).values(zones=zones))


@dataclass
class Provider:
    """The outside: a channel whose provider answers as told and remembers what it was asked."""

    name: str = "sms"
    contact_system: str = "phone"
    answer: Callable[[Outgoing], Outcome] = lambda _: ACCEPTED
    calls: list[Outgoing] = field(default_factory=list)
    at_once: int = 32
    share: int = 1
    limits: Sequence[Rate] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, config: Any) -> Provider:  # noqa: ARG002 - the contract's signature
        return self

    async def send(self, message: Outgoing) -> Outcome:
        with self._lock:
            self.calls.append(message)
        return self.answer(message)

    async def aclose(self) -> None:
        """Nothing is open."""

    def cost(self, body: str) -> int:  # noqa: ARG002 - the contract's signature
        return 1

    def rates(self, config: Any, to: str) -> Sequence[Any]:  # noqa: ARG002 - the contract's signature
        return self.limits

    def weight(self, config: Any) -> int:  # noqa: ARG002 - the contract's signature
        return self.share

    def concurrency(self, config: Any) -> int:  # noqa: ARG002 - the contract's signature
        return self.at_once

    @property
    def called(self) -> Counter[str]:
        """How often each number or address was called."""
        return Counter(each.to for each in self.calls)


class Unpaced:
    """Grants everything, or what a test says."""

    def __init__(self, grant: Callable[[int, Ask], Grant] | None = None, before: Callable[[], None] = int) -> None:
        self._grant = grant or (lambda _nth, _ask: Grant(granted=True, retry_after=timedelta()))
        self._before = before

    def take(self, asks: Sequence[Ask], now: datetime | None = None) -> list[Grant]:  # noqa: ARG002 - the contract's signature
        self._before()
        return [self._grant(nth, ask) for nth, ask in enumerate(asks)]

    def close(self) -> None:
        """Nothing is held."""


class Desk:
    """Makes send workers and closes their event loops."""

    def __init__(self, practice: Practice, clock: Any) -> None:
        self.clock = clock
        self._practice = practice
        self._loops: list[LoopThread] = []

    def worker(
        self,
        provider: Provider,
        pacer: Any = None,
        systems: Mapping[str, str] | None = None,
        stopping: threading.Event | None = None,
        members: Mapping[str, tuple[Any, Any]] | None = None,
        store: Store | None = None,
        tries: int = MOST_ATTEMPTS,
    ) -> SendWorker:
        """A worker of the provider's channel; `members` are all its providers, where there are several."""
        loop = LoopThread()
        self._loops.append(loop)
        engine, vault = self._practice.engine, self._practice.vault
        return SendWorker(
            engine=engine,
            vault=vault,
            clock=self.clock,
            channel=provider,
            providers=Providers(
                members or {provider.name: (provider, None)},
                Breakers(provider.name, list(members or [provider.name]), store or LocalStore(), by_clock=True),
            ),
            systems=dict(systems or SYSTEMS),
            rules=STANDARD,
            pacer=pacer or Unpaced(),
            renderer=Renderer(engine, vault, "https://reach.example.org", b"a-key-of-links"),
            loop=loop,
            pace_by_clock=True,
            stopping=stopping,
            tries=tries,
        )

    def close(self) -> None:
        for loop in self._loops:
            loop.close()


def a_desk(practice: Practice, clock: Any) -> AbstractContextManager[Desk]:
    """A desk that is cleared at the end."""
    return closing(Desk(practice, clock))


class Elapsed:
    """Stands in for `time`: so many seconds pass between a worker's claim and its first call."""

    def __init__(self, seconds: float) -> None:
        self._instants = iter([0.0])
        self._seconds = seconds

    def monotonic(self) -> float:
        return next(self._instants, self._seconds)

    def perf_counter(self) -> float:
        return 0.0
