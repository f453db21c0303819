"""A review, or an enrolment, that meets another transaction writes nothing over what that one decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from interleaving import behind, unhurried
from lakeside import NOW, visit_of
from rulebooks import STANDARD
from sqlalchemy import Connection, Engine, select, update
from waiting import DEADLINE
from welcome_back import SYSTEMS, Lakeside

from domain.ledger import choices, enrolling, intake, reviews
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.patients import contact_point, patient
from domain.ledger.touches import touch
from domain.rules.vocabulary import AppointmentStatus

DAY = timedelta(days=1)
REVIEW = NOW + 210 * DAY

Happening = Callable[[Connection, Lakeside, str], None]


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Engine]:
    """PostgreSQL only: on SQLite one writer at a time is all there is."""
    with unhurried(postgres_url) as engine:
        yield engine


@pytest.fixture
def number(health: Lakeside) -> str:
    """The record number of an enrolled patient of the treatment arm, all of whose touches went unanswered."""
    (number,) = health.lapsed()
    health.enrol()
    with health.engine.begin() as conn:
        conn.execute(update(touch).values(state="accepted", accepted_at=touch.c.due_at))
    return number


def opts_out(conn: Connection, health: Lakeside, _number: str) -> None:
    choices.opt_out(
        conn,
        organisation_id=health.organisation,
        contact_point_id=health.only(contact_point)["id"],
        source="reply",
        at=REVIEW,
        now=REVIEW,
    )


def returns(conn: Connection, health: Lakeside, number: str) -> None:
    visit = visit_of(health.organisation, number, REVIEW - DAY, AppointmentStatus.FULFILLED, told_at=REVIEW)
    intake.take_appointments(conn, health.vault, [visit], REVIEW)


def is_reviewed(conn: Connection, _health: Lakeside, _number: str) -> None:
    assert reviews.review(conn, SYSTEMS, STANDARD, REVIEW) == 1


@pytest.mark.parametrize(
    ("happens", "ends_as"),
    [(opts_out, ("opted_out", "opted_out")), (returns, ("reactivated", "returned"))],
)
@pytest.mark.parametrize("station", ["waiting", "graduated", "unreachable"])
def test_an_enrolment_that_is_being_ended_is_left_alone_by_its_review_and_stays_ended(
    ledger: Engine, health: Lakeside, number: str, happens: Happening, ends_as: tuple[str, str], station: str
) -> None:
    with ledger.begin() as conn:
        if station == "graduated":
            conn.execute(update(enrolment).values(state="graduated"))
        if station == "unreachable":
            conn.execute(update(contact_point).values(quality="bad"))

    with ledger.begin() as first:
        happens(first, health, number)
        meanwhile = health.review(REVIEW)
    afterwards = health.review(REVIEW)

    found = health.only(enrolment)
    assert (meanwhile, afterwards) == (0, 0)
    assert (found["state"], found["reason"]) == ends_as
    assert found["review_at"] is None
    assert health.rows(touch, state="planned") == []


def test_what_a_review_planned_while_a_stop_waited_is_taken_back(ledger: Engine, health: Lakeside, number: str) -> None:
    def stop() -> None:
        with ledger.begin() as conn:
            opts_out(conn, health, number)

    with ledger.begin() as first:
        is_reviewed(first, health, number)
        with behind(ledger, first, stop) as stopping:
            first.commit()
            stopping.result(timeout=DEADLINE)

    assert health.only(enrolment)["state"] == "opted_out"
    assert health.only(touch, kind="reminder")["state"] == "cancelled"


def test_two_reviews_at_once_plan_one_reminder(ledger: Engine, health: Lakeside, number: str) -> None:
    with ledger.begin() as first:
        is_reviewed(first, health, number)
        meanwhile = health.review(REVIEW)

    assert meanwhile == 0
    assert len(health.rows(touch, kind="reminder")) == 1


def test_a_patient_whom_somebody_holds_keeps_nobody_elses_review_waiting(
    ledger: Engine, health: Lakeside, number: str
) -> None:
    health.lapsed()
    health.enrol()
    with ledger.begin() as conn:
        conn.execute(update(touch).values(state="accepted", accepted_at=touch.c.due_at))

    with ledger.begin() as first:
        first.execute(select(patient.c.id).order_by(patient.c.id).limit(1).with_for_update())
        meanwhile = health.review(REVIEW)
    afterwards = health.review(REVIEW)

    assert (meanwhile, afterwards) == (1, 1)


def test_an_opt_out_committed_while_an_enrolment_waited_leaves_nobody_enrolled(
    ledger: Engine, health: Lakeside
) -> None:
    health.lapsed()
    (found,) = health.notice()

    def enrol() -> dict[str, int]:
        with ledger.begin() as conn:
            return dict(enrolling.enrol_lapses(conn, [found], SYSTEMS, STANDARD, NOW))

    with ledger.begin() as first:
        opts_out(first, health, "")
        with behind(ledger, first, enrol) as enrolling_late:
            first.commit()
            counts = enrolling_late.result(timeout=DEADLINE)

    assert counts == {"unreachable": 1}
    assert health.rows(enrolment) == health.rows(touch) == []
    assert health.only(lapse)["declined"] == "unreachable"


def test_an_enrolment_made_while_a_stop_waited_is_ended_by_it(ledger: Engine, health: Lakeside) -> None:
    health.lapsed()
    (found,) = health.notice()

    def stop() -> None:
        with ledger.begin() as conn:
            opts_out(conn, health, "")

    with ledger.begin() as first:
        enrolling.enrol_lapses(first, [found], SYSTEMS, STANDARD, NOW)
        with behind(ledger, first, stop) as stopping:
            first.commit()
            stopping.result(timeout=DEADLINE)

    assert health.only(enrolment)["state"] == "opted_out"
    assert {each["state"] for each in health.rows(touch)} == {"cancelled"}
