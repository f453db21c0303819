"""The finish: what each answer of a provider does to attempt and touch, and what it tells beyond its own message."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from household import NOW, StoppedClock, row, rows
from practice import Desk, Practice, Provider, Unpaced
from sqlalchemy import Engine

from channels.kit.contract import Outcome, OutcomeKind, Outgoing, SideEffect
from channels.kit.errors import WINDOW_CLOSED
from domain.ledger import agenda, dispatching, explain_touches, finishes, pauses, quiet
from domain.ledger.attempts import attempt
from domain.ledger.choice_history import suppression
from domain.ledger.finishes import MOST_ATTEMPTS
from domain.ledger.outbox import outbox
from domain.ledger.patients import contact_point
from domain.ledger.store import reading
from domain.ledger.touches import touch
from ops.runtime.pacing import Ask, Grant

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def says(*outcomes: Outcome) -> Provider:
    """A provider that answers the first call so, the second so, and all further ones as the last."""
    left = list(outcomes)
    return Provider(answer=lambda _: left.pop(0) if len(left) > 1 else left[0])


def standing(ledger: Engine, touch_id: int) -> tuple[str, str | None]:
    found = row(ledger, touch, touch_id)
    return found["state"], found["reason"]


@pytest.mark.parametrize(
    ("outcome", "attempted", "state", "reason", "due", "tries"),
    [
        (Outcome(OutcomeKind.ACCEPTED, provider_ref="SM1"), "accepted", "accepted", None, NOW, 1),
        (Outcome(OutcomeKind.REJECTED, code="30006"), "rejected", "rejected", "30006", NOW, 1),
        (Outcome(OutcomeKind.UNCERTAIN, code="timeout"), "uncertain", "uncertain", "timeout", NOW, 1),
        (Outcome(OutcomeKind.THROTTLED, code="20429"), "throttled", "planned", "throttled", NOW + 5 * MINUTE, 0),
        (
            Outcome(OutcomeKind.THROTTLED, retry_after=timedelta(seconds=9)),
            "throttled",
            "planned",
            "throttled",
            NOW + timedelta(seconds=9),
            0,
        ),
        (Outcome(OutcomeKind.RETRY, code="503"), "retry", "planned", "provider_retry", NOW + 5 * MINUTE, 1),
        (Outcome(OutcomeKind.RETRY, retry_after=HOUR), "retry", "planned", "provider_retry", NOW + HOUR, 1),
        (WINDOW_CLOSED, "retry", "planned", "provider_retry", NOW + 5 * MINUTE, 0),
    ],
)
def test_every_answer_has_its_state(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    outcome: Outcome,
    attempted: str,
    state: str,
    reason: str | None,
    due: Any,
    tries: int,
) -> None:
    who = practice.person()

    desk.worker(says(outcome)).send([who.touch])

    (made,) = rows(ledger, attempt)
    left = row(ledger, touch, who.touch)
    assert (made["state"], made["provider_ref"], made["error_code"]) == (attempted, outcome.provider_ref, outcome.code)
    assert (left["state"], left["reason"], left["due_at"], left["attempts"]) == (state, reason, due, tries)
    assert (left["ended_at"] is None) is (state == "planned")


@pytest.mark.parametrize(
    ("kind", "event"),
    [(OutcomeKind.ACCEPTED, "touch.sent"), (OutcomeKind.REJECTED, "touch.failed"), (OutcomeKind.UNCERTAIN, None)],
)
def test_others_are_told_what_surely_became_of_it(
    ledger: Engine, practice: Practice, desk: Desk, kind: OutcomeKind, event: str | None
) -> None:
    who = practice.person()

    desk.worker(says(Outcome(kind))).send([who.touch])

    assert [each["type"] for each in rows(ledger, outbox)] == ([event] if event else [])


@pytest.mark.parametrize(("was_accepted", "event"), [(True, "touch.sent"), (False, "touch.failed")])
def test_others_are_told_what_a_person_found_out(
    ledger: Engine, practice: Practice, desk: Desk, was_accepted: bool, event: str
) -> None:
    who = practice.person()
    desk.worker(says(Outcome(OutcomeKind.UNCERTAIN))).send([who.touch])
    (made,) = rows(ledger, attempt)

    for _ in range(2):
        with ledger.begin() as conn:
            finishes.settle_by_person(conn, made["id"], was_accepted=was_accepted, now=NOW)

    assert [each["type"] for each in rows(ledger, outbox)] == [event]


def test_waits_double_and_a_retry_that_succeeds_is_one_message(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    who = practice.person()
    provider = says(Outcome(OutcomeKind.RETRY), Outcome(OutcomeKind.THROTTLED), Outcome(OutcomeKind.ACCEPTED))
    worker = desk.worker(provider)
    waits = []

    for _ in range(3):
        worker.send([who.touch])
        due = row(ledger, touch, who.touch)["due_at"]
        waits.append(due - clock.at)
        clock.at = due

    assert waits[:2] == [5 * MINUTE, 10 * MINUTE]
    assert standing(ledger, who.touch) == ("accepted", None)
    assert len(provider.calls) == len({each.reference for each in provider.calls}) == 3


def test_a_touch_that_no_try_delivers_is_given_up(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    who = practice.person()
    provider = says(Outcome(OutcomeKind.RETRY, retry_after=MINUTE))
    worker = desk.worker(provider)

    for _ in range(MOST_ATTEMPTS + 3):
        worker.send([who.touch])
        clock.at += MINUTE

    assert len(provider.calls) == MOST_ATTEMPTS
    assert standing(ledger, who.touch) == ("rejected", "attempts_exhausted")


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(OutcomeKind.THROTTLED, code="20429", retry_after=MINUTE),
        Outcome(OutcomeKind.RETRY, code="connect_failed", retry_after=MINUTE),
        Outcome(OutcomeKind.RETRY, code="timeout", retry_after=MINUTE),
        Outcome(OutcomeKind.RETRY, code="window_closed", retry_after=MINUTE),
    ],
    ids=lambda outcome: outcome.code,
)
def test_what_the_provider_did_not_judge_is_tried_until_it_goes_and_is_never_given_up(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock, outcome: Outcome
) -> None:
    who = practice.person()
    worker = desk.worker(says(*[outcome] * (MOST_ATTEMPTS + 3), Outcome(OutcomeKind.ACCEPTED)))

    for _ in range(MOST_ATTEMPTS + 4):
        worker.send([who.touch])
        clock.at += MINUTE

    assert standing(ledger, who.touch) == ("accepted", None)
    assert row(ledger, touch, who.touch)["attempts"] == 1


@pytest.mark.parametrize("tries", [1, 3])
def test_the_budget_of_tries_is_a_setting_each_try_a_row_and_explain_tells_its_end(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock, tries: int
) -> None:
    who = practice.person()
    worker = desk.worker(says(Outcome(OutcomeKind.RETRY, code="30003", retry_after=MINUTE)), tries=tries)

    for _ in range(tries + 2):
        worker.send([who.touch])
        clock.at += MINUTE

    assert [each["state"] for each in rows(ledger, attempt)] == ["retry"] * (tries - 1) + ["rejected"]
    assert standing(ledger, who.touch) == ("rejected", "attempts_exhausted")
    with reading(ledger) as conn:
        told = [entry.text for entry in explain_touches.touches(conn, who.id)]
    assert told[-1] == "refused: every attempt we allow was used up"


@pytest.mark.parametrize("later_tries", [0, 1, 2])
def test_a_provider_may_say_how_many_more_tries_are_worth_making(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock, later_tries: int
) -> None:
    who = practice.person()
    provider = says(Outcome(OutcomeKind.RETRY, retry_after=MINUTE, later_tries=later_tries))
    worker = desk.worker(provider)

    for _ in range(MOST_ATTEMPTS):
        worker.send([who.touch])
        clock.at += MINUTE

    assert len(provider.calls) == 1 + later_tries
    assert standing(ledger, who.touch) == ("rejected", "attempts_exhausted")


def test_a_channel_that_raises_leaves_the_outcome_uncertain_and_the_others_sent(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    broken, fine = practice.person(), practice.person()

    def answer(message: Outgoing) -> Outcome:
        if message.to == broken.number:
            raise RuntimeError("a bug")
        return Outcome(OutcomeKind.ACCEPTED)

    desk.worker(Provider(answer=answer)).send([broken.touch, fine.touch])

    assert standing(ledger, broken.touch) == ("uncertain", "channel_error")
    assert standing(ledger, fine.touch) == ("accepted", None)


def test_a_touch_without_a_text_is_rejected_without_a_call(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who, fine = practice.person(), practice.person()
    voice = Provider("voice", "phone")
    called = practice.plan(who.id, who.enrolment, channel="voice", step=1)

    desk.worker(voice, systems={"voice": "phone"}).send([called])
    desk.worker(provider).send([fine.touch])

    assert voice.calls == []
    assert standing(ledger, called) == ("rejected", "no_template")


def test_what_pacing_withholds_goes_back_with_its_instant_and_counts_as_no_attempt(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    people = [practice.person() for _ in range(4)]
    ids = [each.touch for each in people]

    def every_other(nth: int, _ask: Ask) -> Grant:
        return Grant(granted=nth % 2 == 0, retry_after=timedelta(seconds=nth % 2 * 7))

    desk.worker(provider, Unpaced(every_other)).send(ids)

    assert provider.called == {people[0].number: 1, people[2].number: 1}
    # each has a turn of its own: the site's cell lets a hundred a second pass
    for held, turn in ((people[1], timedelta(seconds=7)), (people[3], timedelta(seconds=7, milliseconds=10))):
        left = row(ledger, touch, held.touch)
        assert (left["state"], left["due_at"], left["attempts"]) == ("planned", NOW + turn, 0)
    clock.at = NOW + timedelta(seconds=8)
    desk.worker(provider).send(ids)
    assert provider.called == {each.number: 1 for each in people}


def test_an_opt_out_only_the_provider_knew_of_enters_the_ledger(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person(mail="jane.doe@example.com")
    mailed = practice.plan(who.id, who.enrolment, channel="email", step=1)

    desk.worker(says(Outcome(OutcomeKind.REJECTED, code="21610", effect=SideEffect.OPTED_OUT))).send([who.touch])

    in_force = rows(ledger, suppression)
    assert {(each["contact_point_id"], each["patient_id"]) for each in in_force} == {(who.phone, None), (None, who.id)}
    assert standing(ledger, who.touch) == ("rejected", "21610")
    assert standing(ledger, mailed) == ("cancelled", "opted_out")


def test_a_number_the_provider_calls_bad_sends_the_rest_of_the_cadence_by_mail(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    who = practice.person(mail="jane.doe@example.com")
    later = practice.plan(who.id, who.enrolment, step=1, due_at=NOW + DAY)
    worker = desk.worker(says(Outcome(OutcomeKind.REJECTED, code="21211", effect=SideEffect.BAD_ADDRESS)))
    worker.send([who.touch])

    clock.at = NOW + DAY
    worker.send([later])
    mailer = Provider("email", "email")
    desk.worker(mailer).send([later])

    assert row(ledger, contact_point, who.phone or 0)["quality"] == "bad"
    assert mailer.called == {"jane.doe@example.com": 1}
    assert row(ledger, touch, later)["channel"] == "email"


def test_trouble_with_the_account_pauses_the_channel_and_the_next_claim_waits(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    first, second = practice.person(), practice.person()
    provider = says(Outcome(OutcomeKind.REJECTED, code="30034", effect=SideEffect.PAUSE_CHANNEL))
    worker = desk.worker(provider)

    worker.send([first.touch])
    worker.send([second.touch])

    with reading(ledger) as conn:
        assert pauses.paused(conn) == {"sms": "30034"}
    assert provider.called == {first.number: 1}
    assert standing(ledger, second.touch) == ("planned", "channel_paused")


def test_trouble_with_the_account_ends_the_batch_and_costs_no_touch_a_try(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    people = [practice.person() for _ in range(5)]
    provider = says(Outcome(OutcomeKind.RETRY, code="30034", effect=SideEffect.PAUSE_CHANNEL))
    provider.at_once = 2

    desk.worker(provider).send([each.touch for each in people])

    assert len(provider.calls) == 2
    left = [row(ledger, touch, each.touch) for each in people]
    assert [each["reason"] for each in left] == ["provider_retry"] * 2 + ["channel_paused"] * 3
    assert {(each["state"], each["attempts"]) for each in left} == {("planned", 0)}


def test_limits_are_taken_from_in_the_order_in_which_touches_were_handed_out(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    first, second, third = (practice.person() for _ in range(3))
    only_one = Unpaced(lambda nth, _ask: Grant(granted=nth == 0, retry_after=MINUTE))

    desk.worker(provider, only_one).send([third.touch, first.touch, second.touch])

    assert provider.called == {third.number: 1}


def test_what_pacing_tells_to_wait_keeps_its_place_until_its_turn_and_is_in_nobodys_hands(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    never = Unpaced(lambda _nth, _ask: Grant(granted=False, retry_after=MINUTE))

    desk.worker(provider, never).send([who.touch])

    assert row(ledger, touch, who.touch)["due_at"] == NOW + MINUTE
    with reading(ledger) as conn:
        assert dispatching.in_flight(conn, "sms", NOW) == 1
        assert dispatching.in_flight(conn, "sms", NOW + MINUTE) == 0
        assert agenda.due(conn, ["sms"], NOW + MINUTE).channels == ("sms",)
        assert "touches on a queue" not in quiet.under_way(conn, NOW)
