"""Storing a reply: keywords take effect in the same transaction, repeats change nothing, strangers are heard."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from household import EMAIL, NOW, PHONE, STRANGER, Household, count, row, rows, send
from sqlalchemy import Connection, Engine, update

from domain.ledger import intake, replies, senders
from domain.ledger.answering import ANSWERS_IN_A_ROW
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.inbound import reply
from domain.ledger.outbox import outbox
from domain.ledger.patients import contact_point
from domain.ledger.replies import Taken
from domain.ledger.touches import touch
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault
from domain.rules.news import Contact, PatientNews
from domain.rules.vocabulary import ContactSystem, Intent

MINUTE = timedelta(minutes=1)


def _take(
    ledger: Engine,
    vault: Vault,
    text: str,
    *,
    id: str = "SM1",  # noqa: A002 - the provider's id
    sender: str = PHONE,
    channel: str = "sms",
    now: datetime = NOW,
    received_at: datetime | None = None,
) -> Taken:
    system = "email" if channel == "email" else "phone"
    return transact(
        ledger,
        lambda conn: replies.take(
            conn,
            vault,
            channel=channel,
            system=system,
            provider_id=id,
            sender=sender,
            text=text,
            now=now,
            received_at=received_at,
        ),
    )


def _answers(ledger: Engine) -> list[str]:
    return [each["answer"] for each in rows(ledger, touch, kind="answer", state="planned")]


def test_stop_suppresses_and_plans_one_confirmation_in_the_storing_transaction(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    taken = _take(ledger, vault, "Stop.")

    stored = row(ledger, reply, taken.reply_id or 0)
    assert (stored["state"], stored["intent"], stored["rule"]) == ("handled", "opt_out", "optout.en.stop")
    assert len(rows(ledger, suppression, lifted_at=None)) == 3
    assert {each["reply_id"] for each in rows(ledger, choice_event)} == {taken.reply_id}
    (answer,) = rows(ledger, touch, kind="answer")
    assert (answer["id"], answer["answer"]) == (taken.answer_id, "opt_out_confirmation")
    assert (answer["contact_point_id"], answer["state"], answer["due_at"]) == (household.phone, "planned", NOW)


def test_when_the_transaction_fails_neither_the_reply_nor_the_opt_out_is_there(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    def stop_and_die(conn: Connection) -> None:
        replies.take(conn, vault, channel="sms", system="phone", provider_id="SM1", sender=PHONE, text="STOP", now=NOW)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        transact(ledger, stop_and_die)

    assert (count(ledger, reply), count(ledger, suppression), _answers(ledger)) == (0, 0, [])


def test_the_same_message_twice_changes_nothing(ledger: Engine, vault: Vault, household: Household) -> None:
    _take(ledger, vault, "STOP")
    before = count(ledger, choice_event)

    assert _take(ledger, vault, "STOP").reply_id is None
    assert (count(ledger, reply), count(ledger, choice_event), _answers(ledger)) == (
        1,
        before,
        ["opt_out_confirmation"],
    )


def test_a_second_stop_is_stored_but_not_confirmed_again(ledger: Engine, vault: Vault, household: Household) -> None:
    _take(ledger, vault, "STOP", id="SM1")

    taken = _take(ledger, vault, "unsubscribe", id="SM2")

    assert taken.answer_id is None
    assert (count(ledger, reply), _answers(ledger)) == (2, ["opt_out_confirmation"])


def test_a_stop_after_a_start_is_confirmed_again(ledger: Engine, vault: Vault, household: Household) -> None:
    for number, word in enumerate(("STOP", "START", "STOP")):
        _take(ledger, vault, word, id=f"SM{number}", now=NOW + number * MINUTE)

    assert _answers(ledger) == ["opt_out_confirmation", "opt_in_confirmation", "opt_out_confirmation"]
    assert len(rows(ledger, suppression, lifted_at=None)) == 3


def test_a_start_written_before_the_last_stop_neither_lifts_it_nor_is_confirmed(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    _take(ledger, vault, "STOP", id="SM1")
    _take(ledger, vault, "STOP", id="SM3", now=NOW + 20 * MINUTE)

    late = _take(ledger, vault, "START", id="SM2", received_at=NOW + 10 * MINUTE, now=NOW + 21 * MINUTE)

    assert late.answer_id is None
    assert len(rows(ledger, suppression, lifted_at=None)) == 3
    stops = rows(ledger, choice_event, contact_point_id=household.phone, kind="suppressed")
    assert [each["at"] for each in stops] == [NOW, NOW + 20 * MINUTE]


def test_a_stop_that_a_later_start_overtook_stops_nobody_and_is_not_confirmed(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    _take(ledger, vault, "START", id="SM2", now=NOW + MINUTE)

    late = _take(ledger, vault, "STOP", id="SM1", received_at=NOW, now=NOW + 2 * MINUTE)

    assert (late.intent, late.answer_id) == (Intent.OPT_OUT, None)
    assert rows(ledger, suppression) == []


def test_a_reply_read_late_is_dated_by_its_reception(ledger: Engine, vault: Vault, household: Household) -> None:
    waiting = _take(ledger, vault, "hello", id="SM1")
    _take(ledger, vault, "START", id="SM2", now=NOW + MINUTE)
    with ledger.begin() as conn:
        # as after a change of the rules: what nobody understood then, is an opt-out now
        conn.execute(update(reply).where(reply.c.id == waiting.reply_id).values(body=vault.seal("STOP", "reply.body")))

        (read,) = replies.read(conn, vault, [waiting.reply_id or 0], NOW + 2 * MINUTE)

    assert (read.intent, read.answer_id) == (Intent.OPT_OUT, None)
    assert rows(ledger, suppression) == []
    (stop,) = rows(ledger, choice_event, kind="suppressed")
    assert (stop["at"], stop["recorded_at"]) == (NOW, NOW + 2 * MINUTE)


def test_messages_dated_long_ago_count_toward_the_ceiling_of_answers(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    for number in range(ANSWERS_IN_A_ROW + 1):
        _take(ledger, vault, "HELP", id=f"SM{number}", received_at=NOW - timedelta(days=9))

    assert len(_answers(ledger)) == ANSWERS_IN_A_ROW


@pytest.mark.parametrize("word", ["YES", "sí", "OUI", "C", "👍"])
def test_agreeing_never_clears_a_suppression(ledger: Engine, vault: Vault, household: Household, word: str) -> None:
    _take(ledger, vault, "STOP", id="SM1")

    _take(ledger, vault, word, id="SM2")

    assert len(rows(ledger, suppression, lifted_at=None)) == 3


def test_help_is_answered_when_suppressed_and_changes_no_choice(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    _take(ledger, vault, "STOP", id="SM1")
    before = count(ledger, choice_event)

    _take(ledger, vault, "AYUDA", id="SM2")

    assert _answers(ledger) == ["opt_out_confirmation", "help"]
    assert count(ledger, choice_event) == before


@pytest.mark.parametrize(("word", "intent"), [("C", Intent.BOOK), ("R", Intent.RESCHEDULE), ("X", Intent.CANCEL)])
def test_an_appointment_keyword_is_recorded_and_answered_with_the_link(
    ledger: Engine, vault: Vault, household: Household, word: str, intent: Intent
) -> None:
    taken = _take(ledger, vault, word)

    stored = row(ledger, reply, taken.reply_id or 0)
    assert (stored["state"], stored["intent"]) == ("handled", intent.value)
    assert _answers(ledger) == ["booking_link"]


def test_the_answer_speaks_to_the_patient_we_wrote_to_last(ledger: Engine, vault: Vault, household: Household) -> None:
    with ledger.begin() as conn:
        send(conn, household, 1)

    taken = _take(ledger, vault, "C")

    assert row(ledger, touch, taken.answer_id or 0)["patient_id"] == household.john


def test_a_reaction_is_handled_without_any_effect(ledger: Engine, vault: Vault, household: Household) -> None:
    taken = _take(ledger, vault, "Liked “Hi Jane. Reply STOP to end.”")

    stored = row(ledger, reply, taken.reply_id or 0)
    assert (stored["state"], stored["intent"]) == ("handled", "reaction")
    assert (count(ledger, suppression), _answers(ledger)) == (0, [])


def test_an_opt_out_in_free_words_takes_effect_in_the_storing_transaction_too(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    taken = _take(ledger, vault, "please take me off ur list")

    stored = row(ledger, reply, taken.reply_id or 0)
    assert (stored["state"], stored["intent"], stored["rule"]) == ("handled", "opt_out", "optout.en.off_the_list")
    assert len(rows(ledger, suppression, lifted_at=None)) == 3
    assert _answers(ledger) == ["opt_out_confirmation"]


def test_an_opt_out_that_says_more_is_honoured_and_goes_to_a_person(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    taken = _take(ledger, vault, "he passed away in may, stop texting him")

    stored = row(ledger, reply, taken.reply_id or 0)
    assert (stored["state"], stored["intent"]) == ("human", "opt_out")
    assert len(rows(ledger, suppression, lifted_at=None, reason="opt_out")) == 3
    assert len(rows(ledger, suppression, lifted_at=None, reason="reported_deceased")) == 2
    assert [each["data"]["reply_id"] for each in rows(ledger, outbox, type="reply.escalated")] == [taken.reply_id]


def test_an_opt_out_beside_an_emergency_is_honoured_and_not_answered_with_a_word_about_messages(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    taken = _take(ledger, vault, "stop texting me i want to kill myself")

    stored = row(ledger, reply, taken.reply_id or 0)
    assert (stored["state"], stored["intent"]) == ("human", "emergency")
    assert len(rows(ledger, suppression, lifted_at=None)) == 3
    assert _answers(ledger) == ["emergency"]
    (told,) = rows(ledger, outbox, type="reply.escalated")
    assert told["data"]["intent"] == "emergency"


def test_a_machines_answer_waits_for_the_worker_and_has_no_effect(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    taken = _take(ledger, vault, "Automatic reply: out of office. Reply STOP to unsubscribe.")
    with ledger.begin() as conn:
        replies.read(conn, vault, [taken.reply_id or 0], NOW)

    stored = row(ledger, reply, taken.reply_id or 0)
    assert (stored["state"], stored["intent"]) == ("handled", "auto_reply")
    assert (count(ledger, suppression), count(ledger, outbox), _answers(ledger)) == (0, 0, [])


@pytest.mark.parametrize(
    "text", ["he died", "you text me way too early in the morning", "what do you charge?", "cancel my appt"]
)
def test_what_only_a_person_can_see_to_waits_for_one_and_is_not_answered(
    ledger: Engine, vault: Vault, household: Household, text: str
) -> None:
    taken = _take(ledger, vault, text)
    with ledger.begin() as conn:
        replies.read(conn, vault, [taken.reply_id or 0], NOW)

    assert row(ledger, reply, taken.reply_id or 0)["state"] == "human"
    assert (rows(ledger, suppression, reason="opt_out"), _answers(ledger)) == ([], [])


def test_free_text_waits_for_the_worker_and_is_sealed(ledger: Engine, vault: Vault, household: Household) -> None:
    taken = _take(ledger, vault, "can I come on Tuesday?")

    stored = row(ledger, reply, taken.reply_id or 0)
    assert (taken.intent, stored["state"], stored["intent"]) == (None, "new", None)
    assert stored["contact_point_id"] == household.phone
    assert b"Tuesday" not in stored["body"]
    assert replies.open_body(vault, stored["body"]) == "can I come on Tuesday?"


def test_a_stranger_can_opt_out_and_the_number_is_remembered(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    taken = _take(ledger, vault, "STOP", sender=STRANGER)

    point = row(ledger, reply, taken.reply_id or 0)["contact_point_id"]
    assert point not in {None, household.phone, household.email}
    (kept,) = rows(ledger, suppression)
    assert (kept["contact_point_id"], kept["patient_id"]) == (point, None)
    assert _answers(ledger) == ["opt_out_confirmation"]


def test_a_strangers_message_is_kept_for_a_person(ledger: Engine, vault: Vault, household: Household) -> None:
    asked = _take(ledger, vault, "who is this", sender=STRANGER, id="SM1")
    agreed = _take(ledger, vault, "YES", sender=STRANGER, id="SM2")

    first, second = row(ledger, reply, asked.reply_id or 0), row(ledger, reply, agreed.reply_id or 0)
    assert (first["contact_point_id"], first["state"]) == (None, "new")
    assert (second["contact_point_id"], second["state"], second["intent"]) == (None, "human", "book")
    assert _answers(ledger) == []


def test_a_stop_from_something_that_is_no_number_goes_to_a_person(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    taken = _take(ledger, vault, "STOP", sender="32665")

    assert row(ledger, reply, taken.reply_id or 0)["state"] == "human"
    assert [each["data"]["reply_id"] for each in rows(ledger, outbox)] == [taken.reply_id]


def test_a_number_is_found_however_it_is_written(ledger: Engine, vault: Vault, household: Household) -> None:
    taken = _take(ledger, vault, "hello", sender="(303) 555-0101")

    assert row(ledger, reply, taken.reply_id or 0)["contact_point_id"] == household.phone


def test_a_mail_that_says_stop_opts_the_mail_address_out(ledger: Engine, vault: Vault, household: Household) -> None:
    _take(ledger, vault, "Stop\n\nSent from my iPhone", channel="email", sender=EMAIL.upper())

    stopped = {(each["contact_point_id"], each["patient_id"]) for each in rows(ledger, suppression)}
    assert stopped == {(household.email, None), (None, household.jane)}


def test_an_opt_out_beyond_the_ceiling_of_answers_still_acts(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    for number in range(ANSWERS_IN_A_ROW):
        _take(ledger, vault, "HELP", id=f"SM{number}")

    taken = _take(ledger, vault, "STOP", id="SM-stop")

    assert taken.answer_id is None
    assert row(ledger, reply, taken.reply_id or 0)["state"] == "human"
    assert len(rows(ledger, suppression, lifted_at=None)) == 3


def test_without_an_organisation_nothing_is_stored(ledger: Engine, vault: Vault) -> None:
    with pytest.raises(senders.NoOrganisationError, match="No organisation"):
        _take(ledger, vault, "STOP")

    assert count(ledger, reply) == 0


def test_identical_and_different_stops_at_once_are_stored_and_confirmed_once(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    start = threading.Barrier(8)

    def stop(number: int) -> Taken:
        start.wait(timeout=60)
        return _take(ledger, vault, "STOP", id=f"SM{number % 2}")

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(stop, range(8)))

    assert sum(each.reply_id is not None for each in taken) == 2
    assert (count(ledger, reply), _answers(ledger)) == (2, ["opt_out_confirmation"])
    assert len(rows(ledger, suppression)) == 3


def test_strangers_who_stop_at_once_meet_in_one_contact_point(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    start = threading.Barrier(4)

    def stop(number: int) -> Taken:
        start.wait(timeout=60)
        return _take(ledger, vault, "STOP", id=f"SM{number}", sender=STRANGER)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(stop, range(4)))

    assert (count(ledger, contact_point), count(ledger, suppression)) == (3, 1)
    assert _answers(ledger) == ["opt_out_confirmation"]


def test_an_imported_patients_number_is_recognised_however_it_was_imported(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    news = PatientNews(
        organisation_id=household.organisation,
        site="north",
        mrn="M-77",
        version=1,
        contacts=(Contact(ContactSystem.PHONE, "303.555.0177"), Contact(ContactSystem.EMAIL, "Ann@Example.com")),
    )
    with ledger.begin() as conn:
        assert intake.take_patients(conn, vault, [news], NOW).applied == 1

    _take(ledger, vault, "STOP", sender="+13035550177")

    (suppressed,) = [each for each in rows(ledger, suppression) if each["patient_id"] is not None]
    assert suppressed["patient_id"] not in {household.jane, household.john}
