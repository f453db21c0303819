"""`reactivate calls`: a person takes a call, sees its number on record, and tells how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from household import PHONE, Household, add, rows, settle_in
from sqlalchemy import Engine, update

from domain.ledger.attempts import attempt
from domain.ledger.campaigns import campaign_template
from domain.ledger.choice_history import suppression
from domain.ledger.disclosures import disclosure
from domain.ledger.enrolments import enrolment
from domain.ledger.texts import template, template_version
from domain.ledger.touches import touch
from ops.runtime.clock import SharedClock
from tests.measuring.books import VAULT

Run = Callable[..., Result]
AS = ("--as", "Maya Ortiz")
#: A Wednesday morning in Denver.
MORNING = datetime(2026, 3, 4, 17, tzinfo=UTC)


@pytest.fixture
def family(home: Path, tmp_path: Path, ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Household:
    """Jane and John, who share a phone: both are to be called, on a Wednesday morning."""
    SharedClock.create(tmp_path / "clock", MORNING).close()
    monkeypatch.setenv("REACTIVATE_CLOCK", f"shared:{tmp_path / 'clock'}")
    monkeypatch.setenv("REACTIVATE_DATABASE_URL", ledger_url)
    household = settle_in(ledger, VAULT)
    with ledger.begin() as conn:
        conn.execute(
            update(touch).values(
                channel="phone", due_at=MORNING, expires_at=MORNING + timedelta(days=5), kind="outreach"
            )
        )
    return household


def sayable(ledger: Engine, family: Household) -> None:
    """The campaign's words on the phone, released."""
    with ledger.begin() as conn:
        version = add(
            conn,
            template_version,
            organisation_id=family.organisation,
            key="by-phone",
            version=1,
            checksum="0",
            recorded_at=MORNING,
            released_at=MORNING,
        )
        campaigns = {each["campaign_id"] for each in rows(ledger, enrolment)}
        for each in campaigns:
            add(conn, campaign_template, campaign_id=each, template_version_id=version)
        add(
            conn,
            template,
            template_version_id=version,
            channel="phone",
            language="en",
            body="Hello, this is {organisation}. Call us at {phone}.",
        )


def test_what_is_due_is_listed_by_reference_without_a_number(run: Run, family: Household) -> None:
    told = run("calls", "list")
    as_json = json.loads(run("calls", "list", "--json").stdout)

    assert [(each["patient"], each["standing"]) for each in as_json] == [("PTEST0", "due"), ("PTEST1", "due")]
    assert [each["call"] for each in as_json] == list(family.touches)
    assert f"call {family.touches[0]}: PTEST0, north, welcome-back step 0, until 2026-03-09 17:00Z" in told.stdout
    assert "0101" not in told.output


def test_a_call_is_taken_without_its_number_dialled_with_it_on_record_and_ends_as_told(
    run: Run, ledger: Engine, family: Household
) -> None:
    sayable(ledger, family)

    taken = run("calls", "take", "--json")
    unseen = rows(ledger, disclosure)
    call = json.loads(taken.stdout)
    dialled = json.loads(run("calls", "dial", str(call["call"]), *AS, "--json").stdout)
    told = run("calls", "done", str(call["call"]), "--outcome", "voicemail")

    assert "0101" not in taken.output
    assert unseen == []
    assert call["say"] == dialled["say"] == "Hello, this is Lakeside & Sons. Call us at +1 303 555 0100."
    assert (dialled["number"], dialled["dial_by"]) == (PHONE, (MORNING + timedelta(minutes=2)).isoformat())
    assert told.stdout == f"call {call['call']}: voicemail\n"
    (seen,) = rows(ledger, disclosure)
    assert (seen["who"], seen["patient_id"]) == ("Maya Ortiz", family.jane)
    (made,) = rows(ledger, attempt)
    assert (made["channel"], made["state"], made["called_at"]) == ("phone", "accepted", MORNING)


def test_who_opts_out_while_a_caller_holds_their_call_is_not_called(
    run: Run, ledger: Engine, family: Household
) -> None:
    sayable(ledger, family)
    call = str(family.touches[0])
    run("calls", "take")
    taken = run("calls", "list")

    run("choice", "opt-out", "PTEST0", "--by", "Sam Reed", "--why", "wrote STOP")
    listed, dialled, told = (
        run("calls", "list"),
        run("calls", "dial", call, *AS),
        run("calls", "done", call, "--outcome", "no-answer"),
    )

    assert f"call {call}: PTEST0, north, welcome-back step 0, taken, until 2026-03-04 17:30Z\n" in taken.stdout
    assert listed.stdout.startswith(
        f"call {call}: PTEST0, north, welcome-back step 0, withdrawn: do not call: the patient opted out\n"
    )
    assert (dialled.exit_code, dialled.stdout) == (1, "")
    assert dialled.stderr == f"reactivate: call {call}: do not call: the patient opted out\n"
    assert told.exit_code == 2
    assert told.stderr.startswith(f"reactivate: {call}: do not call: the patient opted out;")
    assert rows(ledger, disclosure) == []
    assert rows(ledger, attempt) == []


def test_the_second_of_a_household_is_not_called_on_the_same_day(run: Run, ledger: Engine, family: Household) -> None:
    sayable(ledger, family)
    first, second = map(str, family.touches)
    run("calls", "take")
    run("calls", "take")
    run("calls", "dial", first, *AS)

    again = run("calls", "dial", second, *AS)

    assert again.exit_code == 1
    assert "do not call: this number or address had already been contacted as often as a day allows" in again.stderr
    assert "; it is on the list again from 2026-03-05 17:00Z" in again.stderr
    assert {each["reason"] for each in rows(ledger, touch)} == {None, "cap_contact_day"}


def test_what_may_not_be_made_now_is_not_taken(run: Run, ledger: Engine, family: Household) -> None:
    sayable(ledger, family)
    run("calls", "take")
    run("calls", "dial", str(family.touches[0]), *AS)

    again = run("calls", "take")

    assert (again.exit_code, again.stdout) == (0, "no call may be made now\n")


def test_a_call_that_was_dialled_is_listed_until_it_is_told_of(run: Run, ledger: Engine, family: Household) -> None:
    sayable(ledger, family)
    call = str(family.touches[0])
    run("calls", "take")
    run("calls", "dial", call, *AS)

    listed, again = run("calls", "list"), run("calls", "dial", call, *AS)

    assert f"call {call}: PTEST0, north, welcome-back step 0, dialled, until 2026-03-04 17:30Z\n" in listed.stdout
    assert again.exit_code == 2
    assert again.stderr.startswith(f"reactivate: {call}: it was dialled already: tell how it ended with")


def test_who_wants_no_more_calls_has_opted_out(run: Run, ledger: Engine, family: Household) -> None:
    sayable(ledger, family)
    run("calls", "take")
    run("calls", "dial", str(family.touches[0]), *AS)

    told = run("calls", "done", str(family.touches[0]), "--outcome", "do-not-call")

    assert told.stdout.endswith("do-not-call, and opted out of everything\n")
    assert {each["patient_id"] for each in rows(ledger, suppression)} == {None, family.jane, family.john}


def test_a_call_without_words_is_given_back_and_told_of(run: Run, ledger: Engine, family: Household) -> None:
    told = run("calls", "take")

    assert told.exit_code == 2
    assert told.stderr.startswith(f"reactivate: call {family.touches[0]} was given back: the campaign has no text for")
    assert {(each["state"], each["dispatched_until"]) for each in rows(ledger, touch)} == {("planned", None)}


@pytest.mark.parametrize("command", [("done", "--outcome", "reached"), ("dial", *AS)])
def test_a_call_that_was_never_taken_is_told_in_a_sentence(
    run: Run, family: Household, command: tuple[str, ...]
) -> None:
    name, *options = command
    told = run("calls", name, str(family.touches[0]), *options)

    assert told.exit_code == 2
    assert told.stderr.startswith(f"reactivate: {family.touches[0]}: no")
    assert "`reactivate calls" in told.stderr


def test_nothing_due_is_said(run: Run, ledger: Engine, family: Household) -> None:
    with ledger.begin() as conn:
        conn.execute(update(touch).where(touch.c.organisation_id == family.organisation).values(channel="sms"))

    assert run("calls", "list").stdout == "no call is due\n"
    assert run("calls", "take").stdout == "no call may be made now\n"
