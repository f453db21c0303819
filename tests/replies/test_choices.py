"""Opting out and in: what is stopped, what is lifted, and that the choice made last counts, in whatever order told."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from household import NOW, Household, add, count, row, rows
from sqlalchemy import Engine, select

from domain.ledger import choices
from domain.ledger.audit_books import suppression_disagrees
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.outbox import outbox
from domain.ledger.patients import contact_point
from domain.ledger.touches import touch

HOUR = timedelta(hours=1)


def _opt_out(
    ledger: Engine, household: Household, point: int, source: str = "staff", at: datetime = NOW, reason: str = "opt_out"
) -> bool:
    with ledger.begin() as conn:
        return choices.opt_out(
            conn,
            organisation_id=household.organisation,
            contact_point_id=point,
            source=source,
            at=at,
            now=max(at, NOW),
            reason=reason,
        )


def _opt_in(ledger: Engine, household: Household, point: int, at: datetime = NOW + HOUR) -> bool:
    with ledger.begin() as conn:
        return choices.opt_in(
            conn,
            organisation_id=household.organisation,
            contact_point_id=point,
            source="reply",
            at=at,
            now=max(at, NOW),
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


def test_an_opt_out_told_again_by_the_same_source_writes_no_second_history(
    ledger: Engine, household: Household
) -> None:
    for _ in range(2):
        _opt_out(ledger, household, household.phone)

    assert (count(ledger, choice_event), count(ledger, suppression)) == (3, 3)


def test_an_opt_out_made_again_while_it_is_in_force_is_kept_as_history(ledger: Engine, household: Household) -> None:
    first = _opt_out(ledger, household, household.phone)

    again = _opt_out(ledger, household, household.phone, at=NOW + HOUR)

    assert (first, again) == (True, False)
    assert (count(ledger, choice_event), count(ledger, suppression)) == (6, 3)
    assert {each["since"] for each in rows(ledger, suppression)} == {NOW}


def test_an_opt_in_made_before_the_last_opt_out_lifts_nothing_however_late_it_comes(
    ledger: Engine, household: Household
) -> None:
    _opt_out(ledger, household, household.phone)
    _opt_out(ledger, household, household.phone, at=NOW + 2 * HOUR)

    lifts = _opt_in(ledger, household, household.phone, at=NOW + HOUR)

    assert not lifts
    assert _in_force(ledger) == {(household.phone, None), (None, household.jane), (None, household.john)}


def test_an_opt_out_made_before_the_opt_in_that_overtook_it_stops_nobody_and_is_kept(
    ledger: Engine, household: Household
) -> None:
    _opt_in(ledger, household, household.phone)

    stops = _opt_out(ledger, household, household.phone)

    assert not stops
    assert _in_force(ledger) == set()
    assert [each["kind"] for each in rows(ledger, choice_event)] == ["restored", "suppressed"]
    assert [row(ledger, enrolment, each)["state"] for each in household.enrolments] == ["waiting", "waiting"]
    assert rows(ledger, outbox) == []


def test_what_staff_decided_for_another_reason_is_overtaken_by_no_opt_in(ledger: Engine, household: Household) -> None:
    _opt_in(ledger, household, household.phone)

    assert _opt_out(ledger, household, household.phone, reason="do_not_contact")
    assert (household.phone, None) in _in_force(ledger)


def test_in_whatever_order_choices_come_the_one_made_last_counts_and_the_audit_agrees(
    ledger: Engine, household: Household
) -> None:
    seed = 20260304
    draws = random.Random(seed)  # noqa: S311 - a fixed sequence of cases
    everyone = {(household.phone, None), (None, household.jane), (None, household.john)}
    for case in range(60):
        made = [(draws.choice(("STOP", "START")), draws.randrange(4)) for _ in range(draws.randint(1, 5))]
        stops, starts = ([hour for word, hour in made if word == wanted] for wanted in ("STOP", "START"))
        is_out = bool(stops) and max(stops) >= max(starts, default=-1)
        with ledger.connect() as conn:
            for position, (word, hour) in enumerate(made):
                choose = choices.opt_out if word == "STOP" else choices.opt_in
                choose(
                    conn,
                    organisation_id=household.organisation,
                    contact_point_id=household.phone,
                    source="reply",
                    at=NOW + hour * HOUR,
                    now=NOW + 9 * HOUR + timedelta(minutes=position),
                )
            stopped = conn.execute(
                select(suppression.c.contact_point_id, suppression.c.patient_id).where(
                    suppression.c.lifted_at.is_(None)
                )
            )
            assert {tuple(each) for each in stopped} == (everyone if is_out else set()), (seed, case, made)
            assert suppression_disagrees(conn).count == 0, (seed, case, made)
            conn.rollback()


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


def test_opting_in_without_an_opt_out_lifts_nothing_and_is_remembered(ledger: Engine, household: Household) -> None:
    _opt_in(ledger, household, household.phone)

    (kept,) = rows(ledger, choice_event)
    assert (kept["kind"], kept["contact_point_id"], kept["at"]) == ("restored", household.phone, NOW + HOUR)
    assert count(ledger, suppression) == 0


def test_opting_out_again_after_opting_in_counts_again(ledger: Engine, household: Household) -> None:
    _opt_out(ledger, household, household.phone)
    _opt_in(ledger, household, household.phone)

    _opt_out(ledger, household, household.phone, at=NOW + 2 * HOUR)

    assert (household.phone, None) in _in_force(ledger)
    assert count(ledger, choice_event) == 9


def test_a_bad_address_is_marked_once_and_suppresses_nobody(ledger: Engine, household: Household) -> None:
    for _ in range(2):
        with ledger.begin() as conn:
            choices.mark_bad(conn, household.phone, "provider", NOW)

    assert row(ledger, contact_point, household.phone)["quality"] == "bad"
    assert [each["kind"] for each in rows(ledger, choice_event)] == ["bad_address"]
    assert _in_force(ledger) == set()
