"""Enrolment: who enters, in which arm, with which touches; everybody else with a reason; and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from lakeside import NOW, news_of, take, visit_of
from rulebooks import STANDARD
from sqlalchemy import delete, select, update
from welcome_back import AWAY, SYSTEMS, Lakeside

from domain.ledger import choices, enrolling
from domain.ledger.campaigns import campaign
from domain.ledger.choice_history import suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.explain import explain
from domain.ledger.lapses import lapse
from domain.ledger.outbox import outbox
from domain.ledger.patients import contact_point, patient
from domain.ledger.store import reading
from domain.ledger.touches import touch
from domain.rules.holdout import arm
from domain.rules.vocabulary import AppointmentStatus, ServiceLine
from ops.assembly import means_opted_out
from producers.sweep import FORGOTTEN, Sweep

DAY = timedelta(days=1)


def test_everyone_lapsed_is_enrolled_in_the_arm_of_their_draw_and_only_treatment_gets_touches(
    health: Lakeside,
) -> None:
    health.lapsed(60)

    counts = health.enrol()

    refs = {each["id"]: each["ref"] for each in health.rows(patient)}
    enrolled = health.rows(enrolment)
    assert {each["arm"] for each in enrolled} == {"treatment", "holdout"}
    assert all(each["arm"] == arm("welcome-back", refs[each["patient_id"]], 0.1) for each in enrolled)
    assert counts == Counter(each["arm"] for each in enrolled)
    planned = Counter(each["enrolment_id"] for each in health.rows(touch))
    assert planned == {each["id"]: 5 for each in enrolled if each["arm"] == "treatment"}
    assert {each["review_at"] for each in enrolled} == {NOW + 210 * DAY}


def test_touches_carry_the_lapses_urgency_and_the_enrolment_is_announced(health: Lakeside) -> None:
    health.lapsed(mail=True)

    health.enrol()

    planned = health.rows(touch)
    noticed = health.only(lapse)
    assert [each["channel"] for each in planned] == ["sms", "email", "sms", "email", "sms"]
    assert {each["priority"] for each in planned} == {noticed["priority"]} == {40}
    told = health.only(outbox, type="patient.enrolled")["data"]
    assert told == {
        "patient": health.only(patient)["ref"],
        "campaign": "welcome-back",
        "arm": "treatment",
        "segment": "12_24_months",
    }


def test_the_preferred_channel_comes_first(health: Lakeside) -> None:
    health.lapsed(mail=True, preferred_channel="email")

    health.enrol()

    assert [each["channel"] for each in health.rows(touch)][:2] == ["email", "sms"]


def test_deciding_again_changes_nothing(health: Lakeside) -> None:
    health.lapsed(5)
    found = health.notice()
    health.enrol()
    before = health.rows(enrolment), health.rows(touch), health.rows(lapse)

    with health.engine.begin() as conn:
        counts = enrolling.enrol_lapses(conn, found, SYSTEMS, STANDARD, NOW + DAY)

    assert counts == {}
    assert (health.rows(enrolment), health.rows(touch), health.rows(lapse)) == before


def end_campaign(health: Lakeside) -> None:
    with health.engine.begin() as conn:
        conn.execute(update(campaign).values(ended_at=NOW))


def break_number(health: Lakeside) -> None:
    with health.engine.begin() as conn:
        conn.execute(update(contact_point).values(quality="bad"))


def opt_out(health: Lakeside) -> None:
    with health.engine.begin() as conn:
        choices.opt_out(
            conn,
            organisation_id=health.organisation,
            contact_point_id=health.only(contact_point)["id"],
            source="staff",
            at=NOW,
            now=NOW,
        )


def get_a_number_that_was_stopped_before(health: Lakeside) -> None:
    """What was said on the number holds for whoever is reached by it; of this patient nothing is known."""
    opt_out(health)
    with health.engine.begin() as conn:
        conn.execute(delete(suppression).where(suppression.c.patient_id.is_not(None)))
    assert [each["patient_id"] for each in health.rows(suppression)] == [None]


def die(health: Lakeside) -> None:
    health.change(deceased_at=NOW)


def close(health: Lakeside) -> None:
    with health.engine.begin() as conn:
        conn.execute(update(lapse).values(closed_at=NOW, closed_by="visit"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (end_campaign, "no_campaign"),
        (break_number, "unreachable"),
        (opt_out, "unreachable"),
        (get_a_number_that_was_stopped_before, "unreachable"),
        (die, "deceased"),
        (close, "closed"),
    ],
)
def test_who_is_not_enrolled_is_declined_with_the_reason(health: Lakeside, spoil: Any, why: str) -> None:
    health.lapsed()
    health.notice()
    spoil(health)

    counts = health.enrol()

    decided = health.only(lapse)
    assert counts == {why: 1}
    assert (decided["declined"], decided["decided_at"]) == (why, NOW)
    assert health.rows(enrolment) == health.rows(touch) == []


def test_a_channel_that_is_not_configured_reaches_nobody(health: Lakeside) -> None:
    health.lapsed()

    assert health.enrol(systems={"email": "email"}) == {"unreachable": 1}


def test_the_holdout_is_drawn_only_among_those_who_would_be_contacted(health: Lakeside) -> None:
    health.lapsed(40, phone=False)

    health.enrol()

    assert health.rows(enrolment) == []


def look_again(health: Lakeside, systems: Mapping[str, str] = SYSTEMS) -> Counter[str]:
    """What a sweep does about lapses once a scan's hour has come."""
    sweep = Sweep(health.engine, systems, STANDARD, lambda _job: None, means_opted_out)
    after: int | None = 0
    while after is not None:
        after = sweep.reconsider(after)
    owed = [each["id"] for each in health.rows(lapse, decided_at=None)]
    with health.engine.begin() as conn:
        return enrolling.enrol_lapses(conn, owed, systems, STANDARD, NOW + DAY)


def test_a_patients_most_urgent_lapse_is_enrolled_however_their_events_are_cut(health: Lakeside) -> None:
    for number in health.lapsed(2):
        long_ago = NOW - 800 * DAY
        take(
            health.engine,
            health.vault,
            visit_of(health.organisation, number, long_ago, service_line=ServiceLine.DENTAL),
        )
    health.notice()
    lapses = health.rows(lapse)

    with health.engine.begin() as conn:
        for each in sorted(lapses, key=lambda each: -each["priority"]):
            enrolling.enrol_lapses(conn, [each["id"]], SYSTEMS, STANDARD, NOW)

    most_urgent = {
        patient_id: min((each["priority"], each["id"]) for each in lapses if each["patient_id"] == patient_id)[1]
        for patient_id in {each["patient_id"] for each in lapses}
    }
    assert len(lapses) > len(most_urgent) == 2
    assert {each["patient_id"]: each["lapse_id"] for each in health.rows(enrolment)} == most_urgent


def test_whoever_gets_a_number_later_is_enrolled_then_in_the_arm_of_their_draw(health: Lakeside) -> None:
    numbers = health.lapsed(40, phone=False)
    health.enrol()
    named = [
        news_of(health.organisation, number, NOW, phone=f"+130355501{nth:02}") for nth, number in enumerate(numbers)
    ]
    take(health.engine, health.vault, *named[:30])

    counts = look_again(health)

    refs = {each["id"]: each["ref"] for each in health.rows(patient)}
    assert sum(counts.values()) == 30
    assert {each["arm"] for each in health.rows(enrolment)} == {"treatment", "holdout"}
    assert all(each["arm"] == arm("welcome-back", refs[each["patient_id"]], 0.1) for each in health.rows(enrolment))
    assert len(health.rows(lapse, declined="unreachable")) == 10


def test_a_channel_set_up_later_reaches_those_it_can(health: Lakeside) -> None:
    health.lapsed(2)
    health.lapsed(3, phone=False, mail=True)
    health.enrol(systems={"sms": "phone"})

    counts = look_again(health)

    assert sum(counts.values()) == 3
    assert len(health.rows(enrolment)) == 5


def test_who_opts_back_in_is_looked_at_again(health: Lakeside) -> None:
    health.lapsed()
    opt_out(health)
    health.enrol()
    before = look_again(health)
    with health.engine.begin() as conn:
        choices.opt_in(
            conn,
            organisation_id=health.organisation,
            contact_point_id=health.only(contact_point)["id"],
            source="reply",
            at=NOW + DAY,
            now=NOW + DAY,
        )

    assert (before, look_again(health).total()) == ({}, 1)


@pytest.mark.parametrize("spoil", [end_campaign, break_number, opt_out, close])
def test_an_unreachable_lapse_that_would_be_declined_again_is_left_as_it_is(health: Lakeside, spoil: Any) -> None:
    (number,) = health.lapsed(phone=False)
    health.enrol()
    take(health.engine, health.vault, news_of(health.organisation, number, NOW, phone="+13035550101"))
    spoil(health)
    before = health.rows(lapse)

    counts = look_again(health)

    assert counts == {}
    assert health.rows(lapse) == before


def test_a_patient_has_one_live_enrolment_however_many_lines_have_lapsed(health: Lakeside) -> None:
    (number,) = health.lapsed()
    dental = visit_of(health.organisation, number, AWAY, service_line=ServiceLine.DENTAL, source_id="teeth")
    take(health.engine, health.vault, dental, now=AWAY)

    counts = health.enrol()

    assert counts == {"treatment": 1, "already_enrolled": 1}
    assert sorted(each["declined"] or "" for each in health.rows(lapse)) == ["", "already_enrolled"]


def test_a_lapse_that_had_its_turn_is_not_enrolled_again_when_it_grows_older(health: Lakeside) -> None:
    health.lapsed()
    health.enrol()
    with health.engine.begin() as conn:
        conn.execute(update(enrolment).values(ended_at=NOW, state="finished"))

    counts = health.enrol(NOW + 500 * DAY)

    assert health.only(lapse)["segment"] == "beyond_24_months"
    assert counts == {"had_its_turn": 1}


def test_a_lapse_that_moves_on_to_another_segment_is_told_as_enrolled_still(health: Lakeside) -> None:
    health.lapsed()
    health.enrol()
    ours, found = health.only(enrolment)["id"], health.only(lapse)["id"]

    counts = health.enrol(NOW + 100 * DAY)
    later = health.enrol(NOW + 400 * DAY)

    assert counts | later == {"goes_on": 1}
    with reading(health.engine) as conn:
        ref = conn.scalars(select(patient.c.ref)).one()
        story = [(each.subject, each.text) for each in explain(conn, ref, NOW + 401 * DAY).entries]
    of_lapse = [text for subject, text in story if subject == f"lapse {found}"]
    assert of_lapse == [
        "found inactive in primary_care since 2026-01-25",
        "still inactive, and in segment beyond_24_months from now on",
        f"looked at again: it is enrolled already, and enrolment {ours} goes on",
    ]


def test_a_lapse_of_a_patient_enrolled_for_another_says_so(health: Lakeside) -> None:
    (number,) = health.lapsed()
    dental = visit_of(health.organisation, number, AWAY, service_line=ServiceLine.DENTAL, source_id="teeth")
    take(health.engine, health.vault, dental, now=AWAY)
    health.enrol()

    with reading(health.engine) as conn:
        ref = conn.scalars(select(patient.c.ref)).one()
        story = [each.text for each in explain(conn, ref, NOW).entries]

    assert [text for text in story if text.startswith("not enrolled")] == [
        "not enrolled: the patient is already in this campaign, for another lapse"
    ]


def test_a_new_lapse_after_a_return_starts_again(health: Lakeside) -> None:
    (number,) = health.lapsed()
    health.enrol()
    health.tell(number, NOW + DAY, AppointmentStatus.FULFILLED, NOW + 2 * DAY)

    health.enrol(NOW + 400 * DAY)

    assert [each["state"] for each in health.rows(enrolment)] == ["reactivated", "waiting"]


def test_the_sweep_decides_about_lapses_whose_event_was_lost(health: Lakeside) -> None:
    health.lapsed(3)
    found = health.notice()
    sweep = Sweep(health.engine, SYSTEMS, STANDARD, lambda _job: None, means_opted_out)

    with reading(health.engine) as conn:
        early = enrolling.undecided(conn, NOW - timedelta(seconds=1))
    sweep.run(NOW + FORGOTTEN - timedelta(seconds=1))
    soon = len(health.rows(enrolment))
    sweep.run(NOW + FORGOTTEN)

    assert (early, soon, len(found)) == ([], 0, 3)
    assert len(health.rows(enrolment)) == 3
    assert health.rows(lapse, decided_at=None) == []
