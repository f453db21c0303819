"""Confidential communication: whom asked for one place is reached there and nowhere else, whatever else is known."""

from __future__ import annotations

from datetime import datetime, timedelta

from household import EMAIL, NOW, STRANGER, Household, meet, row, rows, words_for_mail
from rulebooks import STANDARD
from sqlalchemy import Engine, update

from domain.ledger import confidential, merging, patient_choices, patients
from domain.ledger.audit_stops import confidential_ignored
from domain.ledger.choice_history import DO_NOT_CONTACT, Note, choice_event
from domain.ledger.claim_recheck import still_suppressed
from domain.ledger.claimed import Claim
from domain.ledger.claims import claim
from domain.ledger.contacts import Told, link, point_of
from domain.ledger.patients import contact_point, patient_contact
from domain.ledger.reach import reachable_channels
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.news import Contact
from domain.rules.vocabulary import ContactSystem

HOUR = timedelta(hours=1)
NOTE = Note("Maya Ortiz", b"sealed")
SYSTEMS = {"sms": "phone", "email": "email"}


def _ask(ledger: Engine, patient: int, *points: int, at: datetime = NOW) -> bool:
    with ledger.begin() as conn:
        return confidential.ask(conn, patient, points, NOTE, at, max(at, NOW))


def _claim(ledger: Engine, household: Household, now: datetime = NOW + HOUR) -> Claim:
    with ledger.begin() as conn:
        return claim(conn, household.touches, channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=now)


def _other_phone(ledger: Engine, vault: Vault, household: Household) -> int:
    with ledger.begin() as conn:
        return meet(conn, vault, household.organisation, "phone", STRANGER)


def test_only_the_number_asked_for_is_called(ledger: Engine, vault: Vault, household: Household) -> None:
    number = _other_phone(ledger, vault, household)

    _ask(ledger, household.jane, number)
    claimed = {each.patient_id: each.contact_point_id for each in _claim(ledger, household).claimed}

    assert claimed == {household.jane: number, household.john: household.phone}


def test_who_asked_for_mail_alone_is_moved_to_it(ledger: Engine, household: Household) -> None:
    words_for_mail(ledger, household)
    _ask(ledger, household.jane, household.email)

    moved = _claim(ledger, household).rerouted

    assert moved == [(household.touches[0], "email", None)]
    with ledger.connect() as conn:
        assert reachable_channels(conn, [household.jane, household.john], SYSTEMS) == {
            household.jane: ["email"],
            household.john: ["sms"],
        }


def test_a_number_asked_for_that_does_not_work_leaves_nothing_else_to_use(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    number = _other_phone(ledger, vault, household)
    _ask(ledger, household.jane, number)
    with ledger.begin() as conn:
        conn.execute(update(contact_point).where(contact_point.c.id == number).values(quality="bad"))

    _claim(ledger, household)

    ended = row(ledger, touch, household.touches[0])
    assert (ended["state"], ended["reason"]) == ("suppressed", "unreachable")


def test_what_was_asked_for_later_counts_in_whatever_order_it_is_told(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    number = _other_phone(ledger, vault, household)

    later = _ask(ledger, household.jane, number, at=NOW + HOUR)
    earlier = _ask(ledger, household.jane, household.email, at=NOW)

    assert (later, earlier) == (True, False)
    with ledger.connect() as conn:
        assert reachable_channels(conn, [household.jane], SYSTEMS) == {household.jane: ["sms"]}
        assert confidential_ignored(conn).count == 0
    assert [each["kind"] for each in rows(ledger, choice_event)] == [
        "confidential",
        "confidential",
        "confidential_end",
    ]


def test_taking_it_back_opens_what_was_closed(ledger: Engine, household: Household) -> None:
    _ask(ledger, household.jane, household.email)

    _ask(ledger, household.jane, at=NOW + HOUR)

    with ledger.connect() as conn:
        assert reachable_channels(conn, [household.jane], SYSTEMS) == {household.jane: ["email", "sms"]}


def test_an_import_that_lists_other_numbers_leaves_the_one_asked_for(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    number = _other_phone(ledger, vault, household)
    _ask(ledger, household.jane, number)

    listed = point_of(vault, household.organisation, Contact(ContactSystem.EMAIL, EMAIL))
    with ledger.begin() as conn:
        link(conn, vault, [Told(household.jane, (listed,), is_whole=True)], NOW)

    links = {each["contact_point_id"]: each["confidential_since"] for each in rows(ledger, patient_contact)}
    assert links[number] == NOW
    with ledger.connect() as conn:
        assert reachable_channels(conn, [household.jane], SYSTEMS) == {household.jane: ["sms"]}


def test_a_merge_carries_it_over(ledger: Engine, vault: Vault, household: Household) -> None:
    number = _other_phone(ledger, vault, household)
    _ask(ledger, household.john, number)

    with ledger.begin() as conn:
        patients.lock(conn, [household.jane, household.john])
        merging.merge(conn, household.john, household.jane, NOW + HOUR)

    claimed = [each.contact_point_id for each in _claim(ledger, household).claimed]
    assert claimed == [number]
    assert [each["source"] for each in rows(ledger, choice_event, patient_id=household.jane)] == ["merge"]


def test_a_call_claimed_before_it_was_asked_for_is_not_made_any_more(ledger: Engine, household: Household) -> None:
    claimed = _claim(ledger, household).claimed

    _ask(ledger, claimed[0].patient_id or 0, household.email, at=NOW + 2 * HOUR)

    with ledger.connect() as conn:
        assert still_suppressed(conn, claimed) == {claimed[0].touch_id}


def test_nobody_who_is_not_to_be_contacted_comes_back_by_a_start(ledger: Engine, household: Household) -> None:
    with ledger.begin() as conn:
        did = patient_choices.stop(conn, household.jane, DO_NOT_CONTACT, NOTE, NOW, NOW)
        patient_choices.go_on(conn, household.jane, "opt_out", NOTE, NOW + HOUR, NOW + HOUR)

    refused = {row(ledger, touch, each)["reason"] for each in household.touches}
    assert did
    assert refused == {"opted_out", None}
    with ledger.connect() as conn:
        assert reachable_channels(conn, [household.jane], SYSTEMS) == {}


def test_taking_a_do_not_contact_back_frees_the_patient_unless_it_was_said_before(
    ledger: Engine, household: Household
) -> None:
    with ledger.begin() as conn:
        patient_choices.stop(conn, household.jane, DO_NOT_CONTACT, NOTE, NOW, NOW)
        too_early = patient_choices.go_on(conn, household.jane, DO_NOT_CONTACT, NOTE, NOW - HOUR, NOW)
        in_time = patient_choices.go_on(conn, household.jane, DO_NOT_CONTACT, NOTE, NOW + HOUR, NOW + HOUR)
        again = patient_choices.stop(conn, household.jane, DO_NOT_CONTACT, NOTE, NOW, NOW + HOUR)

    assert (too_early, in_time, again) == (False, True, False)
