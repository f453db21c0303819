"""At most one call, whoever dies and whoever is late: concurrent workers, leases, the reaper, fences and receipts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from household import NOW, StoppedClock, row, rows
from practice import SYSTEMS, Desk, Person, Practice, Provider
from rulebooks import STANDARD
from sqlalchemy import Engine

from channels.kit.contract import Outcome, OutcomeKind, Outgoing
from domain.ledger import claims, finishes, receipts, settling, touches
from domain.ledger.attempts import attempt
from domain.ledger.claimed import Claimed
from domain.ledger.claims import LEASE
from domain.ledger.finishes import PATIENCE, Finish
from domain.ledger.receipts import ReceiptNews
from domain.ledger.touches import touch
from domain.rules.vocabulary import AttemptState

SECOND = timedelta(seconds=1)


def claim(ledger: Engine, *people: Person, now: datetime = NOW) -> list[Claimed]:
    """Claim only: what a process that dies right afterwards leaves behind."""
    with ledger.begin() as conn:
        return claims.claim(
            conn,
            [each.touch for each in people],
            channel="sms",
            system="phone",
            systems=SYSTEMS,
            rules=STANDARD,
            now=now,
        ).claimed


def reap(ledger: Engine, now: datetime) -> int:
    with ledger.begin() as conn:
        return finishes.reap(conn, now)


def end(ledger: Engine, claimed: Claimed, state: AttemptState, now: datetime) -> int:
    with ledger.begin() as conn:
        return finishes.finish(conn, [Finish(claimed.touch_id, claimed.token, state, called_at=NOW)], now)


def states(ledger: Engine, who: Person) -> tuple[str, str]:
    return row(ledger, touch, who.touch)["state"], rows(ledger, attempt, touch_id=who.touch)[-1]["state"]


def test_two_workers_with_the_same_batch_call_each_touch_once(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    people = [practice.person() for _ in range(60)]
    ids = [each.touch for each in people]
    workers = [desk.worker(provider) for _ in range(2)]
    start = threading.Barrier(2)

    def work(number: int) -> None:
        start.wait(timeout=60)
        # one takes it whole, the other in small batches from the far end
        for batch in [ids] if number else [ids[begin : begin + 7] for begin in reversed(range(0, len(ids), 7))]:
            workers[number].send(batch)

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(work, number) for number in range(2)]:
            each.result(timeout=60)

    assert provider.called == {each.number: 1 for each in people}
    assert {each["state"] for each in rows(ledger, touch)} == {"accepted"}
    assert len(rows(ledger, attempt)) == len(people)


def test_households_claimed_from_both_ends_at_once_are_called_once_and_nobody_deadlocks(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    first = [practice.person() for _ in range(20)]
    second = [practice.person(number=each.number) for each in first]
    start = threading.Barrier(2)

    def work(people: list[Person]) -> None:
        worker = desk.worker(provider)
        start.wait(timeout=60)
        for begin in range(0, len(people), 5):
            worker.send([each.touch for each in people[begin : begin + 5]])

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(work, first), pool.submit(work, second[::-1])]:
            each.result(timeout=60)

    assert provider.called == {each.number: 1 for each in first}
    assert sum(each["reason"] == "cap_contact_day" for each in rows(ledger, touch)) == 20


def test_a_process_killed_between_claim_and_call_leaves_an_uncertain_touch_that_is_never_resent(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person()
    claim(ledger, who)

    before, on_it = reap(ledger, NOW + LEASE - SECOND), reap(ledger, NOW + LEASE)

    assert (before, on_it) == (0, 1)
    assert states(ledger, who) == ("uncertain", "uncertain")
    for clock.at in (NOW + LEASE, NOW + timedelta(days=1), NOW + timedelta(days=4)):
        desk.worker(provider).send([who.touch])
    assert provider.calls == []


def test_a_finish_after_the_reaper_changes_nothing(ledger: Engine, practice: Practice) -> None:
    who = practice.person()
    (claimed,) = claim(ledger, who)
    reap(ledger, NOW + LEASE)

    for state in (AttemptState.ACCEPTED, AttemptState.RETRY, AttemptState.RELEASED):
        assert end(ledger, claimed, state, NOW + LEASE) == 0

    assert states(ledger, who) == ("uncertain", "uncertain")
    assert row(ledger, touch, who.touch)["attempts"] == 1


def test_a_finish_counts_once_and_the_reaper_finds_nothing_afterwards(ledger: Engine, practice: Practice) -> None:
    who = practice.person()
    (claimed,) = claim(ledger, who)

    counted = [end(ledger, claimed, state, NOW) for state in (AttemptState.ACCEPTED, AttemptState.REJECTED)]

    assert (counted, reap(ledger, NOW + 2 * LEASE)) == ([1, 0], 0)
    assert states(ledger, who) == ("accepted", "accepted")


def test_a_wrong_token_finishes_nothing(ledger: Engine, practice: Practice) -> None:
    who = practice.person()
    claim(ledger, who)

    with ledger.begin() as conn:
        done = finishes.finish(conn, [Finish(who.touch, "guessed", AttemptState.ACCEPTED, called_at=NOW)], NOW)

    assert done == 0
    assert states(ledger, who) == ("sending", "sending")


def test_a_worker_that_comes_back_after_its_lease_changes_nothing(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    who = practice.person()

    def slow(_message: Outgoing) -> Outcome:
        clock.at = NOW + LEASE
        reap(ledger, clock.at)
        return Outcome(OutcomeKind.THROTTLED, retry_after=SECOND)

    provider = Provider(answer=slow)
    desk.worker(provider).send([who.touch])
    clock.at += timedelta(hours=1)
    desk.worker(provider).send([who.touch])

    assert len(provider.calls) == 1
    assert states(ledger, who) == ("uncertain", "uncertain")


@pytest.mark.parametrize("reaped", [True, False])
def test_a_receipt_settles_what_nobody_knew(ledger: Engine, practice: Practice, reaped: bool) -> None:
    who = practice.person()
    (claimed,) = claim(ledger, who)
    if reaped:
        reap(ledger, NOW + LEASE)

    with ledger.begin() as conn:
        news = [ReceiptNews("sms", "SM1", "delivered", reference=claimed.token)]
        applied = settling.apply(conn, receipts.take(conn, news, NOW + 2 * LEASE), NOW + 2 * LEASE)

    assert applied.settled == 1
    assert states(ledger, who) == ("accepted", "accepted")
    assert row(ledger, touch, who.touch)["delivery"] == "delivered"
    assert end(ledger, claimed, AttemptState.RETRY, NOW + 2 * LEASE) == 0


def test_what_no_receipt_settles_within_a_day_goes_to_a_person_who_settles_it(
    ledger: Engine, practice: Practice
) -> None:
    sent, lost = practice.person(), practice.person()
    claim(ledger, sent, lost)
    reap(ledger, NOW + LEASE)

    with ledger.begin() as conn:
        handed = [finishes.hand_to_person(conn, NOW + PATIENCE - SECOND), finishes.hand_to_person(conn, NOW + PATIENCE)]
        ids = {each["touch_id"]: each["id"] for each in rows(ledger, attempt, needs_person=False)}
        assert finishes.settle_by_person(conn, ids[sent.touch], was_accepted=True, now=NOW + PATIENCE)
        assert finishes.settle_by_person(conn, ids[lost.touch], was_accepted=False, now=NOW + PATIENCE)
        assert not finishes.settle_by_person(conn, ids[lost.touch], was_accepted=True, now=NOW + PATIENCE)

    assert handed == [0, 2]
    assert states(ledger, sent) == ("accepted", "accepted")
    assert states(ledger, lost) == ("rejected", "rejected")
    assert row(ledger, touch, sent.touch)["accepted_at"] == NOW


def test_after_an_outage_what_is_too_old_expires_instead_of_firing_at_once(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    old = practice.person()
    due = NOW + timedelta(days=5)
    fresh = practice.plan(old.id, old.enrolment, step=1, due_at=due, expires_at=due + SECOND)
    clock.at = due

    with ledger.begin() as conn:
        expired = touches.expire(conn, clock.at)

    assert expired == 1
    assert row(ledger, touch, old.touch)["state"] == "expired"
    desk.worker(provider).send([old.touch, fresh])
    assert provider.called == {old.number: 1}
    assert row(ledger, touch, fresh)["state"] == "accepted"
