"""Every promise, broken on purpose: the audit sees it, and sees nothing where nothing is wrong."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from domain.ledger import audit_books, audit_calls, audit_sends, store
from domain.ledger.attempts import attempt
from domain.ledger.audit import PROMISES, audit, breaches
from domain.ledger.audit_books import conservation_gap
from domain.ledger.findings import Finding
from tests.measuring.books import DAY, NOON, Books
from tests.measuring.planted import (
    NOW,
    PLANTED,
    SECOND,
    a_live_enrolment_with_nothing_ahead,
    a_reply_in_no_known_state,
    an_orderly_campaign,
)


@pytest.fixture
def books(ledger: Engine) -> Iterator[Books]:
    with ledger.begin() as conn:
        yield Books(conn)


def found(books: Books) -> dict[str, int]:
    """What the audit counts, without the promises that were kept."""
    return {each.promise: each.count for each in audit(books.conn, NOW) if not each.is_kept}


def consent(books: Books, phone: int, kind: str, at: datetime, recorded_at: datetime) -> None:
    books.choice(kind, at, recorded_at=recorded_at, contact_point_id=phone, channel="sms", source="ehr")


def test_a_consent_given_after_a_revocation_counts_also_where_it_was_told_before_it(books: Books) -> None:
    who = books.person()
    consent(books, who.phone, "granted", NOON - DAY, NOON - 4 * SECOND)
    consent(books, who.phone, "revoked", NOON - 2 * DAY, NOON - 3 * SECOND)
    books.sent(who, books.enrol(who))

    assert found(books) == {}


def test_a_consent_given_before_a_revocation_lifts_nothing_where_it_was_told_after_it(books: Books) -> None:
    who = books.person()
    consent(books, who.phone, "revoked", NOON - DAY, NOON - 4 * SECOND)
    consent(books, who.phone, "granted", NOON - 2 * DAY, NOON - 3 * SECOND)
    books.sent(who, books.enrol(who))

    assert found(books) == {"sent_after_opt_out": 1}


def test_calls_to_two_records_that_were_merged_afterwards_break_no_promise(books: Books) -> None:
    who, gone = books.person(), books.person()
    books.sent(who, books.enrol(who))
    books.stop(NOON - DAY, patient_id=who.id, lifted_at=NOON - SECOND)
    books.sent(gone, books.enrol(gone), NOON - timedelta(hours=2))
    books.conn.execute(update(attempt).where(attempt.c.patient_id == gone.id).values(patient_id=who.id))

    assert found(books) == {}


def test_an_orderly_ledger_has_no_findings(books: Books) -> None:
    an_orderly_campaign(books)

    findings = audit(books.conn, NOW)

    assert [each.promise for each in findings] == list(PROMISES)
    assert [each for each in findings if not each.is_kept] == []
    assert breaches(findings) == 0


def test_an_empty_ledger_has_no_findings(ledger: Engine) -> None:
    with store.reading(ledger) as conn:
        assert breaches(audit(conn, NOW)) == 0


@pytest.mark.parametrize(("plant", "promise"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_breach_is_counted_once_and_for_its_promise_only(
    books: Books, plant: Callable[[Books], None], promise: str
) -> None:
    an_orderly_campaign(books)

    plant(books)

    assert found(books) == {promise: 1}


def test_every_promise_has_a_planted_breach() -> None:
    assert {promise for _, promise in PLANTED} == set(PROMISES)


def test_a_call_right_behind_an_opt_out_its_claim_could_not_see_is_no_breach(books: Books) -> None:
    who = books.person()
    books.stop(NOON, patient_id=who.id)
    books.sent(who, books.enrol(who), NOON + SECOND / 2, claimed_at=NOON - SECOND / 2)

    assert found(books) == {}


def test_a_call_between_two_stops_of_one_opt_out_is_a_breach(books: Books) -> None:
    who = books.person()
    books.stop(NOON - DAY, contact_point_id=who.phone)
    books.stop(NOON + DAY, in_force=False, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))

    assert found(books) == {"sent_after_opt_out": 1}


def test_a_call_after_a_reply_that_stopped_and_never_entered_the_history_is_a_breach(books: Books) -> None:
    who = books.person()
    books.stop(NOON - 3 * DAY, lifted_at=NOON - 2 * DAY, contact_point_id=who.phone)
    books.reply(who, "opt_out", at=NOON - DAY)
    books.sent(who, books.enrol(who))

    assert found(books) == {"sent_after_opt_out": 1, "suppression_disagrees": 1}


def test_a_stop_told_after_the_start_that_followed_it_holds_nobody_back(books: Books) -> None:
    who = books.person()
    books.choice("restored", NOON - DAY, contact_point_id=who.phone)
    books.stop(NOON - 2 * DAY, in_force=False, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))

    assert found(books) == {}


def test_a_call_after_start_lifted_the_stop_is_no_breach(books: Books) -> None:
    who = books.person()
    books.stop(NOON - 2 * DAY, lifted_at=NOON - DAY, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))

    assert found(books) == {}


def test_a_finding_samples_rows_by_id_and_says_what_was_promised(books: Books) -> None:
    who = books.person()
    books.stop(NOON - 99 * DAY, patient_id=who.id)
    number = books.enrol(who)
    sent = [books.sent(who, number, NOON + 7 * n * DAY) for n in range(12)]

    finding: Finding = next(each for each in audit(books.conn, NOW) if each.promise == "sent_after_opt_out")

    assert finding.count == 12
    assert finding.samples == tuple(f"attempt {id_}: called after an opt-out" for id_ in sent[:10])
    assert "opt-out" in finding.explanation


def test_an_attempt_that_was_released_or_never_called_counts_for_nothing(books: Books) -> None:
    who = books.person()
    number = books.enrol(who)
    touch_id = books.touch(who, number)
    books.attempt(who, touch_id, datetime(2031, 3, 4, 9, tzinfo=UTC), state="released", called_at=None)
    books.sent(who, number)

    assert found(books) == {}


def test_an_attempt_without_a_known_call_counts_from_its_claim(books: Books) -> None:
    who = books.person()
    touch_id = books.touch(who, books.enrol(who), state="uncertain", ended_at=NOON)
    books.attempt(who, touch_id, datetime(2031, 3, 4, 9, tzinfo=UTC), state="uncertain", called_at=None)

    assert found(books) == {"outside_hours": 1}


def test_the_conservation_gap_counts_enrolments_only(books: Books) -> None:
    a_live_enrolment_with_nothing_ahead(books)
    a_reply_in_no_known_state(books)

    assert conservation_gap(books.conn) == 1


def test_the_audit_shares_no_rule_with_the_code_it_judges() -> None:
    judged = {"guard", "caps", "quiet_hours", "templates", "cadence", "claims", "finishes"}
    imported = {
        part
        for module in (audit_calls, audit_sends, audit_books)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for part in (node.module.rpartition(".")[2], *(alias.name for alias in node.names))
    }

    assert imported & judged == set()
    assert "findings" in imported
