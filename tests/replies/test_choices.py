"""Opting out and in: what is stopped, what is lifted, and that doing it twice changes nothing."""

from __future__ import annotations

from datetime import timedelta

from household import NOW, Household, add, count, row, rows
from sqlalchemy import Engine

from domain.ledger import choices
from domain.ledger.choices import choice_event, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.outbox import outbox
from domain.ledger.patients import contact_point
from domain.ledger.touches import touch


def _opt_out(ledger: Engine, household: Household, point: int, source: str = "reply") -> None:
    with ledger.begin() as conn:
        choices.opt_out(
            conn, organisation_id=household.organisation, contact_point_id=point, source=source, at=NOW, now=NOW
        )


def _opt_in(ledger: Engine, household: Household, point: int) -> None:
    with ledger.begin() as conn:
        choices.opt_in(
            conn,
            organisation_id=household.organisation,
            contact_point_id=point,
            source="reply",
            at=NOW + timedelta(hours=1),
            now=NOW + timedelta(hours=1),
        )


def _in_force(ledger: Engine) -> set[tuple[int | None, int | None]]:
    return {(each["contact_point_id"], each["patient_id"]) for each in rows(ledger, suppression, lifted_at=None)}


def test_an_opt_out_stops_the_number_and_everyone_who_shares_it(ledger: Engine, household: Household) -> None:
    _opt_out(ledger, household, household.phone)

    assert _in_force(ledger) == {(household.phone, None), (None, household.jane), (None, household.john)}
    assert [row(ledger, enrolment, each)["state"] for each in household.enrolments] == ["opted_out", "opted_out"]
    assert [row(ledger, touch, each)["state"] for each in household.touches] == ["cancelled", "cancelled"]
    assert [row(ledger, touch, each)["reason"] for each in household.touches] == ["opted_out", "opted_out"]


def test_an_opt_out_is_told_outside_once_per_patient_without_a_number(ledger: Engine, household: Household) -> None:
    _opt_out(ledger, household, household.phone)
    _opt_out(ledger, household, household.phone)

    told = rows(ledger, outbox, type="patient.opted_out")
    assert [each["data"]["patient"] for each in told] == ["PTEST0", "PTEST1"]
    assert "303555" not in str(told)


def test_a_second_opt_out_writes_no_second_history(ledger: Engine, household: Household) -> None:
    _opt_out(ledger, household, household.phone)
    before = count(ledger, choice_event), count(ledger, suppression)

    _opt_out(ledger, household, household.phone, source="one_click")

    assert before == (3, 3)
    assert (count(ledger, choice_event), count(ledger, suppression)) == before


def test_opting_in_lifts_what_the_opt_out_wrote_and_keeps_its_history(ledger: Engine, household: Household) -> None:
    _opt_out(ledger, household, household.phone)

    _opt_in(ledger, household, household.phone)

    assert _in_force(ledger) == set()
    assert [each["kind"] for each in rows(ledger, choice_event)] == ["suppressed"] * 3 + ["restored"] * 3
    assert {each["lifted_at"] for each in rows(ledger, suppression)} == {NOW + timedelta(hours=1)}
    # she may be enrolled again; the enrolment she ended stays ended
    assert row(ledger, enrolment, household.enrolments[0])["state"] == "opted_out"


def test_opting_in_by_phone_leaves_who_also_opted_out_by_mail_suppressed(ledger: Engine, household: Household) -> None:
    _opt_out(ledger, household, household.phone)
    _opt_out(ledger, household, household.email)

    _opt_in(ledger, household, household.phone)

    assert _in_force(ledger) == {(household.email, None), (None, household.jane)}


def test_opting_in_lifts_no_suppression_made_for_another_reason(ledger: Engine, household: Household) -> None:
    with ledger.begin() as conn:
        add(
            conn,
            suppression,
            organisation_id=household.organisation,
            patient_id=household.jane,
            reason="do_not_contact",
            since=NOW,
        )
    _opt_out(ledger, household, household.phone)

    _opt_in(ledger, household, household.phone)

    assert _in_force(ledger) == {(None, household.jane)}


def test_opting_in_without_an_opt_out_writes_nothing(ledger: Engine, household: Household) -> None:
    _opt_in(ledger, household, household.phone)

    assert count(ledger, choice_event) == 0


def test_opting_out_again_after_opting_in_counts_again(ledger: Engine, household: Household) -> None:
    _opt_out(ledger, household, household.phone)
    _opt_in(ledger, household, household.phone)

    _opt_out(ledger, household, household.phone)

    assert (household.phone, None) in _in_force(ledger)
    assert count(ledger, choice_event) == 9


def test_a_bad_address_is_marked_once_and_suppresses_nobody(ledger: Engine, household: Household) -> None:
    for _ in range(2):
        with ledger.begin() as conn:
            choices.mark_bad(conn, household.phone, "provider", NOW)

    assert row(ledger, contact_point, household.phone)["quality"] == "bad"
    assert [each["kind"] for each in rows(ledger, choice_event)] == ["bad_address"]
    assert _in_force(ledger) == set()
