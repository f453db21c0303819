"""At the claim: a step goes where what came of the earlier ones leads it, in its season's words, within ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from household import NOW, add, rows
from practice import SYSTEMS, Person, Practice
from rulebooks import STANDARD
from sqlalchemy import Engine, update

from domain.ledger import call_list, calls, choices, claims
from domain.ledger.attempts import attempt
from domain.ledger.audit_calls import outside_hours
from domain.ledger.calls import CallEnd, CallError, Refused
from domain.ledger.campaigns import campaign, campaign_template
from domain.ledger.choice_history import suppression
from domain.ledger.claim_rows import lock_and_read
from domain.ledger.claim_texts import read_texts
from domain.ledger.claimed import Claim
from domain.ledger.explain import explain
from domain.ledger.inbound import reply
from domain.ledger.incentives import Offers, incentive_offer
from domain.ledger.patients import contact_point, patient
from domain.ledger.store import reading
from domain.ledger.texts import template, template_version
from domain.ledger.touches import touch, touch_event
from domain.rules import terms

DAY = timedelta(days=1)


def promise(practice: Practice, cadence: Sequence[Any], **more: Any) -> None:
    """The campaign's definition, as a claim reads it."""
    said = {
        "cadence": list(cadence),
        "channels": ["sms", "email"],
        "send_at": ["10:30:00"],
        "graduate_after_days": 30,
        "reminder": {"every_months": 4, "at_most": 1},
        **more,
    }
    with practice.engine.begin() as conn:
        conn.execute(update(campaign).values(terms=terms.as_text(said)))


def at_step(practice: Practice, who: Person, step: int) -> None:
    with practice.engine.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == who.touch).values(step=step))


def claim(practice: Practice, *ids: int, channel: str = "sms", now: datetime = NOW) -> Claim:
    system = SYSTEMS.get(channel, "phone")
    with practice.engine.begin() as conn:
        return claims.claim(conn, ids, channel=channel, system=system, systems=SYSTEMS, rules=STANDARD, now=now)


def sent_before(practice: Practice, who: Person, count: int, **values: Any) -> None:
    """Steps that went out ten days ago and earlier."""
    for nth in range(count):
        at = NOW - (10 + count - nth) * DAY
        done = {"state": "accepted", "accepted_at": at, "ended_at": at, "due_at": at, "step": nth, **values}
        practice.plan(who.id, who.enrolment, **done)


def writes_back(practice: Practice, who: Person, *, intent: str | None = "question", at: datetime = NOW - DAY) -> None:
    with practice.engine.begin() as conn:
        add(
            conn,
            reply,
            organisation_id=practice.organisation,
            channel="sms",
            provider_id=f"in-{who.id}-{intent}",
            contact_point_id=who.phone,
            body=b"sealed",
            received_at=at,
            intent=intent,
            state="human",
        )


def later(practice: Practice) -> datetime:
    """A day after everybody was enrolled, with what is planned still worth sending."""
    with practice.engine.begin() as conn:
        conn.execute(update(touch).where(touch.c.state == "planned").values(expires_at=NOW + 9 * DAY))
    return NOW + DAY


ONLY_IF = [0, {"day": 10, "only_if": "no_reply"}]


def test_a_step_for_those_who_did_not_write_back_goes_to_them(practice: Practice) -> None:
    promise(practice, ONLY_IF)
    who = practice.person()
    at_step(practice, who, 1)

    assert [each.touch_id for each in claim(practice, who.touch).claimed] == [who.touch]


@pytest.mark.parametrize("intent", ["question", None])
def test_and_to_nobody_who_did(practice: Practice, intent: str | None) -> None:
    promise(practice, ONLY_IF)
    who = practice.person()
    at_step(practice, who, 1)
    writes_back(practice, who, intent=intent, at=NOW + timedelta(hours=1))

    found = claim(practice, who.touch, now=later(practice))

    assert (found.claimed, found.nevers) == ([], [(who.touch, "step_replied")])
    assert found.rules == {who.touch: "house.step"}
    (ended,) = rows(practice.engine, touch, id=who.touch)
    assert (ended["state"], ended["reason"]) == ("suppressed", "step_replied")


@pytest.mark.parametrize("intent", ["auto_reply", "reaction"])
def test_a_machines_answer_is_no_reply(practice: Practice, intent: str) -> None:
    promise(practice, ONLY_IF)
    who = practice.person()
    at_step(practice, who, 1)
    writes_back(practice, who, intent=intent, at=NOW + timedelta(hours=1))

    assert len(claim(practice, who.touch, now=later(practice)).claimed) == 1


def test_a_reply_from_before_the_enrolment_answers_nothing(practice: Practice) -> None:
    promise(practice, ONLY_IF)
    who = practice.person()
    at_step(practice, who, 1)
    writes_back(practice, who, at=NOW - timedelta(seconds=1))

    assert len(claim(practice, who.touch).claimed) == 1


def test_a_step_for_those_who_opened_no_link_leaves_out_who_did(practice: Practice) -> None:
    promise(practice, [0, {"day": 10, "only_if": "no_click"}])
    clicked, silent = practice.person(), practice.person()
    for who in (clicked, silent):
        at_step(practice, who, 1)
    sent_before(practice, clicked, 1)
    with practice.engine.begin() as conn:
        (first,) = [each["id"] for each in rows(practice.engine, touch, patient_id=clicked.id, step=0)]
        add(conn, touch_event, touch_id=first, at=NOW, what="clicked")

    found = claim(practice, clicked.touch, silent.touch)

    assert [each.touch_id for each in found.claimed] == [silent.touch]
    assert found.nevers == [(clicked.touch, "step_clicked")]


ESCALATES = [0, {"day": 10, "channels": ["email"], "escalate_if": "undelivered"}]


@pytest.mark.parametrize(
    ("ended", "channel"),
    [({"delivery": "undelivered"}, "email"), ({"state": "rejected", "accepted_at": None}, "email"), ({}, "sms")],
)
def test_a_step_takes_its_stronger_channel_where_the_last_one_did_not_arrive(
    practice: Practice, ended: dict[str, Any], channel: str
) -> None:
    promise(practice, ESCALATES, channels=["sms"])
    who = practice.person(mail="jane.doe@example.com")
    at_step(practice, who, 1)
    sent_before(practice, who, 1, **ended)

    first = claim(practice, who.touch)
    then = claim(practice, who.touch, channel="email")

    claimed = [each.channel for each in (*first.claimed, *then.claimed)]
    assert claimed == [channel]
    if channel == "email":
        told = [each["reason"] for each in rows(practice.engine, touch_event, touch_id=who.touch)]
        assert told == ["escalated"]


def test_a_stronger_channel_that_does_not_reach_the_patient_changes_nothing(practice: Practice) -> None:
    promise(practice, ESCALATES, channels=["sms"])
    who = practice.person()
    at_step(practice, who, 1)
    sent_before(practice, who, 1, delivery="undelivered")

    assert [each.channel for each in claim(practice, who.touch).claimed] == ["sms"]


def test_what_was_planned_for_silence_goes_back_to_the_usual_channel_after_an_answer(practice: Practice) -> None:
    promise(practice, [0, {"day": 10, "channels": ["email"], "escalate_if": "no_reply"}], channels=["sms"])
    who = practice.person(mail="jane.doe@example.com")
    at_step(practice, who, 1)
    with practice.engine.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == who.touch).values(channel="email"))
    writes_back(practice, who, at=NOW + timedelta(hours=1))

    found = claim(practice, who.touch, channel="email", now=later(practice))

    assert found.rerouted == [(who.touch, "sms", "not_escalated")]


def test_after_as_many_unanswered_touches_as_the_campaign_allows_no_more_goes_out(practice: Practice) -> None:
    promise(practice, [0, 10, 20, 30, 40], graduation={"after_unanswered": 4})
    tired, fresh = practice.person(), practice.person()
    for who, before in ((tired, 4), (fresh, 3)):
        at_step(practice, who, 4)
        sent_before(practice, who, before)

    found = claim(practice, tired.touch, fresh.touch)

    assert [each.touch_id for each in found.claimed] == [fresh.touch]
    assert found.nevers == [(tired.touch, "unanswered")]
    assert found.rules == {tired.touch: "house.graduation"}


def test_an_answer_starts_the_count_again(practice: Practice) -> None:
    promise(practice, [0, 10, 20, 30, 40], graduation={"after_unanswered": 4})
    who = practice.person()
    at_step(practice, who, 4)
    sent_before(practice, who, 4)
    writes_back(practice, who, at=NOW)

    assert len(claim(practice, who.touch).claimed) == 1


# Another channel, where the touch's own does not reach the patient


def claim_without_a_phone(practice: Practice, who: Person) -> Claim:
    """A text to somebody whose number does not work; `app` reaches whom a mail does."""
    systems = {"app": "email", **SYSTEMS}
    with practice.engine.begin() as conn:
        conn.execute(update(contact_point).where(contact_point.c.id == who.phone).values(quality="bad"))
        return claims.claim(conn, [who.touch], channel="sms", system="phone", systems=systems, rules=STANDARD, now=NOW)


@pytest.mark.parametrize(
    ("cadence", "channels", "preferred", "taken"),
    [
        ([0, 10], ["sms", "email", "app"], None, "email"),
        ([0, 10], ["app", "sms", "email"], None, "app"),
        ([0, 10], ["sms", "email"], None, "email"),
        ([0, 10], ["sms", "email", "app"], "app", "app"),
        ([0, 10], ["sms", "email"], "app", "email"),
        ([{"day": 0, "channels": ["sms", "app"]}, 10], ["sms", "email"], None, "app"),
        ([{"day": 0, "channels": ["app"], "escalate_if": "no_reply"}, 10], ["sms", "email"], None, "email"),
    ],
)
def test_a_touch_whose_channel_fails_takes_the_first_in_the_order_of_its_campaign(
    practice: Practice, cadence: list[Any], channels: list[str], preferred: str | None, taken: str
) -> None:
    promise(practice, cadence, channels=channels)
    say(practice, channel="app")
    who = practice.person(mail="jane.doe@example.com", preferred_channel=preferred)

    found = claim_without_a_phone(practice, who)

    assert found.rerouted == [(who.touch, taken, None)]


@pytest.mark.parametrize("words", [None, "released", "unreleased", "recalled"])
def test_and_none_for_which_it_has_no_released_words(practice: Practice, words: str | None) -> None:
    promise(practice, [0, 10], channels=["sms", "app"])
    who = practice.person(mail="jane.doe@example.com")
    if words is not None:
        dates = {"unreleased": {"released_at": None}, "recalled": {"recalled_at": NOW}}.get(words, {})
        with practice.engine.begin() as conn:
            version = add(
                conn,
                template_version,
                organisation_id=practice.organisation,
                key="app",
                version=1,
                checksum="0",
                **{"recorded_at": NOW, "released_at": NOW, **dates},
            )
            add(conn, campaign_template, campaign_id=practice.campaign, template_version_id=version)
        say(practice, template_version_id=version, channel="app")

    found = claim_without_a_phone(practice, who)

    if words == "released":
        assert found.rerouted == [(who.touch, "app", None)]
    else:
        assert (found.rerouted, found.nevers) == ([], [(who.touch, "unreachable")])


# The list of calls


def on_the_list(practice: Practice, **columns: Any) -> Person:
    """A patient at high risk whom a claim for SMS put on the list of calls."""
    promise(practice, [0, 10], high_risk={"phone_from_step": 0})
    who = practice.person(high_risk=True, **columns)
    claim(practice, who.touch)
    return who


def take(practice: Practice, now: datetime = NOW) -> claims.Claimed | None:
    with reading(practice.engine) as conn:
        listed = [row.id for row in call_list.due(conn, now, 10)]
    for each in listed:
        with practice.engine.begin() as conn:
            taken = calls.take(conn, each, SYSTEMS, STANDARD, now)
        if taken is not None:
            return taken
    return None


def dial(practice: Practice, call: int, now: datetime = NOW) -> claims.Claimed | Refused:
    with practice.engine.begin() as conn:
        return calls.dial(conn, call, SYSTEMS, STANDARD, now)


def end(practice: Practice, call: int, how: CallEnd, now: datetime = NOW) -> None:
    with practice.engine.begin() as conn:
        calls.end(conn, call, how, now)


def test_patients_at_high_risk_go_to_the_list_of_calls_from_their_step_on(practice: Practice) -> None:
    promise(practice, [0, 10], high_risk={"phone_from_step": 1})
    early, late, other = practice.person(high_risk=True), practice.person(high_risk=True), practice.person()
    for who in (late, other):
        at_step(practice, who, 1)

    found = claim(practice, early.touch, late.touch, other.touch)

    assert sorted(each.touch_id for each in found.claimed) == sorted([early.touch, other.touch])
    assert found.rerouted == [(late.touch, "phone", "high_risk")]
    with reading(practice.engine) as conn:
        assert [row.id for row in call_list.due(conn, NOW, 10)] == [late.touch]


def test_who_wants_no_calls_and_texts_gets_mail_although_their_step_is_for_a_person(practice: Practice) -> None:
    promise(practice, [0, 10], high_risk={"phone_from_step": 0})
    who = practice.person(high_risk=True, mail="jane.doe@example.com")
    with practice.engine.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == who.touch).values(channel="email"))
        choices.opt_out(
            conn,
            organisation_id=practice.organisation,
            contact_point_id=who.phone,
            source="reply",
            at=NOW,
            now=NOW,
            is_limited=True,
        )

    found = claim(practice, who.touch, channel="email")

    assert found.rerouted == []
    assert [each.touch_id for each in found.claimed] == [who.touch]


def test_a_call_taken_is_nobody_elses_and_counts_in_the_caps_once_it_is_dialled(practice: Practice) -> None:
    who = on_the_list(practice)
    text = practice.plan(who.id, who.enrolment, step=1)

    taken, nothing = take(practice), take(practice)
    dial(practice, who.touch)
    end(practice, who.touch, CallEnd.VOICEMAIL)
    found = claim(practice, text)

    assert taken is not None
    assert (taken.touch_id, nothing) == (who.touch, None)
    assert [(wait.why, wait.rule) for _, wait in found.waits] == [("cap_day", "caps.person.day")]
    (ended,) = rows(practice.engine, touch, id=who.touch)
    assert (ended["state"], ended["delivery"]) == ("accepted", "delivered")


def test_no_call_is_made_outside_the_hours_or_to_who_opted_out(practice: Practice) -> None:
    who = on_the_list(practice)
    night = datetime(2026, 3, 5, 5, tzinfo=UTC)

    assert take(practice, night) is None

    practice.stop(who)
    assert take(practice, NOW + DAY) is None


def test_who_asks_not_to_be_called_has_opted_out_of_everything(practice: Practice) -> None:
    who = on_the_list(practice)
    take(practice)
    dial(practice, who.touch)

    end(practice, who.touch, CallEnd.DO_NOT_CALL)

    stopped = rows(practice.engine, suppression)
    assert {(each["contact_point_id"], each["patient_id"]) for each in stopped} == {(who.phone, None), (None, who.id)}


@pytest.mark.parametrize("is_dialled", [True, False])
def test_a_call_that_was_not_made_is_on_the_list_again(practice: Practice, *, is_dialled: bool) -> None:
    who = on_the_list(practice)
    take(practice)
    if is_dialled:
        dial(practice, who.touch)

    end(practice, who.touch, CallEnd.NOT_CALLED)

    again = take(practice)
    assert again is not None
    assert (again.touch_id, again.attempts) == (who.touch, 1)


def test_a_call_told_of_after_its_hours_was_made_when_it_was_dialled(practice: Practice) -> None:
    who = on_the_list(practice)
    ten_to_eight, ten_past = datetime(2026, 3, 5, 2, 50, tzinfo=UTC), datetime(2026, 3, 5, 3, 10, tzinfo=UTC)
    take(practice, ten_to_eight)
    dialled = dial(practice, who.touch, ten_to_eight)

    end(practice, who.touch, CallEnd.REACHED, ten_past)

    assert isinstance(dialled, claims.Claimed)
    (made,) = rows(practice.engine, attempt)
    assert made["lease_until"] == dialled.valid_until == datetime(2026, 3, 5, 3, tzinfo=UTC)
    assert made["called_at"] == ten_to_eight
    with reading(practice.engine) as conn:
        assert outside_hours(conn, {}).count == 0


def test_how_a_call_ended_is_told_once_and_of_calls_that_were_dialled(practice: Practice) -> None:
    who = on_the_list(practice)
    take(practice)
    with pytest.raises(CallError, match="was dialled"):
        end(practice, who.touch, CallEnd.REACHED)
    dial(practice, who.touch)
    end(practice, who.touch, CallEnd.REACHED)

    with pytest.raises(CallError, match="told before"):
        end(practice, who.touch, CallEnd.NO_ANSWER)


# Words of the season, and offers


def say(practice: Practice, **slot: Any) -> int:
    """One more text of the campaign; its id."""
    with practice.engine.begin() as conn:
        return add(
            conn,
            template,
            **{"template_version_id": practice.text, "channel": "sms", "language": "en", "body": "x", **slot},
        )


def test_a_text_of_the_season_is_said_in_it_and_at_no_other_time(practice: Practice) -> None:
    promise(practice, [0, 10], seasons={"march": {"first": "03-04", "last": "03-31"}})
    spring, may = say(practice, season="march"), say(practice, season="may")
    first, second = practice.person(), practice.person()

    (today,) = claim(practice, first.touch).claimed
    promise(practice, [0, 10], seasons={"march": {"first": "03-05", "last": "03-31"}})
    (other,) = claim(practice, second.touch).claimed

    assert today.template_id == spring
    assert other.template_id not in {spring, may}


@pytest.mark.parametrize(
    ("columns", "is_said"),
    [
        ({"payer": "commercial"}, True),
        ({"payer": "medicare"}, False),
        ({"payer": "medicare", "benefit_month": 4}, True),
        ({}, False),
    ],
)
def test_a_text_before_the_reset_follows_each_patients_benefit_year(
    practice: Practice, columns: dict[str, Any], is_said: bool
) -> None:
    promise(practice, [0], seasons={"soon": {"weeks_before_reset": 6}}, benefit_year={"commercial": 4, "medicare": 1})
    soon = say(practice, season="soon")
    who = practice.person(**columns)

    (claimed,) = claim(practice, who.touch).claimed

    assert (claimed.template_id == soon) is is_said


def offering(practice: Practice, cents: int = 800, **slot: Any) -> int:
    promise(practice, [0, 10])
    return say(practice, incentive="bottle", cents=cents, **slot)


def offered(practice: Practice, who: Person, cents: int, *, year: int = NOW.year, incentive: str = "other") -> None:
    with practice.engine.begin() as conn:
        add(
            conn,
            incentive_offer,
            organisation_id=practice.organisation,
            patient_id=who.id,
            enrolment_id=who.enrolment,
            incentive=incentive,
            cents=cents,
            year=year,
            is_federal=True,
            offered_at=NOW - 30 * DAY,
        )


def test_an_offer_that_is_made_is_counted_with_its_worth_and_year(practice: Practice) -> None:
    bottle = offering(practice)
    who = practice.person()

    (claimed,) = claim(practice, who.touch).claimed

    assert claimed.template_id == bottle
    (kept,) = rows(practice.engine, incentive_offer)
    assert (kept["patient_id"], kept["cents"], kept["year"], kept["is_federal"]) == (who.id, 800, 2026, True)


@pytest.mark.parametrize(
    ("before", "cents", "year", "columns", "why"),
    [
        (6700, 800, 2026, {}, None),
        (6701, 800, 2026, {}, "incentive_year"),
        (6701, 800, 2026, {"payer": "medicaid"}, "incentive_year"),
        (6701, 800, 2026, {"payer": "commercial"}, None),
        (6701, 800, 2025, {}, None),
        (1, 1501, 2026, {}, "incentive_item"),
        (1, 1501, 2026, {"payer": "self_pay"}, None),
    ],
)
def test_an_offer_beyond_a_ceiling_is_withheld_and_the_message_goes_without(
    practice: Practice, before: int, cents: int, year: int, columns: dict[str, Any], why: str | None
) -> None:
    bottle = offering(practice, cents)
    who = practice.person(**columns)
    offered(practice, who, before, year=year)

    (claimed,) = claim(practice, who.touch).claimed

    told = [(each["what"], each["reason"]) for each in rows(practice.engine, touch_event, touch_id=who.touch)]
    assert (claimed.template_id == bottle) is (why is None)
    assert told == ([] if why is None else [("withheld", why)])
    assert len(rows(practice.engine, incentive_offer)) == (2 if why is None else 1)


def test_two_campaigns_at_once_cannot_pass_the_ceiling_of_the_year(practice: Practice) -> None:
    bottle = offering(practice)
    who = practice.person()
    offered(practice, who, 6000)
    second = practice.person()
    with practice.engine.begin() as conn:
        # the second enrolment is the same patient's, in another campaign
        conn.execute(update(touch).where(touch.c.id == second.touch).values(patient_id=who.id))
    third = practice.plan(who.id, who.enrolment, step=1)

    # within one claim as between two: they take turns by the patient's lock
    with practice.engine.begin() as conn:
        found, _ = lock_and_read(conn, [who.touch, second.touch, third], "sms", "phone", NOW)
        said = read_texts(conn, found, "sms", NOW, Offers(conn, found, STANDARD, NOW))

    # the third repeats what the first one of its enrolment offers
    assert [said[id_].id == bottle for id_ in (who.touch, second.touch, third)] == [True, False, True]


def test_the_same_thing_again_in_one_enrolment_is_counted_once(practice: Practice) -> None:
    bottle = offering(practice)
    who = practice.person()
    offered(practice, who, 6700)
    again = practice.plan(who.id, who.enrolment, step=1, due_at=NOW + 3 * DAY, expires_at=NOW + 8 * DAY)

    (first,) = claim(practice, who.touch).claimed
    (then,) = claim(practice, again, now=NOW + 3 * DAY).claimed

    assert (first.template_id, then.template_id) == (bottle, bottle)
    assert len(rows(practice.engine, incentive_offer)) == 2


def test_the_same_thing_worth_more_by_now_is_an_offer_of_the_difference(practice: Practice) -> None:
    bottle = offering(practice)
    who = practice.person()
    offered(practice, who, 6000)
    offered(practice, who, 500, incentive="bottle")

    (claimed,) = claim(practice, who.touch).claimed

    assert claimed.template_id == bottle
    assert {each["incentive"]: each["cents"] for each in rows(practice.engine, incentive_offer)} == {
        "other": 6000,
        "bottle": 800,
    }


@pytest.mark.parametrize(("other", "cents", "why"), [(1, 1501, "incentive_item"), (7000, 800, "incentive_year")])
def test_what_was_offered_once_passes_no_ceiling_when_it_is_worth_more(
    practice: Practice, other: int, cents: int, why: str
) -> None:
    bottle = offering(practice, cents)
    who = practice.person(payer="medicare")
    offered(practice, who, other)
    offered(practice, who, 500, incentive="bottle")

    (claimed,) = claim(practice, who.touch).claimed

    assert claimed.template_id != bottle
    assert [each["reason"] for each in rows(practice.engine, touch_event, touch_id=who.touch)] == [why]


def test_what_another_payers_patient_was_offered_is_not_repeated_once_the_payer_is_federal(practice: Practice) -> None:
    bottle = offering(practice, 9000)
    who = practice.person(payer="commercial")
    again = practice.plan(who.id, who.enrolment, step=1, due_at=NOW + 3 * DAY, expires_at=NOW + 8 * DAY)
    (first,) = claim(practice, who.touch).claimed
    with practice.engine.begin() as conn:
        conn.execute(update(patient).where(patient.c.id == who.id).values(payer="medicare"))

    (then,) = claim(practice, again, now=NOW + 3 * DAY).claimed

    assert first.template_id == bottle
    assert then.template_id != bottle
    assert [each["is_federal"] for each in rows(practice.engine, incentive_offer)] == [False]


def test_explain_names_what_was_offered_and_why_an_offer_was_withheld(practice: Practice, ledger: Engine) -> None:
    offering(practice)
    who, other = practice.person(), practice.person()
    offered(practice, other, 7500)
    claim(practice, who.touch, other.touch)

    with reading(ledger) as conn:
        refs = {row.id: row.ref for row in conn.execute(patient.select())}
        told = "\n".join(explain(conn, refs[who.id], NOW).lines())
        of_other = "\n".join(explain(conn, refs[other.id], NOW).lines())

    assert "offered bottle, worth $8.00; $8.00 in 2026 (a federal or unknown payer's ceilings hold)" in told
    assert "its offer was withheld, the message went without" in of_other
    assert "(rule incentives.us-year)" in of_other
