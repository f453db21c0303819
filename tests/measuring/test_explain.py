"""The timeline of one patient: everything sent, everything not sent, and why, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rulebooks import STANDARD
from sqlalchemy import Engine

from domain.ledger.explain import UnknownPatientError, explain
from domain.rules.guard import Facts, decide
from domain.rules.reasons import REASONS, sentence
from domain.rules.vocabulary import Never, Wait
from tests.measuring.books import DAY, NOON, Books

NOW = NOON + 30 * DAY
HOUR = timedelta(hours=1)


@pytest.fixture
def books(ledger: Engine) -> Iterator[Books]:
    with ledger.begin() as conn:
        yield Books(conn)


def told(books: Books, ref: str) -> list[str]:
    return [line.strip() for line in explain(books.conn, ref, NOW).lines()]


def test_a_whole_story_is_told_in_order_and_in_local_time(books: Books) -> None:
    who = books.person(home=books.desert)
    number = books.enrol(who, state="reactivated", ended_at=NOON + 20 * DAY, reason="returned", review_at=None)
    touch_id = books.touch(who, number, step=0, state="accepted", ended_at=NOON + HOUR)
    books.event(touch_id, "waited", "quiet_hours", NOON, until=NOON + HOUR)
    books.attempt(who, touch_id, NOON + HOUR)
    books.event(touch_id, "accepted", None, NOON + HOUR)
    books.event(touch_id, "delivered", None, NOON + 2 * HOUR)
    books.reply(who, "book", at=NOON + 3 * HOUR)
    books.outcome(who, number, "rebooked", NOON + 4 * HOUR)
    later = books.touch(who, number, step=1, state="cancelled", reason="booked", ended_at=NOON + 4 * HOUR)
    books.event(later, "cancelled", "booked", NOON + 4 * HOUR)
    books.outcome(who, number, "returned", NOON + 20 * DAY)

    lines = told(books, who.ref)

    name = f"touch {touch_id} (outreach 0, sms)"
    happened = lines[lines.index("What happened (times in America/Phoenix)") + 1 : lines.index("What is planned") - 1]
    assert happened == [
        f"2031-03-03 Mon 10:00  lapse {number}: found inactive in primary_care since 2031-02-02, segment 6_12_months",
        f"2031-03-03 Mon 10:00  enrolment {number}: enrolled in welcome-back, treatment arm",
        f"2031-03-04 Tue 10:00  {name}: not sent yet: {REASONS['quiet_hours']} (next try 2031-03-04 Tue 11:00)",
        f"2031-03-04 Tue 11:00  {name}: sent: the provider accepted it",
        f"2031-03-04 Tue 12:00  {name}: delivered",
        "2031-03-04 Tue 13:00  reply 1 (sms): book",
        f"2031-03-04 Tue 14:00  enrolment {number}: booked an appointment",
        f"2031-03-04 Tue 14:00  touch {later} (outreach 1, sms): cancelled: an appointment is ahead",
        f"2031-03-24 Mon 10:00  enrolment {number}: ended as reactivated: the patient came back for a visit",
        f"2031-03-24 Mon 10:00  enrolment {number}: came back for a visit",
    ]
    assert lines[-1] == "nothing"
    assert lines[:2] == [f"Patient {who.ref}", "registered at desert; home site desert; language en"]


def test_what_is_planned_is_told_with_why_it_waits(books: Books) -> None:
    who = books.person()
    number = books.enrol(who)
    touch_id = books.touch(who, number, step=3, reason="cap_day", due_at=NOW + DAY)

    lines = told(books, who.ref)

    assert lines[lines.index("What is planned") + 1] == (
        f"2031-04-04 Fri 13:00  touch {touch_id} (outreach 3, sms): waits: "
        "this person had already been contacted as often as a day allows"
    )
    assert any(f"enrolment {number}: reviewed: reminder or end" in line for line in lines)


def test_an_opt_out_and_everything_it_stopped_is_told(books: Books) -> None:
    who = books.person()
    number = books.enrol(who, state="opted_out", ended_at=NOON, reason="opted_out", review_at=None)
    touch_id = books.touch(who, number, state="cancelled", reason="opted_out", ended_at=NOON)
    books.event(touch_id, "cancelled", "opted_out")
    books.reply(who, "opt_out")
    books.stop(NOON, contact_point_id=who.phone)
    books.stop(NOON, patient_id=who.id)

    text = "\n".join(told(books, who.ref))

    assert f"contact point {who.phone}: opted out of every channel (told by reply)" in text
    assert "patient: opted out of every channel (told by reply)" in text
    assert "cancelled: the patient opted out" in text
    assert "suppressed: the patient, every channel (opt_out)" in text
    assert f"suppressed: contact point {who.phone}, every channel (opt_out)" in text


def test_the_holdout_is_told_why_it_is_left_alone(books: Books) -> None:
    who = books.person()
    books.enrol(who, arm="holdout")

    assert any(
        "holdout arm: the patient is in the holdout, which is left alone" in line for line in told(books, who.ref)
    )


def test_a_lapse_that_was_not_enrolled_says_why(books: Books) -> None:
    who = books.person()
    books.lapse(who, declined="unreachable")

    assert any(line.endswith("not enrolled: " + REASONS["unreachable"]) for line in told(books, who.ref))


def test_facts_tell_death_merging_and_dead_ends(books: Books) -> None:
    survivor = books.person()
    merged = books.person(merged_into_id=survivor.id, deceased_at=NOON)
    books.choice("bad_address", NOON, source="provider", contact_point_id=merged.phone)

    text = "\n".join(told(books, merged.ref))

    assert f"merged into {survivor.ref}" in text
    assert "deceased: never contacted" in text
    assert f"contact point {merged.phone}: found not to work (told by provider)" in text


def test_refusals_uncertainty_and_rerouting_are_told(books: Books) -> None:
    who = books.person()
    number = books.enrol(who)
    touch_id = books.touch(who, number, state="rejected", reason="30005", ended_at=NOON)
    for what, reason in (("rerouted", "to_email"), ("uncertain", "lease_expired"), ("rejected", "30005")):
        books.event(touch_id, what, reason)
    books.event(touch_id, "undelivered", "30003", NOON + HOUR)

    text = "\n".join(told(books, who.ref))

    assert "moved to another channel: email reaches this person" in text
    assert "outcome unknown: the process that was sending it died" in text
    assert "refused: the provider's code was 30005" in text
    assert "not delivered (provider's code: 30003)" in text


def test_a_reply_is_told_by_intent_and_never_by_its_text(books: Books) -> None:
    who = books.person()
    books.reply(who, "other", state="human", body=b"Maribel is unwell")
    books.reply(who, None, state="new")

    text = "\n".join(told(books, who.ref))

    assert "other; waits for a person" in text
    assert "not understood yet" in text
    assert "Maribel" not in text


def test_a_reference_is_found_however_it_is_typed(books: Books) -> None:
    who = books.person()

    assert explain(books.conn, f" {who.ref.lower()} ", NOW).ref == who.ref


def test_an_unknown_reference_is_an_error_that_names_it(books: Books) -> None:
    with pytest.raises(UnknownPatientError, match="PNOBODY"):
        explain(books.conn, "PNOBODY", NOW)


def test_a_timeline_can_be_told_as_json(books: Books) -> None:
    who = books.person()
    touch_id = books.touch(who, books.enrol(who))
    books.event(touch_id, "waited", "pacing", NOON, until=NOON + HOUR)

    found = json.loads(json.dumps(explain(books.conn, who.ref, NOW).as_dict()))

    assert found["entries"][-1]["until"] == (NOON + HOUR).isoformat()
    assert datetime.fromisoformat(found["entries"][-1]["at"]) == NOON


def test_whatever_the_guard_or_a_cap_may_say_has_a_sentence() -> None:
    flags = {"deceased", "merged", "suppressed_contact", "suppressed_patient", "consent_revoked", "channel_paused"}
    known = {each.name for each in fields(Facts)}
    rules = STANDARD.in_force(None, ["FL"])
    facts: dict[str, Any] = {
        "kind": "outreach",
        "expires_at": NOON + DAY,
        "zones": ("America/New_York",),
        "rules": rules,
    }
    wishes: list[dict[str, Any]] = [{flag: True} for flag in flags & known] + [{"live": False}, {"reachable": False}]
    wishes += [{"appointment_ahead": NOON + HOUR, "expires_at": NOON + 9 * DAY}, {"zones": ()}]
    decisions = [decide(Facts(**{**facts, **wish}), NOON) for wish in wishes]
    decisions.append(decide(Facts(**facts), datetime(2031, 3, 5, 3, tzinfo=UTC)))

    reasons = {each.why for each in decisions if isinstance(each, Wait | Never)}
    reasons |= {cap.reason for cap in (*rules.person_caps, *rules.contact_caps, *rules.household_caps)}

    assert len(reasons) >= 15
    assert {reason for reason in reasons if reason not in REASONS} == set()


def test_an_unknown_reason_stands_for_itself() -> None:
    assert sentence("eclipse") == "eclipse"
    assert sentence(None) == "no reason was recorded"
    assert sentence("21610") == "the provider's code was 21610"
