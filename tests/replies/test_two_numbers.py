"""Choices of one patient at two contact points, in whatever order they are told, and of records that were merged."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from household import NOW, STRANGER, Household, add, meet, row, rows, send
from sqlalchemy import Connection, Engine, delete, select, update

from domain.ledger import choices, merging, patients
from domain.ledger.audit_books import suppression_disagrees
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.claim_recheck import still_suppressed
from domain.ledger.claimed import Claimed
from domain.ledger.enrolments import enrolment
from domain.ledger.patients import patient_contact
from domain.ledger.touches import touch
from domain.ledger.vault import Vault

HOUR = timedelta(hours=1)
LATER = NOW + 9 * HOUR


def _choose(conn: Connection, household: Household, word: str, point: int, hour: int, now: datetime = LATER) -> None:
    choose = choices.opt_out if word == "STOP" else choices.opt_in
    choose(
        conn,
        organisation_id=household.organisation,
        contact_point_id=point,
        source="reply",
        at=NOW + hour * HOUR,
        now=now,
    )


def _stopped(conn: Connection) -> set[tuple[int | None, int | None]]:
    subjects = select(suppression.c.contact_point_id, suppression.c.patient_id)
    return {(each[0], each[1]) for each in conn.execute(subjects.where(suppression.c.lifted_at.is_(None)))}


def _merge(ledger: Engine, gone: int, survivor: int, now: datetime = NOW + HOUR) -> None:
    with ledger.begin() as conn:
        patients.lock(conn, [gone, survivor])
        merging.merge(conn, gone, survivor, now)


def test_whoever_has_two_numbers_is_free_once_neither_of_them_says_stop_last_in_whatever_order_that_is_told(
    ledger: Engine, household: Household
) -> None:
    seed = 20260305
    draws = random.Random(seed)  # noqa: S311 - a fixed sequence of cases
    owners = {household.phone: {household.jane, household.john}, household.email: {household.jane}}
    for case in range(250):
        made = [
            (draws.choice(("STOP", "START")), draws.choice(tuple(owners)), draws.randrange(6))
            for _ in range(draws.randint(2, 6))
        ]
        out = set()
        for point in owners:
            stops, starts = ([hour for each, at, hour in made if (each, at) == (w, point)] for w in ("STOP", "START"))
            if stops and max(stops) >= max(starts, default=-1):
                out.add(point)
        stopped_patients = {patient for point in out for patient in owners[point]}
        with ledger.connect() as conn:
            for position, (word, point, hour) in enumerate(made):
                _choose(conn, household, word, point, hour, LATER + timedelta(minutes=position))

            assert _stopped(conn) == {(point, None) for point in out} | {(None, each) for each in stopped_patients}, (
                seed,
                case,
                made,
            )
            assert suppression_disagrees(conn).count == 0, (seed, case, made)
            conn.rollback()


def test_a_stop_at_a_number_of_a_merged_record_stops_its_survivor(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    with ledger.begin() as conn:
        number = meet(conn, vault, household.organisation, "phone", STRANGER)
        add(conn, patient_contact, patient_id=household.john, contact_point_id=number)
    _merge(ledger, household.john, household.jane)

    with ledger.begin() as conn:
        _choose(conn, household, "STOP", number, 2)
        stopped = _stopped(conn)

    assert (None, household.jane) in stopped
    assert (number, None) in stopped


def test_a_late_opt_out_of_the_merged_record_outlasts_an_older_start_of_its_survivor(
    ledger: Engine, household: Household
) -> None:
    with ledger.begin() as conn:
        _choose(conn, household, "STOP", household.email, 0)
        add(
            conn,
            suppression,
            organisation_id=household.organisation,
            patient_id=household.john,
            reason="opt_out",
            since=NOW + 5 * HOUR,
        )
    _merge(ledger, household.john, household.jane)

    with ledger.begin() as conn:
        _choose(conn, household, "START", household.email, 3)
        stopped = _stopped(conn)

    assert (None, household.jane) in stopped


def test_what_the_merged_record_chose_for_another_reason_is_carried_over_with_its_reason(
    ledger: Engine, household: Household
) -> None:
    with ledger.begin() as conn:
        add(
            conn,
            suppression,
            organisation_id=household.organisation,
            patient_id=household.john,
            reason="do_not_contact",
            since=NOW,
        )
    _merge(ledger, household.john, household.jane)

    (carried,) = rows(ledger, suppression, patient_id=household.jane)
    (told,) = rows(ledger, choice_event, patient_id=household.jane)
    assert (carried["reason"], carried["since"]) == ("do_not_contact", NOW)
    assert (told["kind"], told["reason"], told["source"]) == ("suppressed", "do_not_contact", "merge")


def test_a_call_that_was_claimed_for_a_record_that_is_merged_by_now_is_not_made(
    ledger: Engine, household: Household
) -> None:
    send(ledger_conn := ledger.connect(), household, 1, state="sending")
    ledger_conn.commit()
    ledger_conn.close()
    _merge(ledger, household.john, household.jane)

    with ledger.connect() as conn:
        stopped = still_suppressed(conn, [_claimed(household)])

    assert stopped == {household.touches[1]}


def test_a_call_that_was_claimed_for_somebody_who_is_known_to_have_died_by_now_is_not_made(
    ledger: Engine, household: Household
) -> None:
    with ledger.begin() as conn:
        conn.execute(update(patients.patient).where(patients.patient.c.id == household.john).values(deceased_at=NOW))

    with ledger.connect() as conn:
        stopped = still_suppressed(conn, [_claimed(household)])

    assert stopped == {household.touches[1]}


def _claimed(household: Household) -> Claimed:
    return Claimed(
        touch_id=household.touches[1],
        token="t",
        kind="outreach",
        answer=None,
        channel="sms",
        provider="sms",
        organisation_id=household.organisation,
        patient_id=household.john,
        contact_point_id=household.phone,
        sealed_address=b"",
        template_id=None,
        language="en",
        organisation="Lakeside",
        organisation_phone="",
        postal_address="",
        site="north",
        valid_until=NOW + HOUR,
        due_at=NOW,
        dispatched_until=None,
        attempts=1,
    )


def test_whoever_turns_out_to_have_opted_out_under_another_record_leaves_the_campaign(
    ledger: Engine, household: Household
) -> None:
    with ledger.begin() as conn:
        conn.execute(delete(patient_contact).where(patient_contact.c.patient_id == household.jane))
        choices.opt_out(
            conn,
            organisation_id=household.organisation,
            contact_point_id=household.phone,
            source="reply",
            at=NOW,
            now=NOW,
        )

    _merge(ledger, household.john, household.jane)

    left = row(ledger, enrolment, household.enrolments[0])
    assert (left["state"], left["ended_at"]) == ("opted_out", NOW + HOUR)
    assert row(ledger, touch, household.touches[0])["state"] == "cancelled"
