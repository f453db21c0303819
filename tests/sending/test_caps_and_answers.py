"""Caps hold per person and per contact point, across channels and within one batch; answers are exempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from household import NOW, StoppedClock, add, row, rows
from practice import Desk, Elapsed, Person, Practice, Provider, Unpaced
from sqlalchemy import Engine, update

from channels.kit.contract import Rate
from domain.ledger import pauses, touches
from domain.ledger.attempts import attempt
from domain.ledger.inbound import reply
from domain.ledger.merging import merge
from domain.ledger.patients import lock
from domain.ledger.touches import touch
from ops.runtime.pacing import Grant
from ops.runtime.pacing_local import LocalPacer

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NIGHT = datetime(2026, 3, 5, 9, tzinfo=UTC)


def waiting(ledger: Engine, touch_id: int) -> tuple[str, str | None, datetime]:
    found = row(ledger, touch, touch_id)
    return found["state"], found["reason"], found["due_at"]


def test_a_household_is_called_once_a_day_even_within_one_batch(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    first = practice.person()
    second = practice.person(number=first.number)

    desk.worker(provider).send([second.touch, first.touch])

    assert provider.called == {first.number: 1}
    assert waiting(ledger, second.touch) == ("planned", "cap_contact_day", NOW + DAY)


def test_a_person_is_reached_once_a_day_whatever_the_channel(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person(mail="jane.doe@example.com")
    mailed = practice.plan(who.id, who.enrolment, channel="email", step=1, due_at=NOW + HOUR)
    mailer = Provider("email", "email")
    desk.worker(provider).send([who.touch])

    clock.at = NOW + HOUR
    desk.worker(mailer).send([mailed])

    assert mailer.calls == []
    assert waiting(ledger, mailed) == ("planned", "cap_day", NOW + DAY)

    clock.at = NOW + DAY
    desk.worker(mailer).send([mailed])
    assert [call.now for call in mailer.calls] == [NOW + DAY]


def test_a_person_with_two_touches_in_one_batch_gets_one(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    again = practice.plan(who.id, who.enrolment, step=1)

    desk.worker(provider).send([who.touch, again])

    assert provider.called == {who.number: 1}
    assert waiting(ledger, again) == ("planned", "cap_day", NOW + DAY)


def test_the_fourth_of_a_week_waits_for_the_first_to_be_a_week_old(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person()
    more = [
        practice.plan(who.id, who.enrolment, step=n, due_at=NOW + n * DAY, expires_at=NOW + 9 * DAY)
        for n in range(1, 4)
    ]
    worker = desk.worker(provider)

    for number, touch_id in enumerate([who.touch, *more]):
        clock.at = NOW + number * DAY
        worker.send([touch_id])

    assert provider.called == {who.number: 3}
    assert waiting(ledger, more[2]) == ("planned", "cap_week", NOW + 7 * DAY)


@pytest.mark.parametrize(
    ("state", "counts"),
    [("sending", True), ("accepted", True), ("uncertain", True), ("rejected", False), ("released", False)],
)
def test_only_what_may_have_reached_someone_counts_against_the_caps(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, state: str, counts: bool
) -> None:
    who = practice.person()
    earlier = practice.plan(who.id, who.enrolment, step=1, state="accepted")
    with ledger.begin() as conn:
        add(
            conn,
            attempt,
            touch_id=earlier,
            token="t",
            channel="email",
            provider="email",
            kind="outreach",
            patient_id=who.id,
            contact_point_id=who.phone,
            state=state,
            claimed_at=NOW - HOUR,
            lease_until=NOW,
            finished_at=NOW - HOUR,
        )

    desk.worker(provider).send([who.touch])

    assert provider.called[who.number] == (0 if counts else 1)


def answer(practice: Practice, who: Person, name: str, now: datetime) -> int:
    """An answer planned for a message that just came in."""
    assert who.phone is not None
    with practice.engine.begin() as conn:
        came = add(
            conn,
            reply,
            organisation_id=practice.organisation,
            channel="sms",
            provider_id=f"in-{name}-{who.id}",
            contact_point_id=who.phone,
            body=b"sealed",
            received_at=now,
            state="handled",
        )
        return touches.plan_answer(
            conn,
            reply_id=came,
            organisation_id=practice.organisation,
            contact_point_id=who.phone,
            channel="sms",
            answer=name,
            now=now,
        )


@pytest.mark.parametrize("name", ["opt_in_confirmation", "help", "booking_link", "opt_out_confirmation", "emergency"])
def test_an_answer_goes_at_night_past_every_cap_and_pause_and_counts_against_none(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock, name: str
) -> None:
    who = practice.person()
    worker = desk.worker(provider)
    worker.send([who.touch])
    clock.at = NIGHT
    with ledger.begin() as conn:
        pauses.pause(conn, "sms", "operator", NIGHT)

    worker.send([answer(practice, who, name, NIGHT)])

    call = provider.calls[-1]
    assert (call.now, call.is_answer, call.valid_until) == (NIGHT, True, NIGHT + timedelta(minutes=5))
    with ledger.begin() as conn:
        pauses.resume(conn, "sms")
    clock.at = NOW + DAY
    worker.send([practice.plan(who.id, who.enrolment, step=1)])
    assert len(provider.calls) == 3


@pytest.mark.parametrize("name", ["opt_out_confirmation", "help", "emergency"])
@pytest.mark.parametrize("when", ["before the claim", "before the call"])
def test_an_answer_to_a_number_goes_once_though_its_record_is_merged_meanwhile(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    when: str,
) -> None:
    gone, survivor = practice.person(), practice.person()
    planned = answer(practice, gone, name, NOW)
    with ledger.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == planned).values(patient_id=gone.id))
    monkeypatch.setattr("workers.send.time", Elapsed(1.5))

    def join() -> None:
        with ledger.begin() as conn:
            lock(conn, [gone.id, survivor.id])
            merge(conn, gone.id, survivor.id, NOW)

    if when == "before the claim":
        join()
        desk.worker(provider).send([planned])
    else:
        desk.worker(provider, Unpaced(before=join)).send([planned])
    desk.worker(provider).send([planned])

    assert provider.called[gone.number] == 1
    assert waiting(ledger, planned)[0] == "accepted"
    assert row(ledger, touch, planned)["patient_id"] == survivor.id


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("opt_out_confirmation", True),
        ("help", True),
        ("emergency", True),
        ("booking_link", False),
        ("opt_in_confirmation", False),
    ],
)
def test_whoever_opted_out_still_gets_the_confirmation_and_help_and_nothing_else(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, name: str, goes: bool
) -> None:
    who = practice.person()
    practice.stop(who)
    planned = answer(practice, who, name, NOW)

    desk.worker(provider).send([planned, who.touch])

    assert [call.is_answer for call in provider.calls] == [True] * goes
    state, reason, _ = waiting(ledger, planned)
    assert (state, reason) == (("accepted", None) if goes else ("suppressed", "suppressed_contact"))


def test_of_the_answers_an_opt_out_overtook_only_the_allowed_ones_still_go(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = practice.person()
    planned = {name: answer(practice, who, name, NOW) for name in ("opt_out_confirmation", "help", "booking_link")}
    monkeypatch.setattr("workers.send.time", Elapsed(1.5))

    desk.worker(provider, Unpaced(before=lambda: practice.stop(who))).send(list(planned.values()))

    standings = {name: waiting(ledger, id_)[:2] for name, id_ in planned.items()}
    assert standings.pop("booking_link") == ("planned", "opted_out")
    assert set(standings.values()) == {("accepted", None)}
    desk.worker(provider).send([planned["booking_link"]])
    assert waiting(ledger, planned["booking_link"])[:2] == ("suppressed", "suppressed_contact")
    assert len(provider.calls) == 2


def test_an_answer_that_is_five_minutes_late_is_not_sent(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    planned = answer(practice, practice.person(), "help", NOW)
    clock.at = NOW + timedelta(minutes=5)

    desk.worker(provider).send([planned])

    assert provider.calls == []
    assert waiting(ledger, planned)[:2] == ("expired", "expired")


def test_answers_are_in_the_patients_language_and_name_the_practice(
    practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()

    desk.worker(provider).send([answer(practice, who, "help", NOW)])

    (call,) = provider.calls
    assert call.body.startswith("Northstar Health: for help call +1 303 555 0100.")
    assert rows(practice.engine, touch, kind="answer")[0]["state"] == "accepted"


def test_an_answer_goes_while_outreach_has_emptied_the_senders_cell_and_outreach_pays_for_it(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    people = [practice.person() for _ in range(4)]
    provider = Provider(limits=[Rate("number", per_second=1, burst=2)])
    worker = desk.worker(provider, LocalPacer())
    worker.send([each.touch for each in people])
    assert len(provider.calls) == 2

    worker.send([answer(practice, people[0], "help", NOW)])

    assert len(provider.calls) == 3
    clock.at = NOW + timedelta(seconds=1)
    worker.send([people[2].touch])
    assert len(provider.calls) == 3
    # withheld once more, its next turn is behind the one that was promised to the fourth
    clock.at = NOW + timedelta(seconds=4)
    worker.send([people[2].touch])
    assert len(provider.calls) == 4


def test_an_answer_that_finds_even_its_reserve_empty_is_tried_again_within_a_second(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    late = Unpaced(lambda _nth, _ask: Grant(granted=False, retry_after=HOUR))
    planned = answer(practice, who, "help", NOW)

    desk.worker(provider, late).send([planned, who.touch])

    assert provider.calls == []
    assert waiting(ledger, planned)[2] == NOW + timedelta(seconds=1)
    assert waiting(ledger, who.touch)[2] == NOW + HOUR
