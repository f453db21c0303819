"""A call in somebody's hands: taken it can be withdrawn, dialled it counts, and what is told of it is not lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from household import NOW, add, row, rows
from interleaving import behind, unhurried
from practice import SYSTEMS, Person, Practice
from rulebooks import STANDARD
from sqlalchemy import Connection, update
from waiting import DEADLINE

from domain.ledger import call_list, calls, enrolments, finishes, holds, patient_choices, pauses
from domain.ledger.appointments import care
from domain.ledger.attempts import attempt
from domain.ledger.audit_calls import over_cap
from domain.ledger.audit_stops import sent_after_opt_out
from domain.ledger.call_list import Listed, Standing
from domain.ledger.calls import CallEnd, CallError, Ended, Refused
from domain.ledger.campaigns import campaign
from domain.ledger.choice_history import DO_NOT_CONTACT, Note, suppression
from domain.ledger.claimed import Claimed
from domain.ledger.consents import consent
from domain.ledger.hearing import hear
from domain.ledger.inbound import reply
from domain.ledger.patients import contact_point, patient, patient_contact
from domain.ledger.store import reading
from domain.ledger.texts import template, template_version
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.steps import Answer
from domain.rules.vocabulary import Hold

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def to_call(practice: Practice) -> Person:
    """A patient whose step is a call."""
    who = practice.person()
    with practice.engine.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == who.touch).values(channel="phone"))
        add(
            conn,
            template,
            template_version_id=practice.text,
            channel="phone",
            language="en",
            step_kind="outreach",
            body="{organisation}: hello.",
        )
    return who


def take(practice: Practice, who: Person, now: Any = NOW) -> Claimed | None:
    with practice.engine.begin() as conn:
        return calls.take(conn, who.touch, SYSTEMS, STANDARD, now)


def dial(practice: Practice, who: Person, now: Any = NOW) -> Claimed | Refused:
    with practice.engine.begin() as conn:
        return calls.dial(conn, who.touch, SYSTEMS, STANDARD, now)


def end(practice: Practice, who: Person, how: CallEnd, now: Any = NOW) -> Ended:
    with practice.engine.begin() as conn:
        return calls.end(conn, who.touch, how, now)


def in_hand(practice: Practice, now: Any = NOW) -> list[tuple[int, Standing, str | None]]:
    with reading(practice.engine) as conn:
        found: list[Listed] = call_list.in_hand(conn, SYSTEMS, STANDARD, now)
    return [(each.id, each.standing, each.why) for each in found]


def stop(conn: Connection, practice: Practice, who: Person) -> None:
    practice.stop_on(conn, who)


def contact_no_more(conn: Connection, _practice: Practice, who: Person) -> None:
    patient_choices.stop(conn, who.id, DO_NOT_CONTACT, Note("Maya Ortiz", b"sealed"), NOW, NOW)


def leave(conn: Connection, _practice: Practice, who: Person) -> None:
    enrolments.leave(conn, [who.id], NOW)


def die(conn: Connection, _practice: Practice, who: Person) -> None:
    conn.execute(update(patient).where(patient.c.id == who.id).values(deceased_at=NOW))


def book(conn: Connection, practice: Practice, who: Person) -> None:
    add(
        conn,
        care,
        patient_id=who.id,
        site_id=practice.site,
        service_line="primary_care",
        next_appointment_at=NOW + 9 * DAY,
    )


def complain(conn: Connection, practice: Practice, who: Person) -> None:
    wrote = add(
        conn,
        reply,
        organisation_id=practice.organisation,
        channel="sms",
        provider_id="in-1",
        contact_point_id=who.phone,
        body=b"sealed",
        received_at=NOW,
        intent="complaint",
        state="human",
    )
    holds.hold(conn, practice.organisation, [who.id], Hold.COMPLAINT, wrote, NOW, NOW)


def wrong_number(conn: Connection, _practice: Practice, who: Person) -> None:
    conn.execute(update(patient_contact).where(patient_contact.c.patient_id == who.id).values(detached_at=NOW))


def bad_number(conn: Connection, _practice: Practice, who: Person) -> None:
    conn.execute(update(contact_point).where(contact_point.c.id == who.phone).values(quality="bad"))


def revoke_consent(conn: Connection, practice: Practice, who: Person) -> None:
    add(
        conn,
        consent,
        organisation_id=practice.organisation,
        contact_point_id=who.phone,
        channel="phone",
        status="revoked",
        since=NOW,
    )


def pause_campaign(conn: Connection, practice: Practice, _who: Person) -> None:
    conn.execute(update(campaign).where(campaign.c.id == practice.campaign).values(paused_at=NOW))


def pause_channel(conn: Connection, _practice: Practice, _who: Person) -> None:
    pauses.pause(conn, "phone", "operator", NOW)


def recall(conn: Connection, practice: Practice, _who: Person) -> None:
    conn.execute(update(template_version).where(template_version.c.id == practice.text).values(recalled_at=NOW))


def be_written_to(conn: Connection, practice: Practice, who: Person) -> None:
    add(
        conn,
        attempt,
        touch_id=who.touch,
        token="t",
        channel="sms",
        provider="sms",
        kind="outreach",
        patient_id=who.id,
        contact_point_id=who.phone,
        state="accepted",
        claimed_at=NOW - MINUTE,
        lease_until=NOW,
        called_at=NOW - MINUTE,
        finished_at=NOW - MINUTE,
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (stop, "opted_out"),
        (contact_no_more, "opted_out"),
        (leave, "left_campaign"),
        (die, "deceased"),
        (book, "booked"),
        (complain, "complaint"),
        (wrong_number, "unreachable"),
        (bad_number, "unreachable"),
        (revoke_consent, "no_consent"),
        (pause_campaign, "campaign_paused"),
        (pause_channel, "channel_paused"),
        (recall, "template_recalled"),
        (be_written_to, "cap_day"),
    ],
)
def test_whatever_stops_a_text_withdraws_a_call_that_somebody_has_taken(
    practice: Practice, change: Callable[[Connection, Practice, Person], None], why: str
) -> None:
    who = to_call(practice)
    taken = take(practice, who)
    before = in_hand(practice)

    with practice.engine.begin() as conn:
        change(conn, practice, who)
    after, dialled = in_hand(practice), dial(practice, who)

    assert taken is not None
    assert before == [(who.touch, Standing.TAKEN, None)]
    assert after == [(who.touch, Standing.WITHDRAWN, why)]
    assert isinstance(dialled, Refused)
    assert dialled.why == why
    assert rows(practice.engine, attempt, channel="phone") == []
    assert in_hand(practice, NOW + 31 * MINUTE) == []


def test_a_caller_who_tells_of_a_withdrawn_call_is_told_not_to_make_it(practice: Practice) -> None:
    who = to_call(practice)
    take(practice, who)
    practice.stop(who)

    for how in (CallEnd.NOT_CALLED, CallEnd.NO_ANSWER):
        with pytest.raises(CallError, match="do not call: the patient opted out"):
            end(practice, who, how)


def test_a_call_counts_and_is_judged_from_the_minute_it_is_dialled(practice: Practice) -> None:
    who = to_call(practice)
    take(practice, who)
    dialled = dial(practice, who, NOW + 20 * MINUTE)

    end(practice, who, CallEnd.VOICEMAIL, NOW + 29 * MINUTE)
    practice.stop(who)

    assert isinstance(dialled, Claimed)
    (made,) = rows(practice.engine, attempt)
    assert (made["claimed_at"], made["called_at"]) == (NOW + 20 * MINUTE, NOW + 20 * MINUTE)
    assert row(practice.engine, touch, who.touch)["accepted_at"] == NOW + 20 * MINUTE
    with reading(practice.engine) as conn:
        # by the instant of taking it, it would have come before the opt-out
        assert sent_after_opt_out(conn, {}).count == 1
        assert over_cap(conn, {}).count == 0


def test_a_call_taken_is_free_for_others_after_half_an_hour_and_cannot_be_dialled_then(practice: Practice) -> None:
    who = to_call(practice)
    take(practice, who)
    late = NOW + 30 * MINUTE

    early = take(practice, who, late - MINUTE)
    with pytest.raises(CallError, match="nobody has taken it"):
        dial(practice, who, late)
    again = take(practice, who, late)

    assert early is None
    assert again is not None


def test_a_call_dialled_long_ago_that_nobody_told_of_is_settled_by_whoever_tells(practice: Practice) -> None:
    who = to_call(practice)
    take(practice, who)
    dial(practice, who)
    later = NOW + 31 * MINUTE
    with practice.engine.begin() as conn:
        assert finishes.reap(conn, later) == 1

    end(practice, who, CallEnd.REACHED, later)

    (made,) = rows(practice.engine, attempt)
    told = row(practice.engine, touch, who.touch)
    assert (made["state"], told["state"], told["delivery"], told["accepted_at"]) == (
        "accepted",
        "accepted",
        "delivered",
        NOW,
    )


def test_an_opt_out_told_after_the_call_was_told_of_counts_all_the_same(practice: Practice) -> None:
    who = to_call(practice)
    take(practice, who)
    dial(practice, who)
    end(practice, who, CallEnd.REACHED)

    ended = end(practice, who, CallEnd.DO_NOT_CALL)

    assert ended.opted_out
    assert {each["patient_id"] for each in rows(practice.engine, suppression)} == {None, who.id}


@pytest.mark.parametrize(
    ("how", "is_answer"),
    [(CallEnd.REACHED, True), (CallEnd.DO_NOT_CALL, True), (CallEnd.VOICEMAIL, False), (CallEnd.NO_ANSWER, False)],
)
@pytest.mark.parametrize("is_told_late", [False, True])
def test_a_call_in_which_somebody_was_spoken_with_is_an_answer(
    practice: Practice, how: CallEnd, *, is_answer: bool, is_told_late: bool
) -> None:
    who = to_call(practice)
    practice.plan(who.id, who.enrolment, step=1, state="accepted", accepted_at=NOW - 10 * DAY)
    take(practice, who)
    dial(practice, who)
    now = NOW
    if is_told_late:
        now = NOW + DAY
        with practice.engine.begin() as conn:
            finishes.reap(conn, now)

    end(practice, who, how, now)

    with reading(practice.engine) as conn:
        heard = hear(conn, [who.enrolment])[who.enrolment]
    assert heard.replied_at == (NOW if is_answer else None)
    assert heard.unanswered([Answer.REPLY]) == (0 if is_answer else 2)


# Two who meet, on PostgreSQL: on SQLite one writer at a time is all there is


@pytest.fixture
def busy(postgres_url: str, vault: Vault) -> Any:
    with unhurried(postgres_url) as engine:
        yield Practice(engine, vault)


def test_who_dials_while_an_opt_out_is_being_written_is_told_not_to(busy: Practice) -> None:
    who = to_call(busy)
    take(busy, who)

    with busy.engine.connect() as first:
        busy.stop_on(first, who)
        with behind(busy.engine, first, lambda: dial(busy, who)) as dialled:
            first.commit()

    assert dialled.result(DEADLINE) == Refused("opted_out")


def test_two_who_take_at_once_do_not_get_the_same_call(busy: Practice) -> None:
    who = to_call(busy)

    with busy.engine.connect() as first:
        taken = calls.take(first, who.touch, SYSTEMS, STANDARD, NOW)
        with behind(busy.engine, first, lambda: take(busy, who)) as other:
            first.commit()

    assert taken is not None
    assert other.result(DEADLINE) is None


def test_two_who_dial_at_once_get_one_number(busy: Practice) -> None:
    who = to_call(busy)
    take(busy, who)

    with busy.engine.connect() as first:
        dialled = calls.dial(first, who.touch, SYSTEMS, STANDARD, NOW)
        with behind(busy.engine, first, lambda: dial(busy, who)) as other:
            first.commit()

    assert isinstance(dialled, Claimed)
    with pytest.raises(CallError, match="dialled already"):
        other.result(DEADLINE)


@pytest.mark.parametrize(
    ("how", "state"), [(CallEnd.REACHED, "accepted"), (CallEnd.VOICEMAIL, "accepted"), (CallEnd.NOT_CALLED, "rejected")]
)
def test_what_is_told_while_the_call_is_being_given_up_as_lost_is_written_down(
    busy: Practice, how: CallEnd, state: str
) -> None:
    who = to_call(busy)
    take(busy, who)
    dial(busy, who)
    later = NOW + 31 * MINUTE

    with busy.engine.connect() as first:
        assert finishes.reap(first, later) == 1
        with behind(busy.engine, first, lambda: end(busy, who, how, later)) as told:
            first.commit()

    assert told.result(DEADLINE) == Ended(who.touch)
    (made,) = rows(busy.engine, attempt)
    assert (made["state"], row(busy.engine, touch, who.touch)["state"]) == (state, state)


def test_of_two_who_tell_at_once_the_second_is_refused(busy: Practice) -> None:
    who = to_call(busy)
    take(busy, who)
    dial(busy, who)

    with busy.engine.connect() as first:
        calls.end(first, who.touch, CallEnd.REACHED, NOW)
        with behind(busy.engine, first, lambda: end(busy, who, CallEnd.NO_ANSWER)) as other:
            first.commit()

    with pytest.raises(CallError, match="told before"):
        other.result(DEADLINE)
    assert row(busy.engine, touch, who.touch)["delivery"] == "delivered"
