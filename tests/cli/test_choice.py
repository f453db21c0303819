"""Choices told to staff: what the commands write down, and what they say to a mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from household import EMAIL, PHONE, STRANGER, Household, rows, settle_in
from sqlalchemy import Engine

from domain.ledger.choice_history import WHY, choice_event, suppression
from domain.ledger.consents import consent
from domain.ledger.patients import patient_contact
from tests.measuring.books import VAULT

Run = Callable[..., Result]

NOTED = ("--by", "Maya Ortiz", "--why", "called, ticket 17")
#: None of these may be seen.
SECRETS = ("0101", "0199", "jane.doe")


@pytest.fixture
def family(home: Path, ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Household:
    """Jane and John, who share a phone, in the ledger the command writes to: once on each store."""
    monkeypatch.setenv("REACTIVATE_DATABASE_URL", ledger_url)
    return settle_in(ledger, VAULT)


def said(result: Result, code: int = 0) -> str:
    """All that a command said; it showed no number and no address."""
    assert result.exit_code == code, result.output
    assert not [secret for secret in SECRETS if secret in result.output]
    return result.output.strip()


def test_an_opt_out_told_to_staff_stops_the_patient_and_keeps_who_wrote_it_down_and_why(
    run: Run, ledger: Engine, family: Household
) -> None:
    assert said(run("choice", "opt-out", "PTEST0", *NOTED, "--at", "2026-03-04T17:00Z")) == "opted out"

    (stop,) = rows(ledger, suppression)
    (told,) = rows(ledger, choice_event)
    assert (stop["patient_id"], stop["reason"], stop["since"].isoformat()) == (
        family.jane,
        "opt_out",
        "2026-03-04T17:00:00+00:00",
    )
    assert (told["source"], told["noted_by"]) == ("staff", "Maya Ortiz")
    assert VAULT.open(told["why"], WHY) == "called, ticket 17"


def test_an_opt_out_at_a_number_stops_all_who_share_it_and_an_opt_in_there_frees_them(
    run: Run, ledger: Engine, family: Household
) -> None:
    out = run("choice", "opt-out", "--phone", "-", *NOTED, "--at", "2026-03-04T17:00Z", stdin=PHONE)
    stopped = {(each["contact_point_id"], each["patient_id"]) for each in rows(ledger, suppression, lifted_at=None)}
    back = run("choice", "opt-in", "--phone", PHONE, *NOTED)

    assert (said(out), said(back)) == ("opted out", "opted in")
    assert stopped == {(family.phone, None), (None, family.jane), (None, family.john)}
    assert rows(ledger, suppression, lifted_at=None) == []


def test_a_patient_who_is_out_at_a_number_is_told_to_come_back_there(run: Run, family: Household) -> None:
    run("choice", "opt-out", "--email", EMAIL, *NOTED)

    assert said(run("choice", "opt-in", "PTEST0", *NOTED), 1).startswith("reactivate: still opted out")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("do-not-contact", "PTEST0", "--lift"), "nothing to lift: no do-not-contact of PTEST0 is in force"),
        (("confidential", "PTEST0", "--lift"), "nothing to lift: PTEST0 did not ask to be reached at one place only"),
        (("opt-in", "PTEST0"), "no opt-out was in force that it could take back"),
        (("opt-in", "--phone", PHONE), "no opt-out was in force that it could take back"),
    ],
)
def test_lifting_what_is_not_there_says_so_and_ends_with_one(
    run: Run, family: Household, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in said(run("choice", *words, *NOTED), 1)


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (
            ("do-not-contact", "PTEST0"),
            ("do-not-contact", "PTEST0", "--lift", "--at", "2026-03-04T17:00Z"),
            "PTEST0 may still not be contacted: that was said later",
        ),
        (
            ("confidential", "PTEST0", "--phone", STRANGER),
            ("confidential", "PTEST0", "--lift", "--at", "2026-03-04T17:00Z"),
            "the patient asked for something else later",
        ),
        (
            ("opt-in", "PTEST0"),
            ("opt-out", "PTEST0", "--at", "2026-03-04T17:00Z"),
            "it was taken back later, by an opt-in that stays in force",
        ),
        (
            ("opt-in", "--phone", PHONE, "--channel", "sms"),
            ("opt-out", "--phone", PHONE, "--channel", "sms", "--at", "2026-03-04T17:00Z"),
            "another choice about sms was made later",
        ),
    ],
)
def test_what_was_overtaken_is_said_to_change_nothing_and_ends_with_one(
    run: Run, family: Household, first: tuple[str, ...], second: tuple[str, ...], sentence: str
) -> None:
    run("choice", *first, *NOTED)

    assert sentence in said(run("choice", *second, *NOTED), 1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("opt-out", "PTEST0"), "kept on record: the opt-out was in force already"),
        (("opt-out", "--phone", PHONE), "kept on record: the opt-out was in force already"),
        (("do-not-contact", "PTEST0"), "kept on record: PTEST0 was not to be contacted already"),
    ],
)
def test_stopping_again_who_is_stopped_is_done_already(
    run: Run, family: Household, words: tuple[str, ...], sentence: str
) -> None:
    run("choice", *words, *NOTED)

    assert said(run("choice", *words, *NOTED)) == sentence


def test_a_choice_about_one_channel_is_kept_as_consent_for_its_purpose(
    run: Run, ledger: Engine, family: Household
) -> None:
    run("choice", "opt-out", "PTEST0", "--channel", "sms", *NOTED)
    run("choice", "opt-in", "--phone", PHONE, "--channel", "sms", "--purpose", "surveys", *NOTED)

    kept = {(each["channel"], each["purpose"], each["status"]) for each in rows(ledger, consent)}
    assert kept == {("sms", "outreach", "revoked"), ("sms", "surveys", "granted")}
    assert rows(ledger, suppression) == []


def test_do_not_contact_outlasts_an_opt_in_until_it_is_lifted(run: Run, ledger: Engine, family: Household) -> None:
    stop = run("choice", "do-not-contact", "PTEST0", *NOTED, "--at", "2026-03-04T17:00Z")
    run("choice", "opt-in", "--phone", PHONE, *NOTED)
    still = [each["reason"] for each in rows(ledger, suppression, lifted_at=None)]
    lift = run("choice", "do-not-contact", "PTEST0", "--lift", *NOTED)

    assert said(stop) == "PTEST0 is not contacted any more"
    assert still == ["do_not_contact"]
    assert said(lift) == "PTEST0 may be contacted"
    assert rows(ledger, suppression, lifted_at=None) == []


def test_a_patient_may_ask_for_one_number_and_take_it_back(run: Run, ledger: Engine, family: Household) -> None:
    first = run("choice", "confidential", "PTEST0", "--phone", STRANGER, *NOTED, "--at", "2026-03-04T17:00Z")
    asked = [each for each in rows(ledger, patient_contact) if each["confidential_since"] is not None]
    back = run("choice", "confidential", "PTEST0", "--lift", *NOTED)

    assert said(first) == "PTEST0 is reached there and nowhere else"
    assert [each["patient_id"] for each in asked] == [family.jane]
    assert said(back) == "PTEST0 is reached wherever they can be reached"
    assert {each["confidential_since"] for each in rows(ledger, patient_contact)} == {None}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("opt-out", *NOTED), "give one of PATIENT, --phone and --email"),
        (("opt-out", "PTEST0", "--phone", PHONE, *NOTED), "give one of PATIENT, --phone and --email"),
        (("opt-out", "PTEST0", "--purpose", "surveys", *NOTED), "--purpose goes with --channel"),
        (("opt-out", "PTEST0", "--channel", "fax", *NOTED), "--channel: there is none of this name"),
        (("opt-out", "PTEST0", *NOTED, "--at", "2026-03-04"), "--at: expected an instant with an offset"),
        (("opt-out", "PTEST0", *NOTED, "--at", "2999-03-04T17:00Z"), "--at: expected an instant that has passed"),
        (("opt-out", "PTEST0", "--by", "Maya", "--why", " "), "--why: expected 1 to"),
        (("opt-out", "--phone", PHONE, "--organisation", "elsewhere", *NOTED), "--organisation: none has this key"),
        (("confidential", "PTEST0", *NOTED), "give --phone, --email or both, or --lift alone"),
        (("confidential", "PTEST0", "--lift", "--phone", PHONE, *NOTED), "or --lift alone"),
        (("do-not-contact", *NOTED), "name the PATIENT"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_changes_nothing(
    run: Run, ledger: Engine, family: Household, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in said(run("choice", *words), 2)

    assert rows(ledger, choice_event) == []


def test_nobody_behind_the_reference_ends_with_one(run: Run, family: Household) -> None:
    assert "no patient has this reference" in said(run("choice", "opt-out", "PNOBODY", *NOTED), 1)
