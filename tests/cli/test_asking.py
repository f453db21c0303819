"""What is asked of a ledger: figures and lists for people and for machines, and an audit that fails on a breach."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from household import row

from domain.ledger import quarantine
from domain.ledger.attempts import attempt
from domain.ledger.choice_history import suppression
from domain.ledger.patients import patient_contact
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from ops.runtime.breaker import POLICY
from ops.runtime.breakers import Breakers, Tally
from ops.runtime.breakers_redis import RedisStore
from tests.measuring.books import DAY, NOON, VAULT, Books, Person

Run = Callable[..., Result]

#: What no list may ever show.
SECRET = "my chest, and +1 303 555 0101"


@pytest.fixture
def books(ledger_file: Path) -> Iterator[Callable[[Callable[[Books], Any]], Any]]:
    """Writes into the small ledger of the home."""
    engine = open_ledger(f"sqlite:///{ledger_file}")

    def write(entries: Callable[[Books], Any]) -> Any:
        with engine.begin() as conn:
            return entries(Books(conn))

    yield write
    engine.dispose()


#: Before the system's clock, which these commands go by.
LONG_AGO = datetime(2024, 3, 5, 17, tzinfo=UTC)


def parsed(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def one_sent(books: Books, at: datetime = NOON) -> Person:
    who = books.person()
    books.sent(who, books.enrol(who), at)
    return who


def sent_after_a_stop(books: Books) -> Person:
    who = books.person()
    books.stop(datetime(2031, 3, 1, tzinfo=UTC), patient_id=who.id)
    books.sent(who, books.enrol(who, state="opted_out", ended_at=NOON, review_at=None, reason="opted_out"))
    return who


def test_an_orderly_ledger_passes_the_audit(run: Run, books: Any) -> None:
    books(one_sent)

    told, machine = run("audit"), parsed(run("audit", "--json"))

    assert told.exit_code == 0
    assert "BROKEN" not in told.output
    assert {each["count"] for each in machine} == {0}
    assert {"sent_after_opt_out", "accepted_twice", "over_cap"} <= {each["promise"] for each in machine}


def test_a_planted_breach_fails_the_audit_and_is_named(run: Run, books: Any) -> None:
    books(sent_after_a_stop)

    told = run("audit")
    machine = parsed(run("audit", "--json"), 1)

    assert told.exit_code == 1
    assert "BROKEN sent_after_opt_out: 1." in told.stdout
    assert told.stderr == "reactivate: a promise is broken\n"
    assert {each["promise"]: each["count"] for each in machine}["sent_after_opt_out"] == 1


def test_the_report_is_for_people_and_for_machines(run: Run, books: Any) -> None:
    books(one_sent)

    told, machine = run("report"), parsed(run("report", "--json"))

    assert told.exit_code == 0
    assert "Did it help?" in told.output
    assert machine["touches"]["sms"]["accepted"] == 1
    assert {"patients", "lapsed", "by_segment", "enrolled", "lift", "promises", "returned"} <= set(machine)


def test_a_patients_timeline_is_told_and_an_unknown_reference_finds_nobody(run: Run, books: Any) -> None:
    who = books(lambda entries: one_sent(entries, LONG_AGO))

    told, machine, unknown = run("explain", who.ref), parsed(run("explain", who.ref, "--json")), run("explain", "PNO")

    assert told.exit_code == 0
    assert f"Patient {who.ref}" in told.output
    assert machine["ref"] == who.ref
    assert datetime.fromisoformat(machine["entries"][-1]["at"]) == LONG_AGO
    assert (unknown.exit_code, "PNO" in unknown.stderr, "reactivate find" in unknown.stderr) == (1, True, True)


def waiting(vault: Vault) -> Callable[[Books], tuple[int, int]]:
    """A reply for a person, and a send nobody knows the outcome of."""

    def write(books: Books) -> tuple[int, int]:
        who, lost = books.person(), books.person()
        came = books.reply(who, "other", "human", body=vault.seal(SECRET.encode(), "reply.body"))
        touch_id = books.touch(lost, books.enrol(lost), state="uncertain", reason="timeout")
        return came, books.attempt(lost, touch_id, state="uncertain", needs_person=True)

    return write


def test_the_inbox_lists_what_waits_for_a_person_without_a_word_of_it(run: Run, books: Any) -> None:
    empty = run("inbox", "list")
    came, lost = books(waiting(VAULT))

    told, machine = run("inbox", "list"), parsed(run("inbox", "list", "--json"))

    assert empty.output == "nothing waits\n"
    assert {(each["kind"], each["id"]) for each in machine} == {("reply", came), ("attempt", lost)}
    assert f"reply {came}" in told.output
    assert SECRET not in told.output


def test_a_reply_is_shown_closed_once_and_then_waits_no_more(run: Run, books: Any) -> None:
    came, _ = books(waiting(VAULT))

    shown, closed, again = (run("inbox", verb, str(came)) for verb in ("show", "close", "close"))

    assert SECRET in shown.output
    assert (closed.exit_code, again.exit_code) == (0, 2)
    assert [each["kind"] for each in parsed(run("inbox", "list", "--json"))] == ["attempt"]


def test_an_emergency_is_marked_and_told_with_its_age(run: Run, books: Any) -> None:
    def two(books: Books) -> int:
        books.reply(books.person(), "question", "human", at=LONG_AGO)
        return books.reply(books.person(), "emergency", "human", at=LONG_AGO + DAY)

    urgent = books(two)

    first, second = run("inbox").output.splitlines()

    assert first.startswith(f"URGENT reply {urgent}  since 2024-03-06 17:00Z")
    assert re.search(r" for \d+ h \d\d min$", first)
    assert not second.startswith("URGENT")


def reported(books: Books) -> tuple[int, str, str]:
    """A reply that reports the death of one of two people who share a phone, and their references."""
    return _held(books, "deceased", "reported_deceased")


def unclear(books: Books) -> tuple[int, str, str]:
    """A reply that says that the number of two people is not the one's, and their references."""
    return _held(books, "wrong_number", "unclear_whose")


def _held(books: Books, intent: str, reason: str) -> tuple[int, str, str]:
    who, mate = books.person(), books.person()
    books.add(patient_contact, patient_id=mate.id, contact_point_id=who.phone)
    came = books.reply(who, intent, "human", at=LONG_AGO)
    for each in (who, mate):
        held = {"patient_id": each.id, "reply_id": came, "reason": reason}
        books.choice("held", LONG_AGO, **held)
        common = {"organisation_id": books.org, "reason": reason, "since": LONG_AGO}
        books.add(suppression, **common, patient_id=each.id)
    return came, who.ref, mate.ref


def test_a_reported_death_is_confirmed_for_whom_a_person_names(run: Run, books: Any) -> None:
    came, ref, mate = books(reported)

    closed, unnamed = run("inbox", "close", str(came)), run("inbox", "deceased", str(came))
    confirmed, again = (run("inbox", "deceased", str(came), ref) for _ in range(2))

    assert [each.exit_code for each in (closed, unnamed, confirmed, again)] == [2, 2, 0, 2]
    assert f"`reactivate inbox lift {came}`" in closed.stderr
    assert f"name who has died, of {ref}, {mate}" in unnamed.stderr
    assert confirmed.output == f"reply {came} is closed; deceased: {ref}\n"
    assert "does not wait" in again.stderr
    assert "deceased: never contacted" in run("explain", ref).output
    assert "suppressed" not in run("explain", mate).output


def test_a_false_report_of_a_death_is_lifted(run: Run, books: Any) -> None:
    came, ref, mate = books(reported)

    lifted = run("inbox", "lift", str(came))

    assert lifted.output == f"reply {came} is closed; not held for a death any more: {ref}, {mate}\n"
    assert run("audit").exit_code == 0


def test_a_person_says_whose_a_number_is_not(run: Run, books: Any) -> None:
    came, ref, mate = books(unclear)

    unnamed, gone = run("inbox", "wrong-number", str(came)), run("inbox", "wrong-number", str(came), mate)

    assert [unnamed.exit_code, gone.exit_code] == [2, 0]
    assert f"name whose the number is not, of {ref}, {mate}" in unnamed.stderr
    assert gone.output == f"reply {came} is closed; the number is not of {mate}\n"
    assert "(phone, detached)" in run("explain", mate).output
    assert "the number is not theirs (told by a person, about reply" in run("explain", mate).output
    assert "(phone, valid)" in run("explain", ref).output
    assert "suppressed" not in run("explain", ref).output
    assert run("audit").exit_code == 0


def test_an_uncertain_send_is_settled_once(run: Run, books: Any, ledger_file: Path) -> None:
    _, lost = books(waiting(VAULT))

    first, again = (run("inbox", "settle", str(lost), "--accepted") for _ in range(2))

    assert (first.exit_code, again.exit_code) == (0, 2)
    assert "not uncertain" in again.stderr
    engine = open_ledger(f"sqlite:///{ledger_file}")
    assert row(engine, attempt, lost)["state"] == "accepted"
    engine.dispose()


def test_the_quarantine_is_listed_shown_and_dismissed(run: Run, books: Any) -> None:
    number = books(
        lambda entries: quarantine.hold(
            entries.conn, VAULT, "amqp:patient.updated", {}, SECRET.encode(), "data: not an object", NOON
        )
    )

    listed = run("quarantine", "list")
    machine = parsed(run("quarantine", "list", "--json"))
    shown, dismissed = run("quarantine", "show", str(number)), run("quarantine", "dismiss", str(number))

    assert "amqp:patient.updated: data: not an object" in listed.output
    assert SECRET not in listed.output
    assert [(each["id"], each["reason"]) for each in machine] == [(number, "data: not an object")]
    assert SECRET in shown.output
    assert dismissed.output == "1 dismissed\n"
    assert run("quarantine", "list").output == "nothing is held\n"


def test_what_is_refused_again_stays_and_exits_with_1(run: Run, books: Any) -> None:
    number = books(lambda entries: quarantine.hold(entries.conn, VAULT, "amqp:x", {}, b"{", "not JSON", NOON))

    result = run("quarantine", "replay", str(number))

    assert result.exit_code == 1
    assert result.stdout.startswith(f"{number}: ")
    assert [each["id"] for each in parsed(run("quarantine", "list", "--json"))] == [number]


def test_a_channel_is_paused_and_resumed(run: Run, ledger_file: Path) -> None:
    outputs = [run("channel", *words).output for words in (("pause", "sms"), ("list",), ("resume", "sms"), ("list",))]

    assert "sms: paused (operator)" in outputs[1]
    assert "sms: not configured" in outputs[3]


def test_channels_tell_how_each_of_their_providers_stands(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str, redis_prefix: str
) -> None:
    monkeypatch.setenv("REACTIVATE_REDIS_URL", redis_url)
    monkeypatch.setenv("REACTIVATE_REDIS_PREFIX", redis_prefix)
    for prefix, weight in (("SMS", "80"), ("SMS_SECOND", "20")):
        for name, value in (
            ("URL", "http://127.0.0.1:9"),
            ("ACCOUNT_SID", "AC1"),
            ("AUTH_TOKEN", "secret"),
            ("FROM", "+12125550100"),
            ("WEIGHT", weight),
        ):
            monkeypatch.setenv(f"REACTIVATE_{prefix}_{name}", value)
    well = run("channel", "list").output
    breakers = Breakers("sms", ["sms", "sms_second"], RedisStore(redis_url, redis_prefix))
    breakers.report({"sms": Tally(bad=POLICY.at_least)}, datetime.now(UTC))

    failing = run("channel", "list").output
    breakers.close()

    told = "sms: ready\n  provider sms (weight 80): asked\n  provider sms_second (weight 20): asked\n"
    assert told in well
    assert re.search(r"provider sms \(weight 80\): failing: not asked; trials in \d+ s\n", failing)
    assert "provider sms_second (weight 20): asked\n" in failing
    assert "secret" not in failing
