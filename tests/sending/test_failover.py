"""Two providers of one channel: who serves whom, what another takes over, and what waits while all of them fail."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from household import NOW, StoppedClock, row, rows
from practice import Desk, Person, Practice, Provider, Unpaced
from sqlalchemy import Engine, update

from channels.kit.contract import Outcome, OutcomeKind, Rate, SideEffect
from domain.ledger import pauses, replies
from domain.ledger.attempts import attempt
from domain.ledger.explain_touches import touches as told_of
from domain.ledger.store import reading
from domain.ledger.touches import expire, touch, touch_event
from ops.runtime.breaker import POLICY
from ops.runtime.breakers import LocalStore
from ops.runtime.pacing import Ask, Grant
from workers.providers import Choice
from workers.send import SendWorker

SECOND = timedelta(seconds=1)
ACCEPTED = Outcome(OutcomeKind.ACCEPTED)
REFUSED = Outcome(OutcomeKind.RETRY, code="connect_failed")
UNKNOWN = Outcome(OutcomeKind.UNCERTAIN, code="answer_timeout")
TEN = POLICY.at_least


class Pair:
    """The channel's own provider, its stand-by, and a worker that knows both."""

    def __init__(self, desk: Desk, pacer: Unpaced | None = None, *, spare: int = 0) -> None:
        self.main, self.spare = Provider(share=4), Provider(share=spare)
        members = {"sms": (self.main, None), "sms_second": (self.spare, None)}
        self.worker: SendWorker = desk.worker(self.main, pacer, members=members)

    @property
    def calls(self) -> tuple[int, int]:
        return len(self.main.calls), len(self.spare.calls)


def people(practice: Practice, count: int) -> list[Person]:
    return [practice.person() for _ in range(count)]


def ids(some: list[Person]) -> list[int]:
    return [each.touch for each in some]


def shares(weights: dict[str, int], count: int = 4000) -> dict[int, str]:
    route = Choice(weights, set(weights), {}, NOW).route()
    return {point: str(route(point, None)) for point in range(count)}


def test_numbers_are_shared_by_weight_and_each_keeps_to_its_provider() -> None:
    first, again = shares({"a": 80, "b": 20}), shares({"b": 20, "a": 80})

    counts = Counter(first.values())
    assert first == again
    # four standard deviations of a fair draw
    assert abs(counts["a"] - 3200) < 4 * (4000 * 0.8 * 0.2) ** 0.5


def test_a_provider_that_comes_or_gets_another_weight_moves_only_what_it_must() -> None:
    before = shares({"a": 80, "b": 20})

    joined, heavier = shares({"a": 80, "b": 20, "c": 50}), shares({"a": 80, "b": 40})

    assert {joined[point] for point in before if joined[point] != before[point]} == {"c"}
    assert {(before[point], heavier[point]) for point in before if heavier[point] != before[point]} == {("a", "b")}


def test_an_attempt_tells_its_provider_before_the_call(ledger: Engine, practice: Practice, desk: Desk) -> None:
    pair = Pair(desk, spare=4)
    some = people(practice, 12)
    seen: dict[str, str] = {}

    def remember(message: object) -> Outcome:
        token = getattr(message, "reference", "")
        (made,) = [each for each in rows(ledger, attempt) if each["token"] == token]
        seen[token] = made["provider"]
        return ACCEPTED

    pair.main.answer = pair.spare.answer = remember
    pair.worker.send(ids(some))

    assert {each.reference for each in pair.main.calls} == {token for token, name in seen.items() if name == "sms"}
    assert min(pair.calls) > 0
    assert sum(pair.calls) == 12


def test_what_two_providers_call_alike_is_told_apart(ledger: Engine, practice: Practice, desk: Desk) -> None:
    pair = Pair(desk, spare=4)
    pair.main.answer = pair.spare.answer = lambda _: Outcome(OutcomeKind.ACCEPTED, provider_ref="17")

    pair.worker.send(ids(people(practice, 12)))

    assert {each["provider_ref"] for each in rows(ledger, attempt)} == {"17", "sms_second:17"}


def test_an_answer_comes_from_the_number_that_was_written_to_while_its_provider_can(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    pair = Pair(desk)
    first, second, third = people(practice, 3)

    pair.worker.send([_asked(practice, first, "sms_second"), _asked(practice, second, "sms")])
    pair.worker.send([_asked(practice, third, None)])

    # the spare serves no number of its own
    assert pair.spare.called == {first.number: 1}
    assert pair.main.called == {second.number: 1, third.number: 1}


def test_an_answer_comes_from_another_number_while_the_provider_of_the_one_written_to_fails(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    pair = Pair(desk)
    pair.spare.answer = lambda _: REFUSED
    asked = [_asked(practice, each, "sms_second") for each in people(practice, TEN + 1)]

    pair.worker.send(asked[:TEN])
    pair.worker.send(asked)

    assert pair.calls == (TEN + 1, TEN)
    assert {each["state"] for each in rows(ledger, touch, kind="answer")} == {"accepted"}


def test_a_provider_taken_out_of_use_does_not_keep_its_numbers_answers(practice: Practice, desk: Desk) -> None:
    provider = Provider()
    who = practice.person()

    desk.worker(provider).send([_asked(practice, who, "sms_second")])

    assert provider.called == {who.number: 1}


def _asked(practice: Practice, who: Person, provider: str | None) -> int:
    """A HELP to a number of this provider; the answer that was planned."""
    with practice.engine.begin() as conn:
        taken = replies.take(
            conn,
            practice.vault,
            channel="sms",
            system="phone",
            provider_id=f"SM{who.id}",
            provider=provider,
            sender=who.number,
            text="HELP",
            now=NOW,
        )
    assert taken.answer_id is not None
    return taken.answer_id


def test_once_a_provider_fails_another_takes_over_and_what_was_surely_not_sent_goes_there_at_once(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    pair = Pair(desk)
    pair.main.answer = lambda _: REFUSED
    pair.main.at_once = pair.spare.at_once = TEN
    some = people(practice, 3 * TEN)

    pair.worker.send(ids(some))
    first = pair.calls
    for _ in range(2):
        pair.worker.send(ids(some))

    # the rest of the batch was let go again, not called in vain
    assert first == (TEN, 0)
    assert pair.calls == (TEN, 3 * TEN)
    assert pair.spare.called == {each.number: 1 for each in some}
    assert {each["state"] for each in rows(ledger, touch)} == {"accepted"}


def test_what_may_have_been_sent_is_never_taken_over(ledger: Engine, practice: Practice, desk: Desk) -> None:
    pair = Pair(desk)
    pair.main.answer = lambda _: UNKNOWN
    some = people(practice, TEN)

    for _ in range(3):
        pair.worker.send(ids(some))

    assert pair.calls == (TEN, 0)
    assert {each["state"] for each in rows(ledger, touch)} == {"uncertain"}
    later = people(practice, 2)
    pair.worker.send(ids(later))
    assert pair.spare.called == {each.number: 1 for each in later}


def test_while_every_provider_fails_touches_wait_without_an_attempt_and_without_losing_a_try(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    pair = Pair(desk)
    pair.main.answer = pair.spare.answer = lambda _: REFUSED
    for _ in range(2):
        pair.worker.send(ids(people(practice, TEN)))
    who = practice.person(mail="jane.doe@example.com")
    mailed = practice.plan(who.id, who.enrolment, channel="email", step=1)
    before, calls = len(rows(ledger, attempt)), pair.calls
    both = [each["id"] for each in rows(ledger, touch) if each["state"] == "planned" and each["channel"] == "sms"]

    pair.worker.send([*both, who.touch])

    # of the first ten the spare was asked, too
    assert len(rows(ledger, attempt)) == before
    assert pair.calls == calls
    left = row(ledger, touch, who.touch)
    assert (left["state"], left["reason"], left["attempts"]) == ("planned", "provider_down", 0)
    assert left["due_at"] == NOW + POLICY.rest * SECOND
    mailer = Provider("email", "email")
    desk.worker(mailer).send([mailed])
    assert mailer.called == {"jane.doe@example.com": 1}


def test_one_that_waits_too_long_expires_and_explain_says_for_what_it_waited(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    provider = Provider(answer=lambda _: REFUSED)
    worker = desk.worker(provider)
    worker.send(ids(people(practice, TEN)))
    who = practice.person()
    with ledger.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == who.touch).values(expires_at=NOW + 40 * SECOND))

    worker.send([who.touch])
    clock.at = NOW + 60 * SECOND
    with ledger.begin() as conn:
        expire(conn, clock.at)

    assert row(ledger, touch, who.touch)["state"] == "expired"
    with reading(ledger) as conn:
        last = [entry.text for entry in told_of(conn, who.id)][-1]
    assert last.startswith("expired while it waited: every provider of the channel was failing")
    waited = [each["rule"] for each in rows(ledger, touch_event) if each["touch_id"] == who.touch]
    assert waited[0] == "house.provider"


def test_a_provider_comes_back_by_trials_and_then_with_a_part_of_its_limits(
    practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    rates: list[float] = []

    def note(_nth: int, ask: Ask) -> Grant:
        rates.append(next(cell.per_second for cell in ask.cells if cell.key == "sms:account"))
        return Grant(granted=True, retry_after=timedelta())

    provider = Provider(answer=lambda _: REFUSED, limits=[Rate("account", 20.0, 50)])
    worker = desk.worker(provider, Unpaced(note))
    worker.send(ids(people(practice, TEN)))
    provider.answer = lambda _: ACCEPTED
    provider.calls.clear()
    some = people(practice, TEN)

    clock.at = NOW + POLICY.rest * SECOND
    worker.send(ids(some))
    trials = len(provider.calls)
    rates.clear()
    for seconds in (0, POLICY.ramp / 2, POLICY.ramp):
        clock.at = NOW + (POLICY.rest + seconds) * SECOND
        worker.send(ids(people(practice, 1)))

    assert trials == POLICY.trials
    assert rates == pytest.approx([2.0, 11.0, 20.0])
    worker.send(ids(some))
    clock.at += 10 * SECOND
    worker.send(ids(some))
    assert set(provider.called.values()) == {1}


def test_a_trial_that_fails_ends_the_trials(practice: Practice, desk: Desk, clock: StoppedClock) -> None:
    provider = Provider(answer=lambda _: REFUSED)
    worker = desk.worker(provider)
    worker.send(ids(people(practice, TEN)))
    provider.calls.clear()
    some = people(practice, TEN)

    for seconds in (30, 31, 61, 89):
        clock.at = NOW + seconds * SECOND
        worker.send(ids(some))

    assert len(provider.calls) == POLICY.trials


def test_trials_that_nothing_could_use_are_free_for_the_next_batch(
    practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    provider = Provider(answer=lambda _: REFUSED)
    store = LocalStore()
    worker = desk.worker(provider, store=store)
    worker.send(ids(people(practice, TEN)))
    stopped = practice.person()
    practice.stop(stopped)
    provider.answer = lambda _: ACCEPTED
    clock.at = NOW + 31 * SECOND

    worker.send([stopped.touch])
    other = practice.person()
    desk.worker(provider, store=store).send([other.touch])

    assert provider.called[other.number] == 1


def test_trouble_with_the_account_at_one_of_two_moves_its_share_and_pauses_nothing(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    pair = Pair(desk)
    pair.main.answer = lambda _: Outcome(OutcomeKind.RETRY, code="30034", effect=SideEffect.PAUSE_CHANNEL)
    first, second = people(practice, 2)

    pair.worker.send([first.touch])
    pair.worker.send([first.touch, second.touch])

    with reading(ledger) as conn:
        assert pauses.paused(conn) == {}
    assert pair.calls == (1, 2)
    assert row(ledger, touch, first.touch)["state"] == "accepted"


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(OutcomeKind.THROTTLED, code="20429"),
        Outcome(OutcomeKind.REJECTED, code="30006"),
        Outcome(OutcomeKind.RETRY, code="30003", retry_after=SECOND),
        Outcome(OutcomeKind.RETRY, code="window_closed"),
    ],
    ids=lambda outcome: outcome.code,
)
def test_answers_about_messages_say_nothing_against_the_provider(
    practice: Practice, desk: Desk, outcome: Outcome
) -> None:
    pair = Pair(desk)
    pair.main.answer = lambda _: outcome

    for _ in range(2):
        pair.worker.send(ids(people(practice, TEN)))

    assert pair.calls == (2 * TEN, 0)
