"""The witness: each promise, fed a breach, is counted; and what keeps the promise is not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ops.simulator.contacts import Contacts
from ops.simulator.geography import LOS_ANGELES_CITY, NEW_YORK_CITY
from ops.simulator.people import Person
from ops.simulator.witness import PROMISES, Accepted, Witness

#: A Tuesday, 13:00 in New York and 10:00 in Los Angeles.
NOON = datetime(2025, 3, 4, 18, tzinfo=UTC)
ANA = Person(
    key="p1",
    given="Ana",
    family="Zamora",
    sex="F",
    birth_date=date(1961, 5, 17),
    language="en",
    home=NEW_YORK_CITY,
    registrations=(("harbor", "MRN100001"),),
    phone="+12125550123",
    email="ana@example.com",
    prefers=None,
    deceased_on=None,
)
BEN = replace(ANA, key="p2", given="Ben", registrations=(("harbor", "MRN100002"),), email="ben@example.com")
LEO = replace(ANA, key="p3", given="Leo", home=LOS_ANGELES_CITY, phone="+12125550177", email="leo@example.com")
PHONE, FAR = "+12125550123", "+12125550177"
CONFIRMATION = "You will get no more messages from us."


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    opened = Witness(Contacts([ANA, BEN, LEO]), tmp_path / "witness.jsonl")
    yield opened
    opened.close()


def message(
    at: datetime = NOON,
    to: str = "ana@example.com",
    reference: str = "r1",
    body: str = "We miss you: https://x.example/b/1",
    arrived: float | None = None,
) -> Accepted:
    channel = "sms" if to.startswith("+") else "email"
    return Accepted(at, channel, to, reference, body, time.monotonic() if arrived is None else arrived)


def broken(witness: Witness) -> dict[str, int]:
    return {promise: count for promise, count in witness.promises().items() if count}


def test_an_ordinary_message_breaks_nothing_and_is_written_down(witness: Witness, tmp_path: Path) -> None:
    witness.accept(message(to=PHONE))
    witness.flush()

    line = json.loads((tmp_path / "witness.jsonl").read_text())

    assert set(witness.promises()) == set(PROMISES)
    assert broken(witness) == {}
    assert witness.accepted() == {"sms": 1, "email": 0}
    assert witness.references() == ["r1"]
    assert (line["reference"], line["zones"], len(line["sha256"])) == ("r1", ["America/New_York"], 64)
    assert "miss you" not in json.dumps(line)


def test_a_message_after_an_opt_out_is_a_breach(witness: Witness) -> None:
    witness.opted_out(PHONE, NOON)
    witness.accept(message(NOON + timedelta(hours=1), PHONE))

    assert broken(witness) == {"sent_after_opt_out": 1}


def test_a_call_on_its_way_when_the_opt_out_was_answered_is_none(witness: Witness) -> None:
    before = time.monotonic()
    witness.opted_out(PHONE, NOON)
    witness.accept(message(NOON, PHONE, arrived=before + 0.5))

    assert broken(witness) == {}


def test_a_call_begun_well_after_the_answer_is_a_breach_even_at_the_same_simulated_instant(witness: Witness) -> None:
    witness.opted_out(PHONE, NOON)
    witness.accept(message(NOON, PHONE, arrived=time.monotonic() + 1.5))

    assert broken(witness) == {"sent_after_opt_out": 1}


def test_an_opt_out_covers_the_mailbox_whose_every_owner_gave_it(witness: Witness) -> None:
    witness.opted_out(FAR, NOON)
    witness.accept(message(NOON + timedelta(hours=1), "leo@example.com"))
    witness.accept(message(NOON + timedelta(hours=1), "ana@example.com", "r2"))

    assert broken(witness) == {"sent_after_opt_out": 1}


def test_who_wrote_of_danger_and_is_not_told_at_once_where_to_turn_is_counted(witness: Witness) -> None:
    for number, minutes in ((PHONE, 1), (FAR, 11)):
        witness.wrote(number, NOON)
        witness.in_danger(number, NOON)
        witness.accept(message(NOON + timedelta(minutes=minutes), number, f"to {number}", "Call 911 now."))

    assert broken(witness) == {"emergency_unanswered": 1}


def test_an_answer_that_tells_not_where_to_turn_is_none_to_who_is_in_danger(witness: Witness) -> None:
    witness.wrote(PHONE, NOON)
    witness.in_danger(PHONE, NOON)
    witness.accept(message(NOON, PHONE, "r1", "We will answer soon. Ref 19113."))

    assert broken(witness) == {"emergency_unanswered": 1}


def test_a_number_that_is_a_strangers_bars_itself_and_not_the_patients_mailbox(witness: Witness) -> None:
    witness.is_a_strangers(FAR, NOON)
    witness.accept(message(NOON, FAR, "r1", arrived=time.monotonic() + 60))
    witness.accept(message(NOON + timedelta(days=2), "leo@example.com", "r2"))
    assert broken(witness) == {}

    witness.accept(message(NOON + timedelta(days=9), FAR, "r3", "Another text"))

    assert broken(witness) == {"sent_after_opt_out": 1}


def test_word_of_a_death_bars_the_mailbox_too(witness: Witness) -> None:
    witness.died(FAR, NOON)
    witness.accept(message(NOON + timedelta(hours=1), "leo@example.com"))

    assert broken(witness) == {"sent_after_opt_out": 1}


def test_who_asks_for_messages_again_may_get_them(witness: Witness) -> None:
    witness.opted_out(PHONE, NOON)
    witness.opted_in(PHONE)
    witness.accept(message(NOON + timedelta(hours=1), PHONE))

    assert broken(witness) == {}


def test_one_confirmation_of_an_opt_out_is_an_answer_and_a_second_is_not(witness: Witness) -> None:
    witness.wrote(PHONE, NOON, is_opt_out=True)
    witness.opted_out(PHONE, NOON)
    later = NOON + timedelta(minutes=1)
    witness.accept(message(later, PHONE, "r1", CONFIRMATION))
    assert broken(witness) == {}
    assert witness.answers() == 1

    witness.accept(message(later, PHONE, "r2", CONFIRMATION))

    assert witness.promises()["sent_after_opt_out"] == 1


def test_an_offer_is_no_confirmation_of_an_opt_out(witness: Witness) -> None:
    witness.wrote(PHONE, NOON, is_opt_out=True)
    witness.opted_out(PHONE, NOON)
    witness.accept(message(NOON + timedelta(minutes=1), PHONE))

    assert broken(witness) == {"sent_after_opt_out": 1}


def test_a_text_that_goes_to_the_silent_as_well_is_no_answer(witness: Witness) -> None:
    witness.accept(message(NOON, FAR, "r1", "We miss you, Leo."))
    witness.wrote(PHONE, NOON)
    witness.opted_out(PHONE, NOON)
    witness.accept(message(NOON + timedelta(minutes=1), PHONE, "r2", "We miss you, Ana."))

    assert broken(witness) == {"sent_after_opt_out": 1}


def test_one_reference_twice_is_a_breach_however_far_apart(witness: Witness) -> None:
    witness.accept(message(NOON, body="one"))
    witness.accept(message(NOON + timedelta(days=30), body="two"))

    assert broken(witness) == {"accepted_twice": 1}


def test_one_touch_under_two_references_is_a_breach_however_far_apart(witness: Witness) -> None:
    witness.accept(message(NOON, reference="r1"))
    witness.accept(message(NOON + timedelta(days=30), reference="r2"))

    assert broken(witness) == {"accepted_twice": 1}


def test_one_wording_without_a_link_is_a_breach_within_a_day_only(witness: Witness) -> None:
    witness.accept(message(NOON, reference="r1", body="We miss you."))
    witness.accept(message(NOON + timedelta(days=2), reference="r2", body="We miss you."))
    assert broken(witness) == {}

    witness.accept(message(NOON + timedelta(days=2, hours=3), reference="r3", body="We miss you."))

    assert witness.promises()["accepted_twice"] == 1


@pytest.mark.parametrize(
    ("at", "to", "is_breach"),
    [
        (datetime(2025, 3, 4, 14, 0, tzinfo=UTC), PHONE, False),  # 9:00 in New York
        (datetime(2025, 3, 4, 13, 59, tzinfo=UTC), PHONE, True),
        (datetime(2025, 3, 4, 14, 0, tzinfo=UTC), FAR, True),  # the owner lives in Los Angeles: 6:00
        (datetime(2025, 3, 5, 0, 59, tzinfo=UTC), PHONE, False),  # 19:59
        (datetime(2025, 3, 5, 1, 0, tzinfo=UTC), PHONE, True),
        (datetime(2025, 3, 9, 15, 30, tzinfo=UTC), PHONE, True),  # Sunday, 11:30 after the clocks went forward
        (datetime(2025, 3, 9, 16, 0, tzinfo=UTC), PHONE, False),
        (datetime(2025, 3, 5, 2, 0, tzinfo=UTC), FAR, True),  # 18:00 in Los Angeles, but the number is New York's
        (datetime(2025, 3, 5, 2, 0, tzinfo=UTC), "leo@example.com", False),
    ],
)
def test_hours_are_judged_in_the_zones_of_homes_and_number(
    witness: Witness, at: datetime, to: str, is_breach: bool
) -> None:
    witness.accept(message(at, to))

    assert broken(witness) == ({"outside_hours": 1} if is_breach else {})


def test_a_message_held_up_until_the_evening_is_a_breach(witness: Witness) -> None:
    witness.accept(message(NOON, PHONE))
    witness.delivered("r1", NOON + timedelta(hours=8))

    assert broken(witness) == {"outside_hours": 1}


def test_two_within_a_day_are_over_the_cap_and_two_a_day_apart_are_not(witness: Witness) -> None:
    witness.accept(message(NOON, PHONE, "r1", "one"))
    witness.accept(message(NOON + timedelta(days=1), PHONE, "r2", "two"))
    assert broken(witness) == {}

    witness.accept(message(NOON + timedelta(days=2, microseconds=-1), PHONE, "r3", "three"))

    assert broken(witness) == {"over_cap": 1}


def test_four_within_a_week_are_over_the_cap(witness: Witness) -> None:
    for number, day in enumerate((0, 1, 2)):
        witness.accept(message(NOON + timedelta(days=day), PHONE, f"r{number}", f"text {number}"))
    witness.accept(message(NOON + timedelta(days=7), PHONE, "r8", "text 8"))
    assert broken(witness) == {}

    witness.accept(message(NOON + timedelta(days=8, microseconds=-1), PHONE, "r9", "text 9"))

    assert broken(witness) == {"over_cap": 1}


def test_a_text_and_a_mail_to_one_person_within_a_day_are_over_the_cap(witness: Witness) -> None:
    witness.accept(message(NOON, FAR, "r1", "one"))
    witness.accept(message(NOON + timedelta(hours=1), "leo@example.com", "r2", "two"))

    assert broken(witness) == {"over_cap": 1}


def test_answers_do_not_count_against_the_cap(witness: Witness) -> None:
    witness.accept(message(NOON, PHONE, "r1", "one"))
    witness.wrote(PHONE, NOON + timedelta(hours=9))
    witness.accept(message(NOON + timedelta(hours=9), PHONE, "r2", "Call us any time."))

    assert broken(witness) == {}


@pytest.mark.parametrize(
    "body",
    [
        "Dear Ms Zamora, we miss you",
        "ZAMORA: call us",
        "Your number MRN100001",
        "Born 05/17/1961?",
        "Born May 17, 1961?",
        "Time for your diabetes review",
        "Oncology misses you",
        "Es hora de su cita de odontología: odontólogo",
        "Dr. Smith would like to see you",
        "Your mammogram is due",
        "Ask your doctor",
        "Refill your insulin",
        "Your blood pressure matters",
    ],
)
def test_identity_and_care_are_found_in_a_message(witness: Witness, body: str) -> None:
    witness.accept(message(body=body))

    assert broken(witness) == {"phi_in_outreach": 1}


@pytest.mark.parametrize(
    "body",
    [
        "Hi Ana, Northstar Health would love to see you. Book: https://x.example/b/zamora STOP to opt out",
        "Northstar Health, 12 Lake Dr. Springfield. Still time to book.",
        "Hola Ana: en Northstar Health le esperamos. Responda C para reservar.",
    ],
)
def test_a_neutral_message_tells_nothing(witness: Witness, body: str) -> None:
    witness.accept(message(body=body))

    assert broken(witness) == {}


def test_a_name_that_is_a_word_of_everybodys_text_tells_nothing(tmp_path: Path) -> None:
    day = replace(ANA, family="Day")
    witness = Witness(Contacts([day, replace(LEO, home=NEW_YORK_CITY)]), tmp_path / "w.jsonl")
    for number, to in enumerate((PHONE, FAR)):
        witness.accept(message(NOON, to, f"r{number}", "Have a nice day!"))

    assert broken(witness) == {}

    witness.accept(message(NOON + timedelta(days=2), PHONE, "r3", "Hello Ms Day!"))

    assert broken(witness) == {"phi_in_outreach": 1}
    witness.close()


def test_the_organisations_own_name_tells_nothing(tmp_path: Path) -> None:
    day = replace(ANA, family="Day")
    witness = Witness(Contacts([day]), tmp_path / "w.jsonl", own_words=("Day Dental",))
    witness.accept(message(NOON, PHONE, "r1", "Day Dental: we miss you"))

    assert broken(witness) == {}

    witness.accept(message(NOON + timedelta(days=2), PHONE, "r2", "Day Dental: your dental visit"))

    assert broken(witness) == {"phi_in_outreach": 1}
    witness.close()
