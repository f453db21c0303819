"""What the report counts, on a small ledger whose every figure is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from domain.ledger import gauges, store
from domain.ledger.choice_history import choice_event
from domain.ledger.inbound import receipt
from domain.ledger.organisations import organisation
from domain.ledger.outbox import outbox
from domain.ledger.quarantine import quarantine
from domain.ledger.report import report
from domain.rules.experiment import Share, lift
from ops.runtime import metrics
from producers.gauges import check_promises, observe
from tests.measuring.books import DAY, NOON, Books

NOW = NOON + 60 * DAY


@pytest.fixture
def books(ledger: Engine) -> Iterator[Books]:
    with ledger.begin() as conn:
        yield Books(conn)


def a_campaign(books: Books, treated: int = 8, held: int = 4) -> None:
    """Every second of the treated returns, on days 1 to 4; one of the holdout does; one of the treated writes STOP."""
    for n in range(treated):
        who = books.person()
        number = books.enrol(who, segment="12_24_months" if n % 4 == 0 else "6_12_months")
        books.sent(who, number, NOON)
        if n % 2 == 0:
            books.outcome(who, number, "rebooked", NOON)
            books.outcome(who, number, "returned", NOON - DAY + (n // 2 + 1) * DAY)
            books.reply(who, "book")
        if n == 1:
            books.stop(NOON + DAY, contact_point_id=who.phone)
            books.stop(NOON + DAY, patient_id=who.id)
            said = books.reply(who, "opt_out")
            books.conn.execute(
                update(choice_event).where(choice_event.c.contact_point_id == who.phone).values(reply_id=said)
            )
        if n == 3:
            late = books.touch(
                who, number, channel="email", state="suppressed", reason="suppressed_patient", ended_at=NOON
            )
            books.event(late, "waited", "quiet_hours")
            books.reply(who, None, state="new")
    for n in range(held):
        who = books.person()
        number = books.enrol(who, arm="holdout")
        if n == 0:
            books.outcome(who, number, "returned", NOON + 9 * DAY)


def test_every_figure_the_demo_promises_is_there_and_right(books: Books) -> None:
    a_campaign(books)

    found = report(books.conn, NOW)

    assert (found["sites"], found["patients"], found["lapsed"]) == (2, 12, 12)
    assert found["by_segment"] == {"12_24_months": 2, "6_12_months": 10}
    assert found["enrolled"] == {"treatment": 8, "holdout": 4}
    assert found["touches"] == {"email": {"suppressed": 1}, "sms": {"accepted": 8}}
    assert found["accepted"] == {"sms": 8}
    assert found["replies"] == {"book": 4, "opt_out": 1, "unread": 1}
    assert found["not_sent"] == {"suppressed_patient": 1}
    assert found["waits"] == {"quiet_hours": 1}
    assert (found["opt_outs"], found["rebooked"]) == (1, 4)
    assert found["returned"] == {"treatment": {"n": 4, "of": 8}, "holdout": {"n": 1, "of": 4}}
    assert found["median_days_to_return"] == 2.5
    assert found["median_days_by_arm"] == {"treatment": 2.5, "holdout": 10.0}
    assert set(found["promises"].values()) == {0}
    assert found["promises"].keys() >= {
        "sent_after_opt_out",
        "accepted_twice",
        "outside_hours",
        "over_cap",
        "phi_in_outreach",
        "unaccounted",
    }


def test_the_lift_is_that_of_the_two_arms(books: Books) -> None:
    a_campaign(books)
    expected = lift(Share(4, 8), Share(1, 4))

    found = report(books.conn, NOW)["lift"]

    assert expected is not None
    assert found == {
        "points": 25.0,
        "low": round(expected.low, 2),
        "high": round(expected.high, 2),
    }


def test_response_is_told_by_segment_and_by_channel(books: Books) -> None:
    a_campaign(books)

    found = report(books.conn, NOW)

    assert found["response_by_segment"]["12_24_months"]["returned"]["treatment"] == {"n": 2, "of": 2}
    assert found["response_by_segment"]["12_24_months"]["lift"] == {"points": None, "low": None, "high": None}
    assert found["response_by_channel"]["sms"]["accepted"] == 8
    assert found["response_by_channel"]["sms"]["replies"] == 6


def test_a_patient_enrolled_again_counts_once_in_the_arm_first_drawn(books: Books) -> None:
    who = books.person()
    over = books.lapse(who, closed_at=NOON)
    books.enrol(who, lapse_id=over, state="finished", ended_at=NOON, reason="cadence_over", review_at=None)
    again = books.enrol(who, enrolled_at=NOON + 20 * DAY)
    books.outcome(who, again, "returned", NOON + 30 * DAY)

    found = report(books.conn, NOW)

    assert found["enrolled"] == {"treatment": 1, "holdout": 0}
    assert found["returned"]["treatment"] == {"n": 1, "of": 1}
    assert found["median_days_to_return"] == 31.0


def test_a_patient_with_two_lapses_counts_once_under_the_more_urgent(books: Books) -> None:
    who = books.person()
    books.lapse(who, segment="12_24_months", priority=40, declined="unreachable")
    books.lapse(who, segment="chronic_overdue", priority=10, service_line="chronic_care", declined="unreachable")

    assert report(books.conn, NOW)["by_segment"] == {"chronic_overdue": 1}


def test_a_merged_record_is_no_patient(books: Books) -> None:
    survivor = books.person()
    books.person(merged_into_id=survivor.id)

    assert report(books.conn, NOW)["patients"] == 1


def test_an_empty_ledger_has_a_report(ledger: Engine) -> None:
    with store.reading(ledger) as conn:
        found = report(conn, NOW)

    assert (found["patients"], found["lapsed"], found["touches"], found["replies"]) == (0, 0, {}, {})
    assert found["lift"] == {"points": None, "low": None, "high": None}
    assert found["median_days_to_return"] is None


def test_the_same_history_gives_the_same_report_on_both_stores_in_any_order(sqlite_url: str, postgres_url: str) -> None:
    reports: list[str] = []
    for url, is_reversed in ((sqlite_url, False), (postgres_url, True)):
        engine = store.open_ledger(url)
        with engine.begin() as conn:
            books = Books(conn)
            if is_reversed:
                # other ids, and rows in another order
                books.add(organisation, key="elsewhere", name="E", phone="", postal_address="")
                for _ in range(3):
                    books.phone()
            a_campaign(books)
            reports.append(json.dumps(report(conn, NOW)))
        engine.dispose()

    assert reports[0] == reports[1]


def test_the_report_tells_what_settled_the_uncertain_and_how_long_it_took(books: Books) -> None:
    who = books.person()
    number = books.enrol(who)
    minute = timedelta(minutes=1)
    for state, reason, after in (
        ("accepted", "receipt", 3 * minute),
        ("accepted", "receipt", 5 * minute),
        ("accepted", "provider_knows", 15 * minute),
        ("rejected", "unknown_to_provider", 1500 * minute),
        ("rejected", "settled_by_person", 1600 * minute),
        ("uncertain", None, None),
    ):
        touch_id = books.touch(who, number, state=state, ended_at=NOON)
        books.event(touch_id, "uncertain", "lease_expired", NOON)
        if after is not None:
            books.event(touch_id, state, reason, NOON + after)
    # never uncertain
    books.event(books.touch(who, number, state="accepted"), "accepted", "receipt", NOON)

    found = report(books.conn, NOON + 90 * minute)["uncertain"]

    assert found == {
        "ever": 6,
        "by_receipt": 2,
        "by_provider": 2,
        "by_person": 1,
        "open": 1,
        "median_minutes": 15.0,
        "longest_minutes": 1600.0,
        "longest_open_minutes": 90.0,
    }


def test_gauges_tell_what_waits_and_since_when(books: Books) -> None:
    who = books.person()
    number = books.enrol(who)
    books.touch(who, number, due_at=NOON - timedelta(seconds=90))
    books.touch(who, number, due_at=NOON - timedelta(seconds=30))
    books.touch(who, number, due_at=NOON + DAY)
    for needs_person in (False, True):
        uncertain = books.touch(who, number, state="uncertain", ended_at=NOON)
        claimed_at = NOON - timedelta(minutes=30 if needs_person else 10)
        books.attempt(who, uncertain, claimed_at, state="uncertain", needs_person=needs_person)
    books.reply(who, "other", state="human", at=NOON - timedelta(hours=2))
    books.reply(who, "emergency", state="human", at=NOON - timedelta(minutes=20))
    books.reply(who, "emergency", state="closed", at=NOON - timedelta(hours=3))
    books.reply(who, None, state="new", at=NOON - timedelta(seconds=5))
    books.add(receipt, channel="sms", provider_ref="SM1", status="sent", received_at=NOON - timedelta(seconds=7))
    books.lapse(who, service_line="dental", decided_at=None, detected_at=NOON - timedelta(seconds=11))
    books.add(outbox, event_id="1", type="touch.sent", data={}, created_at=NOON - timedelta(seconds=3))
    books.add(quarantine, source="amqp:x", body=b"", headers=b"", reason="r", received_at=NOON)

    seen = gauges.read(books.conn, NOON)

    assert seen == gauges.Gauges(
        due={"sms": gauges.Waiting(2, 90.0)},
        outbox=gauges.Waiting(1, 3.0),
        inbox=gauges.Waiting(2, 7200.0),
        urgent=gauges.Waiting(1, 1200.0),
        backlog={
            "reply": gauges.Waiting(1, 5.0),
            "receipt": gauges.Waiting(1, 7.0),
            "lapse": gauges.Waiting(1, 11.0),
        },
        uncertain=gauges.Waiting(2, 1800.0),
        needs_person=1,
        quarantine_held=1,
    )


def _value(metric: Any, *labels: str) -> float:
    child = metric.labels(*labels) if labels else metric
    return float(child.collect()[0].samples[0].value)


def test_the_metrics_follow_the_ledger_and_fall_back_to_zero(ledger: Engine) -> None:
    with ledger.begin() as conn:
        books = Books(conn)
        who = books.person()
        touch_id = books.touch(who, books.enrol(who))
    observe(ledger, ["sms", "email"], NOON + DAY)
    assert _value(metrics.due_touches, "sms") == 1
    assert _value(metrics.due_age_seconds, "sms") == 86_400
    assert _value(metrics.due_touches, "email") == 0

    with ledger.begin() as conn:
        Books.finish(conn, touch_id)
    observe(ledger, ["sms", "email"], NOON + DAY)

    assert _value(metrics.due_touches, "sms") == 0
    assert _value(metrics.due_age_seconds, "sms") == 0


def test_an_audit_shows_its_counts_as_metrics(ledger: Engine) -> None:
    with ledger.begin() as conn:
        books = Books(conn)
        who = books.person()
        books.stop(NOON - DAY, patient_id=who.id)
        number = books.enrol(who)
        books.sent(who, number)
        books.outcome(who, number, "returned", NOON)
        books.enrol(books.person(), review_at=None)
    metrics.conservation_gap.set(0)
    observe(ledger, ["sms"], NOW)

    before = _value(metrics.conservation_gap)
    check_promises(ledger, NOW)

    assert (before, _value(metrics.conservation_gap)) == (0, 1)
    assert _value(metrics.promise_breaches, "sent_after_opt_out") == 1
    assert _value(metrics.promise_breaches, "accepted_twice") == 0
    assert _value(metrics.outcomes, "returned", "treatment") == 1
