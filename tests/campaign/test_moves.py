"""A newer version takes over who is enrolled only when told to: from their next step, and no step twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from lakeside import NOW
from rulebooks import STANDARD
from sqlalchemy import select, update
from welcome_back import EXAMPLE, REVIEWERS, SYSTEMS, Lakeside

from domain.ledger.campaigns import Running, campaign, campaign_event
from domain.ledger.enrolments import enrolment
from domain.ledger.explain import explain
from domain.ledger.moving import Moves
from domain.ledger.patients import patient
from domain.ledger.store import reading
from domain.ledger.touches import touch
from domain.rules.vocabulary import AppointmentStatus
from producers.campaigns import move_enrolments, start_campaign

DAY = timedelta(days=1)
LATER = NOW + 12 * DAY


@pytest.fixture
def quicker(tmp_path: Path) -> Path:
    """The example with another cadence."""
    path = tmp_path / "quicker.yaml"
    path.write_text(EXAMPLE.read_text().replace("[0, 10, 30, 90, 180]", "[0, 7, 21, 40]"))
    return path


def newer(health: Lakeside, path: Path, now: datetime = LATER) -> Running:
    return start_campaign(health.engine, path, None, STANDARD, now, REVIEWERS)[0]


def move(health: Lakeside, path: Path, now: datetime = LATER) -> Moves:
    return move_enrolments(health.engine, newer(health, path, now), SYSTEMS, STANDARD, "Maya Ortiz", now)


def sent(health: Lakeside, *steps: int) -> None:
    """These steps went out when they were due."""
    with health.engine.begin() as conn:
        conn.execute(update(touch).where(touch.c.step.in_(steps)).values(state="accepted", accepted_at=touch.c.due_at))


def enrolled(health: Lakeside, count: int = 1, *, mail: bool = True) -> list[str]:
    numbers = health.lapsed(count, mail=mail)
    health.enrol()
    return numbers


def planned(health: Lakeside) -> list[tuple[int, str, int]]:
    """Step, channel and days since the enrolment of what is planned."""
    return [
        (each["step"], each["channel"], (each["due_at"] - NOW).days)
        for each in sorted(health.rows(touch, state="planned"), key=lambda each: each["due_at"])
    ]


def test_without_being_told_everybody_stays_with_their_version(health: Lakeside, quicker: Path) -> None:
    enrolled(health)
    before = health.rows(touch)

    newer(health, quicker)

    assert health.rows(touch) == before
    assert health.only(enrolment)["campaign_id"] == health.rows(campaign)[0]["id"]


def test_who_is_moved_gets_the_next_step_of_the_new_version_and_none_twice(health: Lakeside, quicker: Path) -> None:
    enrolled(health)
    sent(health, 0, 1)

    done = move(health, quicker)

    assert done == Moves(moved=1)
    assert planned(health) == [(2, "sms", 24), (3, "email", 43)]
    assert {(each["step"], each["state"]) for each in health.rows(touch, state="accepted")} == {
        (0, "accepted"),
        (1, "accepted"),
    }
    assert [(each["step"], each["reason"]) for each in health.rows(touch, state="cancelled")] == [(4, "superseded")]
    row = health.only(enrolment)
    assert row["campaign_id"] == health.rows(campaign)[1]["id"]
    assert row["review_at"] > NOW + 43 * DAY


def test_who_got_nothing_yet_begins_at_the_first_step(health: Lakeside, quicker: Path) -> None:
    enrolled(health)

    move(health, quicker, NOW)

    assert planned(health) == [(0, "sms", 0), (1, "email", 7), (2, "sms", 21), (3, "email", 40)]


def test_a_step_whose_day_has_passed_is_due_now_and_the_others_keep_their_distance(
    health: Lakeside, quicker: Path
) -> None:
    enrolled(health)
    sent(health, 0)

    move(health, quicker, NOW + 20 * DAY)

    assert [(step, days) for step, _, days in planned(health)] == [(1, 20), (2, 34), (3, 53)]
    assert all(each["due_at"] >= NOW + 20 * DAY for each in health.rows(touch, state="planned"))


def test_moving_again_changes_nothing(health: Lakeside, quicker: Path) -> None:
    enrolled(health, 3)
    sent(health, 0)
    move(health, quicker)
    before = health.rows(touch)

    again = move(health, quicker, LATER + DAY)

    assert again == Moves()
    assert health.rows(touch) == before
    assert [(each["what"], each["who"], each["enrolments"]) for each in health.rows(campaign_event)] == [
        ("moved", "Maya Ortiz", 3)
    ]


def test_both_arms_move_and_nothing_is_planned_for_the_holdout(health: Lakeside, quicker: Path) -> None:
    health.lapsed(20)
    arms = health.enrol()

    done = move(health, quicker)

    assert arms["holdout"] > 0
    assert done.moved == 20
    of_holdout = {each["id"] for each in health.rows(enrolment, arm="holdout")}
    assert not [each for each in health.rows(touch) if each["enrolment_id"] in of_holdout]


def test_who_is_past_the_new_cadence_or_gets_reminders_stays(health: Lakeside, quicker: Path) -> None:
    enrolled(health, 2)
    sent(health, 0, 1, 2, 3)
    with health.engine.begin() as conn:
        first = health.rows(enrolment)[0]["id"]
        conn.execute(update(enrolment).where(enrolment.c.id == first).values(state="graduated"))
    before = health.rows(touch)

    done = move(health, quicker, NOW + 100 * DAY)

    assert (done.moved, done.stayed) == (0, {"graduated": 1, "past_the_cadence": 1})
    assert health.rows(touch) == before


def test_who_is_outside_the_new_audience_or_out_of_its_reach_stays(health: Lakeside, tmp_path: Path) -> None:
    enrolled(health, mail=False)
    by_mail, dental = tmp_path / "mail.yaml", tmp_path / "dental.yaml"
    by_mail.write_text(EXAMPLE.read_text().replace("channels: [sms, email]", "channels: [email]"))
    dental.write_text(EXAMPLE.read_text().replace("[primary_care, dental, chronic_care]", "[dental]"))

    assert move(health, by_mail).stayed == {"unreachable": 1}
    assert move(health, dental).stayed == {"not_in_audience": 1}


def test_who_has_an_appointment_ahead_is_moved_and_goes_on_by_the_new_plan_when_it_is_lost(
    health: Lakeside, quicker: Path
) -> None:
    (number,) = enrolled(health)
    sent(health, 0)
    health.tell(number, LATER + 5 * DAY, AppointmentStatus.BOOKED, NOW + DAY)

    move(health, quicker)
    held = planned(health)
    health.tell(number, LATER + 5 * DAY, AppointmentStatus.CANCELLED, LATER + DAY)

    assert held == []
    assert [(step, days) for step, _, days in planned(health)] == [(1, 12), (2, 26), (3, 45)]


def test_a_reminder_after_a_move_to_a_shorter_cadence_takes_a_step_of_its_own(health: Lakeside, quicker: Path) -> None:
    enrolled(health)
    sent(health, 0, 1)
    move(health, quicker)
    sent(health, 2, 3)
    over = NOW + 120 * DAY

    health.review(over)

    (reminder,) = health.rows(touch, kind="reminder")
    assert reminder["step"] == 5


def test_a_move_is_told_in_the_patients_timeline(health: Lakeside, quicker: Path) -> None:
    enrolled(health)
    sent(health, 0)
    move(health, quicker)

    with reading(health.engine) as conn:
        ref = conn.scalars(select(patient.c.ref)).one()
        lines = list(explain(conn, ref, LATER).lines())

    assert any("cancelled: a newer version of the campaign took over" in line for line in lines)
    assert any("planned again: the patient was moved to a newer version" in line for line in lines)
    assert any("campaign welcome-back: moved by a person" in line for line in lines)
