"""Appointments and enrolments agree, in the transaction that stored the news: bookings, returns, deaths."""

from __future__ import annotations

from datetime import timedelta

import pytest
from lakeside import NOW, news_of, take
from rulebooks import STANDARD
from welcome_back import SYSTEMS, Lakeside

from domain.ledger import choices, claims
from domain.ledger.enrolments import enrolment
from domain.ledger.outbox import outbox
from domain.ledger.outcomes import outcome
from domain.ledger.patients import contact_point
from domain.ledger.touches import touch, touch_event
from domain.rules.vocabulary import AppointmentStatus

BOOKED, FULFILLED, CANCELLED, NOSHOW = (
    AppointmentStatus.BOOKED,
    AppointmentStatus.FULFILLED,
    AppointmentStatus.CANCELLED,
    AppointmentStatus.NOSHOW,
)
DAY = timedelta(days=1)
LATER = NOW + 3 * DAY


def standing(health: Lakeside) -> tuple[str, str | None]:
    found = health.only(enrolment)
    return found["state"], found["reason"]


def touches(health: Lakeside) -> set[tuple[str, str | None]]:
    return {(each["state"], each["reason"]) for each in health.rows(touch)}


@pytest.fixture
def number(health: Lakeside) -> str:
    """The record number of an enrolled patient of the treatment arm."""
    (number,) = health.lapsed()
    health.enrol()
    assert health.only(enrolment)["arm"] == "treatment"
    return number


def test_a_booking_revokes_what_is_planned_and_is_a_rebooking(health: Lakeside, number: str) -> None:
    health.tell(number, NOW + 20 * DAY, BOOKED, LATER)

    found = health.only(enrolment)
    assert (found["state"], found["booked_at"]) == ("waiting", LATER)
    assert touches(health) == {("cancelled", "booked")}
    assert {each["reason"] for each in health.rows(touch_event)} == {"booked"}
    assert health.outcomes() == [(found["id"], "rebooked")]
    assert health.only(outbox, type="patient.rebooked")["data"]["campaign"] == "welcome-back"


def test_after_a_booking_no_claim_takes_a_touch(health: Lakeside, number: str) -> None:
    health.tell(number, NOW + 20 * DAY, BOOKED, LATER)
    ids = [each["id"] for each in health.rows(touch)]

    with health.engine.begin() as conn:
        result = claims.claim(
            conn, ids, channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=NOW + 10 * DAY
        )

    assert result == claims.Claim()


@pytest.mark.parametrize("lost", [CANCELLED, NOSHOW])
def test_losing_the_appointment_brings_back_what_is_still_worth_sending(
    health: Lakeside, number: str, lost: AppointmentStatus
) -> None:
    health.tell(number, NOW + 20 * DAY, BOOKED, LATER)

    health.tell(number, NOW + 20 * DAY, lost, NOW + 20 * DAY)

    states = [each["state"] for each in health.rows(touch)]
    assert states == ["cancelled", "cancelled", "planned", "planned", "planned"]
    assert health.only(enrolment)["booked_at"] is None
    assert {each["reason"] for each in health.rows(touch_event, what="planned")} == {"unbooked"}
    assert [kind for _, kind in health.outcomes()] == ["rebooked"]


@pytest.mark.parametrize("arm", ["treatment", "holdout"])
def test_a_completed_visit_is_a_return_in_both_arms(health: Lakeside, number: str, arm: str) -> None:
    health.into(arm)

    health.tell(number, NOW + 10 * DAY, FULFILLED, NOW + 11 * DAY)

    found = health.only(enrolment)
    assert standing(health) == ("reactivated", "returned")
    assert (found["ended_at"], found["review_at"]) == (NOW + 11 * DAY, None)
    assert health.outcomes() == [(found["id"], "returned")]
    assert health.only(outcome)["at"] == NOW + 10 * DAY
    assert health.only(outbox, type="patient.reactivated")["data"]["arm"] == arm
    assert {state for state, _ in touches(health)} <= {"cancelled"}


@pytest.mark.parametrize("arm", ["treatment", "holdout"])
def test_a_booking_is_measured_in_both_arms(health: Lakeside, number: str, arm: str) -> None:
    health.into(arm)

    health.tell(number, NOW + 20 * DAY, BOOKED, LATER)
    health.tell(number, NOW + 20 * DAY, FULFILLED, NOW + 21 * DAY)

    assert [kind for _, kind in health.outcomes()] == ["rebooked", "returned"]


def test_a_return_after_an_opt_out_still_counts(health: Lakeside, number: str) -> None:
    with health.engine.begin() as conn:
        choices.opt_out(
            conn,
            organisation_id=health.organisation,
            contact_point_id=health.only(contact_point)["id"],
            source="reply",
            at=LATER,
            now=LATER,
        )

    health.tell(number, NOW + 10 * DAY, FULFILLED, NOW + 11 * DAY)

    assert standing(health) == ("opted_out", "opted_out")
    assert [kind for _, kind in health.outcomes()] == ["returned"]
    assert touches(health) == {("cancelled", "opted_out")}


def test_told_twice_and_out_of_order_an_outcome_is_counted_once(health: Lakeside, number: str) -> None:
    for _ in range(2):
        health.tell(number, NOW + 10 * DAY, FULFILLED, NOW + 11 * DAY)
        health.tell(number, NOW + 10 * DAY, BOOKED, LATER)

    assert [kind for _, kind in health.outcomes()] == ["returned"]
    assert len(health.rows(outbox, type="patient.reactivated")) == 1


def test_a_visit_from_before_the_enrolment_is_no_return(health: Lakeside, number: str) -> None:
    health.tell(number, NOW - 2 * DAY, FULFILLED, LATER)

    assert health.outcomes() == []


def test_a_booking_made_before_the_enrolment_is_no_rebooking(health: Lakeside, number: str) -> None:
    health.tell(number, NOW + 20 * DAY, BOOKED, NOW - DAY)

    assert health.outcomes() == []
    assert touches(health) == {("cancelled", "booked")}


def test_a_death_ends_the_enrolment_and_all_that_was_planned(health: Lakeside, number: str) -> None:
    take(health.engine, health.vault, news_of(health.organisation, number, LATER, deceased=True), now=LATER)

    assert standing(health) == ("ineligible", "deceased")
    assert touches(health) == {("cancelled", "deceased")}
