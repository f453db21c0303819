"""Uncertain sends: what their provider's list of messages settles, and what it must not, over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from household import NOW, StoppedClock, row, rows
from practice import Desk, Person, Practice
from practice import Provider as Scripted
from rulebooks import STANDARD
from sqlalchemy import Engine, update

from channels.kit.contract import Listing, Outcome, OutcomeKind
from channels.kit.twilio import SmsConfig
from channels.sms import CHANNEL
from domain.jobs import Job
from domain.ledger import asking, explain_touches, finishes, receipts, settling
from domain.ledger.attempts import attempt
from domain.ledger.outbox import outbox
from domain.ledger.patients import contact_point
from domain.ledger.receipts import ReceiptNews
from domain.ledger.store import reading
from domain.ledger.touches import touch, touch_event
from domain.ledger.uncertainty import uncertainty
from ops.runtime.loop import LoopThread
from ops.simulator.agenda import Agenda
from ops.simulator.draws import Draws
from ops.simulator.provider_sms import SmsProvider
from ops.simulator.sms_account import SmsAccount, SmsFaults
from producers.sweep import Sweep
from workers.asking import AskWorker, askable

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ACCOUNT = SmsAccount("AC0123456789abcdef", "a-token")
UNCERTAIN = Outcome(OutcomeKind.UNCERTAIN, code="answer_timeout")
#: What befalls a call -> the share of calls it befalls.
TAKEN_AND_LOST, UNAVAILABLE = {"lost_answer": 1.0}, {"unavailable": 1.0}


class Outside:
    """A simulated provider that listens, and whose list can be had."""

    def __init__(self, clock: StoppedClock, **faults: float) -> None:
        self.agenda = Agenda()
        self._loop = LoopThread("outside")
        self._clock = clock
        stub: Any = SimpleNamespace(accept=lambda _: None, delivered=lambda *_: None, make=_nobody_hears)
        self.provider = SmsProvider(
            ACCOUNT,
            draws=Draws(7),
            now=clock.now,
            agenda=self.agenda,
            witness=stub,
            caller=stub,
            reached=lambda *_: None,
            faults=replace(SmsFaults.none(), **faults),
        )
        self._runner = web.AppRunner(self.provider.application(), access_log=None, shutdown_timeout=1.0)
        self.url = self._loop.run(self._listen())

    def config(self, **changes: str) -> SmsConfig:
        environ = {
            "REACTIVATE_SMS_URL": self.url,
            "REACTIVATE_SMS_ACCOUNT_SID": ACCOUNT.sid,
            "REACTIVATE_SMS_AUTH_TOKEN": ACCOUNT.token,
            "REACTIVATE_SMS_FROM": "+13035550100",
            **changes,
        }
        config = CHANNEL.configure(environ, "https://reach.example.org")
        assert config is not None
        return config

    def bring_to_an_end(self) -> None:
        """What became of every message is known, and no receipt tells."""

        async def end() -> None:
            for each in self.agenda.take_group(self._clock.now()):
                await each.act()

        self._loop.run(end())

    def close(self) -> None:
        self._loop.run(self._runner.cleanup())
        self._loop.close()

    async def _listen(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"


async def _nobody_hears(_call: object) -> None:
    """Every receipt is lost."""


class Counter:
    """Where questions are asked: the sweep that hands them out, and the workers that put them."""

    def __init__(self, practice: Practice, clock: StoppedClock, providers: Mapping[str, tuple[Any, Any]]) -> None:
        self.engine, self.clock = practice.engine, clock
        self.jobs: list[Job] = []
        self._vault, self._providers = practice.vault, providers
        self._loops: list[LoopThread] = []
        self._sweep = Sweep(
            practice.engine, {}, STANDARD, self.jobs.append, lambda _provider, _code: False, askable(providers)
        )

    def worker(self) -> AskWorker:
        loop = LoopThread("questions")
        self._loops.append(loop)
        return AskWorker(
            engine=self.engine,
            vault=self._vault,
            clock=self.clock,
            providers=self._providers,
            link_key=b"a-key-of-links",
            loop=loop,
        )

    def after(self, since_the_claim: timedelta) -> list[int]:
        """Sweep then, and put whatever question it hands out; of which attempts."""
        self.clock.at = NOW + since_the_claim
        ids = self.handed_out()
        if ids:
            with closing(self.worker()) as worker:
                worker.ask(ids)
        return ids

    def handed_out(self) -> list[int]:
        """What one sweep hands out."""
        self.jobs.clear()
        self._sweep.run(self.clock.at)
        return [id_ for job in self.jobs if job.actor == "ask_providers" for id_ in job.ids]

    def close(self) -> None:
        for loop in self._loops:
            loop.close()


Opening = Callable[..., tuple[Outside, Counter]]


@pytest.fixture
def opening(practice: Practice, clock: StoppedClock) -> Iterator[Opening]:
    """Open a provider with these faults, and a counter where it is asked."""
    opened: list[Outside | Counter] = []

    def open_(settings: Mapping[str, str] | None = None, **faults: float) -> tuple[Outside, Counter]:
        outside = Outside(clock, **faults)
        counter = Counter(practice, clock, {"sms": (CHANNEL, outside.config(**(settings or {})))})
        opened.extend((outside, counter))
        return outside, counter

    yield open_
    for each in reversed(opened):
        each.close()


def send(desk: Desk, outside: Outside, *touches: int) -> None:
    """Send through the channel itself."""
    worker = desk.worker(CHANNEL, members={"sms": (CHANNEL, outside.config())})  # type: ignore[arg-type] # a real one
    worker.send(touches)
    worker.close()


def standing(ledger: Engine, touch_id: int) -> tuple[str, str | None]:
    found = row(ledger, touch, touch_id)
    return found["state"], found["reason"]


def told(ledger: Engine, who: Person) -> list[str]:
    with reading(ledger) as conn:
        return [entry.text for entry in explain_touches.touches(conn, who.id)]


def test_a_message_that_the_provider_took_is_found_by_the_link_in_it(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening
) -> None:
    who = practice.person()
    outside, counter = opening(**TAKEN_AND_LOST)
    send(desk, outside, who.touch)
    assert standing(ledger, who.touch) == ("uncertain", "connection_lost")
    assert counter.after(14 * MINUTE) == []

    asked = counter.after(15 * MINUTE)

    (made,) = rows(ledger, attempt)
    assert (asked, made["state"], made["asked"], made["is_asking"]) == ([made["id"]], "accepted", 1, False)
    assert made["provider_ref"].startswith("SM")
    assert standing(ledger, who.touch) == ("accepted", "provider_knows")
    assert row(ledger, touch, who.touch)["accepted_at"] == NOW
    assert [each["type"] for each in rows(ledger, outbox)] == ["touch.sent"]
    assert told(ledger, who)[-1] == "known to be accepted: its provider was asked, and has it"
    with reading(ledger) as conn:
        counted = uncertainty(conn, counter.clock.at)
    assert (counted["ever"], counted["by_provider"], counted["open"], counted["median_minutes"]) == (1, 1, 0, 15.0)


def test_the_list_tells_of_the_delivery_what_a_receipt_would(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening
) -> None:
    who = practice.person()
    outside, counter = opening(**TAKEN_AND_LOST, landline=1.0)
    send(desk, outside, who.touch)
    outside.bring_to_an_end()

    counter.after(15 * MINUTE)

    assert row(ledger, touch, who.touch)["delivery"] == "undelivered"
    assert row(ledger, contact_point, who.phone or 0)["quality"] == "bad"


def test_what_the_provider_does_not_list_is_unknown_to_it_after_a_day_and_not_before(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening
) -> None:
    who = practice.person()
    outside, counter = opening(**UNAVAILABLE)
    send(desk, outside, who.touch)

    early = [counter.after(after) for after in (15 * MINUTE, 16 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, 24 * HOUR)]

    (made,) = rows(ledger, attempt)
    assert early == [[made["id"]], [], [made["id"]], [], [made["id"]], []]
    assert (made["state"], made["asked"], made["needs_person"]) == ("uncertain", 3, False)
    assert standing(ledger, who.touch) == ("uncertain", "http_503")

    counter.after(25 * HOUR)

    assert standing(ledger, who.touch) == ("rejected", "unknown_to_provider")
    assert row(ledger, attempt, made["id"])["state"] == "rejected"
    assert [each["type"] for each in rows(ledger, outbox)] == ["touch.failed"]
    assert outside.provider.refused == {503: 1}, "it is not sent again"
    assert told(ledger, who)[-2:] == [
        "asked what became of it: its provider does not list it, or not yet",
        "refused: its provider was asked a day later, and has no such message",
    ]
    assert counter.after(49 * HOUR) == []


def test_the_message_of_another_touch_settles_nothing(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening
) -> None:
    who, other = practice.person(), practice.person()
    outside, counter = opening(**TAKEN_AND_LOST)
    send(desk, outside, other.touch)
    desk.worker(Scripted(answer=lambda _: UNCERTAIN)).send([who.touch])
    listed = outside.provider._messages
    listed[who.number] = listed[other.number]

    counter.after(15 * MINUTE)

    assert standing(ledger, other.touch) == ("accepted", "provider_knows")
    assert standing(ledger, who.touch) == ("uncertain", "answer_timeout")
    counter.after(HOUR)
    counter.after(6 * HOUR)
    counter.after(25 * HOUR)
    assert standing(ledger, who.touch) == ("rejected", "unknown_to_provider")


def test_an_answer_has_no_link_and_any_message_at_its_time_leaves_it_open(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening
) -> None:
    who, alone = practice.person(), practice.person()
    outside, counter = opening(**TAKEN_AND_LOST)
    send(desk, outside, who.touch)
    desk.worker(Scripted(answer=lambda _: UNCERTAIN)).send([alone.touch])
    for message in outside.provider._messages[who.number]:
        message.body = "Reply STOP to end."
    with ledger.begin() as conn:
        conn.execute(update(attempt).values(kind="answer", asked=3))

    counter.after(25 * HOUR)

    assert standing(ledger, alone.touch) == ("rejected", "unknown_to_provider")
    assert standing(ledger, who.touch) == ("uncertain", "connection_lost")


@pytest.mark.parametrize("trouble", ["token", "address"])
def test_a_provider_that_does_not_answer_is_asked_again_later_and_a_person_after_two_days(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening, trouble: str
) -> None:
    who = practice.person()
    wrong = {"token": {"REACTIVATE_SMS_AUTH_TOKEN": "other"}, "address": {"REACTIVATE_SMS_URL": "http://127.0.0.1:9"}}
    outside, counter = opening(wrong[trouble], **UNAVAILABLE)
    send(desk, outside, who.touch)

    asked = [bool(counter.after(after)) for after in (15 * MINUTE, 24 * MINUTE, 25 * MINUTE, 25 * HOUR)]

    (made,) = rows(ledger, attempt)
    assert asked == [True, False, True, True]
    assert (made["state"], made["asked"], made["is_asking"], made["needs_person"]) == ("uncertain", 0, False, True)
    assert told(ledger, who)[-1] == "asked what became of it: its provider did not answer the question"
    assert counter.after(8 * 24 * HOUR) == []


def test_a_long_list_is_read_page_by_page_and_one_too_long_proves_no_absence(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening
) -> None:
    who = practice.person()
    outside, counter = opening(**UNAVAILABLE)
    send(desk, outside, who.touch)
    counter.clock.at = NOW + HOUR
    for _ in range(205):
        outside.provider._take_on({"To": who.number, "Body": "hello"}, 0.0, reports=True)
    with ledger.begin() as conn:
        conn.execute(update(attempt).values(asked=3))

    counter.after(25 * HOUR)

    assert standing(ledger, who.touch)[0] == "uncertain"
    with ledger.begin() as conn:
        conn.execute(update(attempt).values(asked=3))
    outside.provider._messages[who.number] = outside.provider._messages[who.number][:199]
    counter.after(26 * HOUR)
    assert standing(ledger, who.touch) == ("rejected", "unknown_to_provider")


class Meeting:
    """An asker at which something happens before it answers."""

    name = "sms"
    contact_system = "phone"

    def __init__(self, happens: Callable[[], object], listing: Listing | None) -> None:
        self._happens, self._listing = happens, listing

    def open_asker(self, config: Any) -> Meeting:  # noqa: ARG002 - the contract's signature
        return self

    async def taken(self, to: str, since: datetime) -> Listing | None:  # noqa: ARG002 - the contract's signature
        self._happens()
        return self._listing

    async def aclose(self) -> None:
        """Nothing is open."""


def test_a_receipt_that_comes_while_the_provider_is_asked_counts(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    who = practice.person()
    desk.worker(Scripted(answer=lambda _: UNCERTAIN)).send([who.touch])
    (made,) = rows(ledger, attempt)

    def receipt_comes() -> None:
        news = ReceiptNews("sms", "SM1", "delivered", reference=made["token"])
        with ledger.begin() as conn:
            settling.apply(conn, receipts.take(conn, [news], clock.at), clock.at)

    counter = Counter(practice, clock, {"sms": (Meeting(receipt_comes, Listing([], is_whole=True)), None)})
    counter.after(25 * HOUR)
    counter.close()

    assert standing(ledger, who.touch) == ("accepted", "receipt")
    assert row(ledger, attempt, made["id"])["state"] == "accepted"
    assert [each["type"] for each in rows(ledger, outbox)] == ["touch.sent"]


@pytest.mark.parametrize(
    ("faults", "end", "event"), [(TAKEN_AND_LOST, "accepted", "touch.sent"), (UNAVAILABLE, "rejected", "touch.failed")]
)
def test_two_workers_with_the_same_question_settle_it_once(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    opening: Opening,
    monkeypatch: pytest.MonkeyPatch,
    faults: Mapping[str, float],
    end: str,
    event: str,
) -> None:
    who = practice.person()
    outside, counter = opening(**faults)
    send(desk, outside, who.touch)
    counter.clock.at = NOW + 25 * HOUR
    ids = counter.handed_out()
    both_know, plain = threading.Barrier(2, timeout=60), AskWorker._settle

    def settle(*answer: Any) -> None:
        both_know.wait()
        plain(*answer)

    monkeypatch.setattr(AskWorker, "_settle", settle)
    workers = [counter.worker(), counter.worker()]
    threads = [threading.Thread(target=each.ask, args=(ids,)) for each in workers]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    for worker in workers:
        worker.close()

    assert standing(ledger, who.touch)[0] == end
    assert [each["type"] for each in rows(ledger, outbox)] == [event]
    assert [each["what"] for each in rows(ledger, touch_event, touch_id=who.touch)] == ["uncertain", end]
    assert row(ledger, attempt, ids[0])["asked"] == 1


def test_a_question_whose_worker_died_is_handed_out_again(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = practice.person()
    outside, counter = opening(**TAKEN_AND_LOST)
    send(desk, outside, who.touch)

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(asking, "settle", die)
        with pytest.raises(RuntimeError):
            counter.after(15 * MINUTE)
    assert row(ledger, attempt, rows(ledger, attempt)[0]["id"])["is_asking"]

    again = [bool(counter.after(after)) for after in (24 * MINUTE, 25 * MINUTE)]

    assert again == [False, True]
    assert standing(ledger, who.touch) == ("accepted", "provider_knows")


def test_few_are_handed_out_at_once_and_none_of_a_channel_that_cannot_be_asked(
    ledger: Engine, practice: Practice, desk: Desk, opening: Opening
) -> None:
    people = [practice.person() for _ in range(asking.MOST + 2)]
    _, counter = opening()
    desk.worker(Scripted(answer=lambda _: UNCERTAIN)).send([each.touch for each in people])
    with ledger.begin() as conn:
        mailed = update(attempt).where(attempt.c.touch_id == people[0].touch)
        conn.execute(mailed.values(provider="email", channel="email"))
    counter.clock.at = NOW + HOUR

    first, second, third = (set(counter.handed_out()) for _ in range(3))

    assert (len(first), len(second), third) == (asking.MOST, 1, set())
    assert first.isdisjoint(second)


def test_a_person_is_asked_once_the_provider_was_for_the_last_time(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    who = practice.person()
    desk.worker(Scripted(answer=lambda _: UNCERTAIN)).send([who.touch])
    for asked, after, needs_person in ((3, 25 * HOUR, False), (3, 48 * HOUR, True), (4, 25 * HOUR, True)):
        with ledger.begin() as conn:
            conn.execute(update(attempt).values(asked=asked, needs_person=False))
            finishes.hand_to_person(conn, NOW + after)

        assert rows(ledger, attempt)[0]["needs_person"] is needs_person
