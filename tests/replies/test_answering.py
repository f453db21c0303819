"""Which automatic answer a reply gets, and when there have been enough of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from household import NOW, PHONE, STRANGER, Household, StoppedClock, row, rows, send
from sqlalchemy import Engine

from domain.ledger import replies, verdicts
from domain.ledger.answering import ANSWERS_IN_A_ROW, ANSWERS_PER_DAY
from domain.ledger.explain import explain
from domain.ledger.inbound import reply
from domain.ledger.replies import Taken
from domain.ledger.touches import touch
from domain.ledger.vault import Vault

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Phone:
    """Somebody's phone, and the worker who reads at once what it writes."""

    def __init__(self, ledger: Engine, vault: Vault, number: str) -> None:
        self._ledger = ledger
        self._vault = vault
        self._number = number
        self.clock = StoppedClock()

    def write(self, text: str, *, sent: timedelta = timedelta(), answered_by_network: bool = False) -> Taken:
        """A message received `sent` before now."""
        number = len(rows(self._ledger, reply)) + 1
        with self._ledger.begin() as conn:
            taken = replies.take(
                conn,
                self._vault,
                channel="sms",
                system="phone",
                provider_id=f"SM{number}",
                sender=self._number,
                text=text,
                now=self.clock.at,
                received_at=self.clock.at - sent,
                answered_by_network=answered_by_network,
            )
        if taken.intent is not None:
            return taken
        with self._ledger.begin() as conn:
            (read,) = replies.read(conn, self._vault, [taken.reply_id or 0], self.clock.at)
        return read

    def state(self, taken: Taken) -> str:
        return str(row(self._ledger, reply, taken.reply_id or 0)["state"])


@pytest.fixture
def phone(ledger: Engine, vault: Vault, household: Household) -> Phone:
    return Phone(ledger, vault, PHONE)


def answers(ledger: Engine, state: str = "planned") -> list[str]:
    return [each["answer"] for each in rows(ledger, touch, kind="answer", state=state)]


def withheld(ledger: Engine) -> list[tuple[str, str]]:
    return [(each["answer"], each["reason"]) for each in rows(ledger, touch, kind="answer", state="suppressed")]


def test_a_confirmation_is_worth_five_minutes_from_the_stop_and_help_five_from_its_reading(
    ledger: Engine, phone: Phone
) -> None:
    phone.write("HELP", sent=HOUR)
    phone.write("STOP", sent=MINUTE)

    assert [each["expires_at"] for each in rows(ledger, touch, kind="answer")] == [NOW + 5 * MINUTE, NOW + 4 * MINUTE]


def test_a_stop_that_waited_for_an_hour_is_too_late_to_be_confirmed(ledger: Engine, phone: Phone) -> None:
    taken = phone.write("STOP", sent=HOUR)

    assert row(ledger, touch, taken.answer_id or 0)["expires_at"] == NOW - 55 * MINUTE


@pytest.mark.parametrize(
    ("text", "language"),
    [("I have chest pain", "en"), ("me duele el pecho", "es"), ("I want to die, stop texting me", "en")],
)
def test_an_emergency_is_answered_in_the_storing_transaction_in_its_language_and_told_to_a_person(
    ledger: Engine, phone: Phone, text: str, language: str
) -> None:
    taken = phone.write(text)

    assert answers(ledger) == ["emergency"]
    stored = row(ledger, reply, taken.reply_id or 0)
    assert (stored["state"], stored["intent"], stored["language"]) == ("human", "emergency", language)
    assert row(ledger, touch, taken.answer_id or 0)["expires_at"] == NOW + HOUR


def test_an_emergency_of_a_stranger_is_answered_too(ledger: Engine, vault: Vault, household: Household) -> None:
    taken = Phone(ledger, vault, STRANGER).write("I took an overdose")

    assert answers(ledger) == ["emergency"]
    assert row(ledger, reply, taken.reply_id or 0)["state"] == "human"


@pytest.mark.parametrize("text", ["C", "yes please book me", "R", "can we do it another day instead?"])
def test_whoever_wants_a_visit_or_another_time_gets_the_link(ledger: Engine, phone: Phone, text: str) -> None:
    phone.write(text)

    assert answers(ledger) == ["booking_link"]


@pytest.mark.parametrize("text", ["Liked “Hi Jane. Reply STOP to end.”", "Automatic reply: I am out of office. HELP"])
def test_neither_a_reaction_nor_a_machine_is_answered(ledger: Engine, phone: Phone, text: str) -> None:
    phone.write(text)

    assert rows(ledger, touch, kind="answer") == []


@pytest.mark.parametrize("word", ["STOP", "START", "HELP"])
def test_what_the_network_answered_gets_no_second_answer_and_has_its_effect(
    ledger: Engine, phone: Phone, household: Household, word: str
) -> None:
    taken = phone.write(word, answered_by_network=True)

    assert taken.answer_id is None
    assert [why for _, why in withheld(ledger)] == ["answered_by_network"]
    assert phone.state(taken) == "handled"
    with ledger.connect() as conn:
        told = "\n".join(explain(conn, "PTEST0", NOW).lines())
    assert "the provider or the network had answered it already (rule house.network)" in told


def test_the_network_never_answers_a_booking_or_an_emergency(ledger: Engine, phone: Phone) -> None:
    phone.write("YES", answered_by_network=True)
    phone.write("chest pain", answered_by_network=True)

    assert answers(ledger) == ["booking_link", "emergency"]


def test_two_machines_texting_each_other_stop_after_three_and_one_person_is_told(
    ledger: Engine, phone: Phone, household: Household
) -> None:
    taken = []
    for _ in range(12):
        taken.append(phone.write("HELP"))
        phone.clock.at += MINUTE

    assert answers(ledger) == ["help"] * ANSWERS_IN_A_ROW
    assert set(withheld(ledger)) == {("help", "answers_in_a_row")}
    assert [phone.state(each) for each in taken] == ["handled"] * 3 + ["human"] + ["handled"] * 8
    another = phone.write("C")
    assert (another.answer_id, phone.state(another)) == (None, "human")


def test_a_row_begins_anew_when_we_write_when_a_person_looked_and_after_a_day(
    ledger: Engine, phone: Phone, household: Household
) -> None:
    for _ in range(3):
        phone.write("HELP")
    silent = phone.write("HELP")
    phone.clock.at += HOUR
    with ledger.begin() as conn:
        send(conn, household, 0, claimed_at=phone.clock.at)
    phone.clock.at += MINUTE
    assert phone.write("HELP").answer_id is not None

    with ledger.begin() as conn:
        verdicts.close(conn, silent.reply_id or 0, phone.clock.at)
    phone.clock.at += MINUTE
    assert phone.write("HELP").answer_id is not None

    assert len(answers(ledger)) == ANSWERS_PER_DAY
    with ledger.begin() as conn:
        send(conn, household, 1, claimed_at=phone.clock.at)
    phone.clock.at += MINUTE
    phone.write("HELP")
    assert withheld(ledger)[-1] == ("help", "answers_a_day")

    phone.clock.at = NOW + DAY + MINUTE
    assert phone.write("HELP").answer_id is not None


def test_no_other_answer_uses_up_those_to_an_emergency_and_they_end_too(ledger: Engine, phone: Phone) -> None:
    for _ in range(4):
        phone.write("HELP")

    for _ in range(5):
        phone.write("chest pain")

    assert answers(ledger) == ["help"] * 3 + ["emergency"] * 3
    assert {phone.state(Taken(each["id"], "sms")) for each in rows(ledger, reply, intent="emergency")} == {"human"}


def test_a_withheld_answer_says_why(ledger: Engine, phone: Phone) -> None:
    for _ in range(4):
        phone.write("HELP")

    with ledger.connect() as conn:
        told = "\n".join(explain(conn, "PTEST0", NOW).lines())

    assert "three automatic answers in a row were enough: the other side may be a machine (rule house.answers)" in told
