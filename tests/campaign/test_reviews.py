"""Reviews: the end of a cadence, the light reminders after it, and the same stations for those left alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from lakeside import NOW
from sqlalchemy import update
from welcome_back import Lakeside

from domain.ledger.enrolments import enrolment
from domain.ledger.patients import contact_point
from domain.ledger.touches import touch
from domain.rules.vocabulary import AppointmentStatus

DAY = timedelta(days=1)
REVIEW = NOW + 210 * DAY


@pytest.fixture
def number(health: Lakeside) -> str:
    """The record number of an enrolled patient of the treatment arm, with phone and mail."""
    (number,) = health.lapsed(mail=True)
    health.enrol()
    return number


def settle_touches(health: Lakeside) -> None:
    with health.engine.begin() as conn:
        conn.execute(update(touch).values(state="accepted", accepted_at=touch.c.due_at))


def state(health: Lakeside) -> tuple[str, str | None]:
    found = health.only(enrolment)
    return found["state"], found["reason"]


def test_nobody_is_reviewed_before_the_time(health: Lakeside, number: str) -> None:
    assert health.review(REVIEW - timedelta(seconds=1)) == 0


def test_an_unanswered_cadence_graduates_to_a_reminder_four_months_later(health: Lakeside, number: str) -> None:
    settle_touches(health)

    assert health.review(REVIEW) == 1

    reminder = health.only(touch, kind="reminder")
    assert state(health) == ("graduated", None)
    assert (reminder["step"], reminder["channel"], reminder["priority"]) == (5, "email", 90)
    assert 120 * DAY <= reminder["due_at"] - REVIEW <= 124 * DAY
    assert health.only(enrolment)["review_at"] == reminder["expires_at"]


def test_after_the_third_reminder_the_enrolment_is_finished(health: Lakeside, number: str) -> None:
    seen = []

    for _ in range(4):
        settle_touches(health)
        health.review(health.only(enrolment)["review_at"])
        seen.append((state(health)[0], len(health.rows(touch, kind="reminder"))))

    assert seen == [("graduated", 1), ("graduated", 2), ("graduated", 3), ("finished", 3)]
    found = health.only(enrolment)
    assert (found["reason"], found["review_at"]) == ("cadence_over", None)


def test_those_left_alone_pass_the_same_stations_at_the_same_times_without_a_touch(
    health: Lakeside, number: str
) -> None:
    stations = {}
    for arm in ("treatment", "holdout"):
        with health.engine.begin() as conn:
            conn.execute(touch.delete().where(touch.c.kind == "reminder"))
            conn.execute(
                update(enrolment).values(state="waiting", reason=None, arm=arm, ended_at=None, review_at=REVIEW)
            )
        seen = stations[arm] = []
        while (due := health.only(enrolment)["review_at"]) is not None:
            settle_touches(health)
            health.review(due)
            seen.append((due, state(health)))

    assert stations["treatment"] == stations["holdout"]
    assert len(stations["holdout"]) == 4
    assert health.rows(touch, kind="reminder") == []


@pytest.mark.parametrize("still", ["planned", "sending", "uncertain"])
def test_a_touch_still_on_its_way_puts_the_review_off_for_a_week(health: Lakeside, number: str, still: str) -> None:
    settle_touches(health)
    last = health.rows(touch)[-1]["id"]
    with health.engine.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == last).values(state=still))

    health.review(REVIEW)

    assert state(health) == ("waiting", None)
    assert health.only(enrolment)["review_at"] == REVIEW + 7 * DAY


def test_an_appointment_ahead_puts_the_review_off_for_a_week(health: Lakeside, number: str) -> None:
    health.tell(number, REVIEW + 20 * DAY, AppointmentStatus.BOOKED, REVIEW - DAY)

    health.review(REVIEW)

    assert state(health) == ("waiting", None)
    assert health.only(enrolment)["review_at"] == REVIEW + 7 * DAY


def test_a_patient_no_channel_reaches_any_more_is_ineligible(health: Lakeside, number: str) -> None:
    settle_touches(health)
    with health.engine.begin() as conn:
        conn.execute(update(contact_point).values(quality="bad"))

    health.review(REVIEW)

    assert state(health) == ("ineligible", "unreachable")
    assert health.rows(touch, kind="reminder") == []


def test_an_ended_enrolment_is_never_reviewed(health: Lakeside, number: str) -> None:
    health.tell(number, NOW + DAY, AppointmentStatus.FULFILLED, NOW + 2 * DAY)

    assert health.review(REVIEW) == 0
