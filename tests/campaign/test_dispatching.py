"""The dispatcher: fair among sites, urgent first, within the budget; a lost hint is repeated and loses nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from household import NOW, add, rows
from practice import Practice, Provider
from sqlalchemy import Engine, insert, update

from channels.kit.contract import Rate
from domain.jobs import BATCH, Job
from domain.ledger import agenda, pauses
from domain.ledger.dispatching import HINT
from domain.ledger.inbound import reply
from domain.ledger.organisations import site
from domain.ledger.store import reading
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.runtime.amqp import BrokerUnavailable
from producers.dispatch import HORIZON, Dispatcher

SECOND = timedelta(seconds=1)


@dataclass
class Limited(Provider):
    """A provider that takes so many a second: twenty in the time a queue may hold."""

    per_second: float = 20 / HORIZON
    burst: int = 1

    def rates(self, config: Any, to: str) -> list[Rate]:  # noqa: ARG002 - the contract's signature
        return [Rate("account", 1000, 1000), Rate("number", self.per_second, self.burst)]


@dataclass
class Queue:
    """Where hints go; it may be away."""

    jobs: list[Job] = field(default_factory=list)
    away: bool = False

    def put(self, job: Job) -> None:
        if self.away:
            raise BrokerUnavailable("the broker is away")
        self.jobs.append(job)

    @property
    def ids(self) -> list[int]:
        return [id_ for job in self.jobs for id_ in job.ids]


@dataclass
class Yard:
    """A practice with a queue and a dispatcher."""

    practice: Practice
    queue: Queue
    provider: Limited
    dispatcher: Dispatcher

    def dispatch(self, now: datetime) -> int:
        """What a round of the clock hands out."""
        with reading(self.practice.engine) as conn:
            due = agenda.due(conn, ["sms"], now)
        return self.dispatcher.run(due.channels, now)

    def due(self, count: int, **values: Any) -> list[int]:
        """So many touches, due now."""
        with self.practice.engine.begin() as conn:
            return list(
                conn.scalars(
                    insert(touch).returning(touch.c.id, sort_by_parameter_order=True),
                    [
                        {
                            "organisation_id": self.practice.organisation,
                            "site_id": self.practice.site,
                            "kind": "outreach",
                            "channel": "sms",
                            "state": "planned",
                            "priority": 30,
                            "due_at": NOW,
                            "expires_at": NOW + timedelta(days=1),
                        }
                        | values
                    ]
                    * count,
                )
            )

    def site(self, key: str, weight: int = 1) -> int:
        with self.practice.engine.begin() as conn:
            return add(
                conn,
                site,
                organisation_id=self.practice.organisation,
                key=key,
                name=key,
                zone="UTC",
                weight=weight,
            )


@pytest.fixture
def yard(ledger: Engine, vault: Vault) -> Yard:
    practice, queue, provider = Practice(ledger, vault), Queue(), Limited()
    return Yard(practice, queue, provider, Dispatcher(ledger, {"sms": (provider, None)}, queue.put))


def by_site(ledger: Engine, ids: list[int]) -> Counter[int]:
    return Counter(each["site_id"] for each in rows(ledger, touch) if each["id"] in ids)


def test_a_round_hands_out_a_few_seconds_worth_and_no_more_until_it_is_worked_off(yard: Yard, ledger: Engine) -> None:
    yard.due(100)
    worth = int(yard.provider.per_second * HORIZON)

    first, second = yard.dispatch(NOW), yard.dispatch(NOW + SECOND)
    with ledger.begin() as conn:
        conn.execute(update(touch).where(touch.c.id.in_(yard.queue.ids[:5])).values(state="accepted"))
    third = yard.dispatch(NOW + SECOND)

    assert (first, second, third) == (worth, 0, 5)
    assert len(set(yard.queue.ids)) == len(yard.queue.ids) == worth + 5


@pytest.mark.parametrize(("per_second", "burst", "handed"), [(1, 24, 2), (0.1, 24, 1), (50, 100, 100)])
def test_a_burst_makes_a_queue_no_deeper_than_its_sustained_rate_works_off(
    yard: Yard, per_second: float, burst: int, handed: int
) -> None:
    yard.provider.per_second, yard.provider.burst = per_second, burst
    yard.due(150)

    assert yard.dispatch(NOW) == handed


@pytest.mark.parametrize(
    ("shares", "rates", "handed"),
    [
        # in proportion to the rates: both wholly
        ((80, 20), (8, 2), 20),
        # the first has four fifths of the numbers, and is at its limit at five a second in all
        ((80, 20), (4, 4), 10),
        # a stand-by adds nothing
        ((100, 0), (4, 50), 8),
        ((0, 0), (4, 50), 8),
    ],
)
def test_the_flow_is_what_every_provider_can_take_by_its_share(
    yard: Yard, shares: tuple[int, int], rates: tuple[float, float], handed: int
) -> None:
    members = [(Limited(share=share, per_second=rate), None) for share, rate in zip(shares, rates, strict=True)]
    yard.dispatcher.channels, yard.dispatcher.providers = {"sms": members[0]}, {"sms": members}
    yard.due(150)

    assert yard.dispatch(NOW) == handed


def test_a_small_site_gets_its_share_beside_a_big_one(yard: Yard, ledger: Engine) -> None:
    small = yard.site("small")
    yard.due(500)
    yard.due(30, site_id=small, due_at=NOW)

    yard.dispatch(NOW)

    assert by_site(ledger, yard.queue.ids) == {yard.practice.site: 10, small: 10}


def test_sites_take_turns_however_long_the_backlog_of_one_has_waited(yard: Yard, ledger: Engine) -> None:
    small = yard.site("small")
    yard.due(500, due_at=NOW - timedelta(hours=1))
    yard.due(30, site_id=small)

    yard.dispatch(NOW)

    assert len(yard.queue.ids) == 20
    for start in range(0, 20, 2):
        assert by_site(ledger, yard.queue.ids[start : start + 2]) == {yard.practice.site: 1, small: 1}


def test_weights_share_out_what_there_is(yard: Yard, ledger: Engine) -> None:
    heavy = yard.site("heavy", weight=3)
    yard.due(500)
    yard.due(500, site_id=heavy)

    yard.dispatch(NOW)

    assert by_site(ledger, yard.queue.ids) == {yard.practice.site: 5, heavy: 15}


def test_the_urgent_go_first_then_those_that_have_waited_longest(yard: Yard) -> None:
    late = yard.due(3, priority=50, due_at=NOW - timedelta(days=2))
    waiting = yard.due(9, due_at=NOW - SECOND)
    fresh = yard.due(9)
    urgent = yard.due(9, priority=10)

    yard.dispatch(NOW)

    assert yard.queue.ids == [*urgent, *waiting, *fresh][:20]
    assert not set(late) & set(yard.queue.ids)


def test_what_is_not_due_yet_stays_where_it_is(yard: Yard) -> None:
    yard.due(3, due_at=NOW + SECOND)

    assert yard.dispatch(NOW) == 0
    assert yard.dispatch(NOW + SECOND) == 3


def test_jobs_carry_at_most_a_hundred_ids_and_no_touch_twice(yard: Yard) -> None:
    yard.provider.per_second = 250 / HORIZON
    yard.due(300)

    yard.dispatch(NOW)

    assert [len(job.ids) for job in yard.queue.jobs] == [BATCH, BATCH, 50]
    assert {(job.actor, job.queue) for job in yard.queue.jobs} == {("send_sms", "sms")}


def test_answers_go_at_once_on_a_queue_of_their_own_even_while_the_channel_is_paused(
    yard: Yard, ledger: Engine
) -> None:
    yard.due(50)
    with ledger.begin() as conn:
        pauses.pause(conn, "sms", "operator", NOW)
        came = add(
            conn,
            reply,
            organisation_id=yard.practice.organisation,
            channel="sms",
            provider_id="in",
            body=b"sealed",
            received_at=NOW,
            state="handled",
        )
    (answer,) = yard.due(1, kind="answer", answer="help", priority=0, reply_id=came, site_id=None)

    assert yard.dispatch(NOW) == 1

    assert [(job.actor, job.queue, job.ids) for job in yard.queue.jobs] == [("answer_sms", "sms.answers", (answer,))]


def test_a_paused_channel_gets_nothing_until_it_is_resumed(yard: Yard, ledger: Engine) -> None:
    yard.due(5)
    with ledger.begin() as conn:
        pauses.pause(conn, "sms", "operator", NOW)
    paused = yard.dispatch(NOW)
    with ledger.begin() as conn:
        pauses.resume(conn, "sms")

    assert (paused, yard.dispatch(NOW)) == (0, 5)


def test_a_hint_that_nobody_took_is_repeated_after_a_minute_and_not_before(yard: Yard) -> None:
    ids = yard.due(3)
    yard.dispatch(NOW)
    yard.queue.jobs.clear()

    early, again = yard.dispatch(NOW + HINT - SECOND), yard.dispatch(NOW + HINT)

    assert (early, again) == (0, 3)
    assert yard.queue.ids == ids


def test_a_broker_that_is_away_loses_nothing(yard: Yard, ledger: Engine) -> None:
    ids = yard.due(3)
    yard.queue.away = True
    yard.dispatch(NOW)
    yard.queue.away = False

    yard.dispatch(NOW + HINT)

    assert yard.queue.ids == ids
    assert {each["state"] for each in rows(ledger, touch)} == {"planned"}


def test_a_channel_that_catches_up_begins_slowly_and_ends_at_the_whole_rate(yard: Yard, ledger: Engine) -> None:
    minute = timedelta(minutes=1)

    def handed_out(since: datetime, seconds: int) -> int:
        """What a worker that keeps up gets in so many seconds, a round a second."""
        before = len(yard.queue.ids)
        for second in range(seconds):
            yard.dispatch(since + second * SECOND)
            with ledger.begin() as conn:
                conn.execute(update(touch).where(touch.c.id.in_(yard.queue.ids)).values(state="accepted"))
        return len(yard.queue.ids) - before

    yard.due(1000)
    yard.dispatcher.catch_up(NOW)

    first, middle, last = (handed_out(NOW + start, 10) for start in (0 * minute, 15 * minute, 30 * minute))

    rate = yard.provider.per_second
    assert 0.5 * rate <= first <= 2 * rate
    # a credit of one horizon is kept for the rounds that were not
    assert 5 * rate <= middle <= 8 * rate
    assert last >= 10 * rate


def test_catching_up_holds_no_answer_back(yard: Yard, ledger: Engine, vault: Vault) -> None:
    with ledger.begin() as conn:
        came = add(
            conn,
            reply,
            organisation_id=yard.practice.organisation,
            channel="sms",
            provider_id="in1",
            body=vault.seal("help", "reply.body"),
            received_at=NOW,
            state="handled",
        )
    answers = yard.due(1, kind="answer", answer="help", priority=0, reply_id=came, site_id=None)
    yard.due(50)
    yard.dispatcher.catch_up(NOW)

    yard.dispatch(NOW)

    assert answers == [id_ for job in yard.queue.jobs if job.actor == "answer_sms" for id_ in job.ids]
    assert len([id_ for job in yard.queue.jobs if job.actor == "send_sms" for id_ in job.ids]) == 1


@pytest.mark.parametrize(("minutes", "expected"), [(9, 20), (11, 1)])
def test_a_channel_that_was_paused_for_long_catches_up(yard: Yard, ledger: Engine, minutes: int, expected: int) -> None:
    yard.due(50)
    with ledger.begin() as conn:
        pauses.pause(conn, "sms", "operator", NOW)
    yard.dispatch(NOW)
    with ledger.begin() as conn:
        pauses.resume(conn, "sms")

    assert yard.dispatch(NOW + timedelta(minutes=minutes)) == expected
