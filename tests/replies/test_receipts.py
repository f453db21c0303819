"""Receipts: they find their attempt, settle what was open, and commute with duplicates and disorder."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from household import NOW, Household, add, count, plan_touch, row, rows, send, settle_in
from rulebooks import STANDARD
from sqlalchemy import Engine, event

from domain.ledger import finishes, receipts, settling
from domain.ledger.attempts import attempt
from domain.ledger.choice_history import suppression
from domain.ledger.claims import claim
from domain.ledger.finishes import Finish
from domain.ledger.inbound import receipt
from domain.ledger.outbox import outbox
from domain.ledger.patients import contact_point
from domain.ledger.pauses import paused
from domain.ledger.receipts import ReceiptNews
from domain.ledger.settling import Applied
from domain.ledger.touches import touch, touch_event
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault
from domain.rules.vocabulary import AttemptState

_SENT_AT = NOW - timedelta(seconds=3)


def _news(
    status: str,
    *,
    ref: str = "",
    sid: str = "SM9",
    code: str | None = None,
    effect: str | None = None,
    channel: str = "sms",
) -> ReceiptNews:
    return ReceiptNews(channel, sid, status, ref, code, effect)


def _take(ledger: Engine, *news: ReceiptNews, now: datetime = NOW) -> list[int]:
    return transact(ledger, lambda conn: receipts.take(conn, news, now))


def _apply(ledger: Engine, ids: list[int], now: datetime = NOW) -> Applied:
    return transact(ledger, lambda conn: settling.apply(conn, ids, now))


def _send(
    ledger: Engine, household: Household, which: int = 0, *, state: str = "accepted", **values: object
) -> tuple[int, str]:
    with ledger.begin() as conn:
        return send(conn, household, which, state=state, **values)


def test_a_repeated_receipt_is_stored_once(ledger: Engine, household: Household) -> None:
    first = _take(ledger, _news("sent"), _news("sent"), _news("delivered"))

    assert len(first) == 2
    assert _take(ledger, _news("sent"), _news("delivered")) == []
    assert count(ledger, receipt) == 2


def test_a_receipt_finds_its_attempt_by_the_reference_that_travelled_with_it(
    ledger: Engine, household: Household
) -> None:
    _, token = _send(ledger, household)

    done = _apply(ledger, _take(ledger, _news("delivered", ref=token)))

    assert done.statuses == {("sms", "delivered"): 1}
    assert row(ledger, touch, household.touches[0])["delivery"] == "delivered"
    assert rows(ledger, receipt)[0]["result"] == "applied"


def test_a_receipt_without_a_reference_finds_it_by_the_providers_id(ledger: Engine, household: Household) -> None:
    _send(ledger, household, provider_ref="SM9")

    _apply(ledger, _take(ledger, _news("delivered")))

    assert row(ledger, touch, household.touches[0])["delivery"] == "delivered"


def test_another_channels_receipt_with_the_same_id_is_not_ours(ledger: Engine, household: Household) -> None:
    _send(ledger, household, provider_ref="SM9")

    done = _apply(ledger, _take(ledger, _news("delivered", channel="email")))

    assert done.unknown == 1
    assert row(ledger, touch, household.touches[0])["delivery"] is None


@pytest.mark.parametrize("state", ["sending", "uncertain", "retry", "throttled"])
def test_a_receipt_settles_an_attempt_whose_outcome_was_open(ledger: Engine, household: Household, state: str) -> None:
    number, token = _send(ledger, household, state=state, called_at=_SENT_AT, needs_person=state == "uncertain")

    done = _apply(ledger, _take(ledger, _news("sent", ref=token)))

    settled, touched = row(ledger, attempt, number), row(ledger, touch, household.touches[0])
    assert done.settled == 1
    assert (settled["state"], settled["provider_ref"], settled["needs_person"]) == ("accepted", "SM9", False)
    assert (touched["state"], touched["accepted_at"], touched["delivery"]) == ("accepted", _SENT_AT, "sent")
    assert [each["type"] for each in rows(ledger, outbox)] == ["touch.sent"]


def test_an_attempt_that_never_noted_its_call_counts_from_its_claim(ledger: Engine, household: Household) -> None:
    _, token = _send(ledger, household, state="uncertain")

    _apply(ledger, _take(ledger, _news("sent", ref=token), now=NOW + timedelta(hours=2)), NOW + timedelta(hours=2))

    assert row(ledger, touch, household.touches[0])["accepted_at"] == NOW


def test_a_finish_that_comes_after_the_receipt_changes_nothing(ledger: Engine, household: Household) -> None:
    number, token = _send(ledger, household, state="sending")
    _apply(ledger, _take(ledger, _news("delivered", ref=token)))

    with ledger.begin() as conn:
        late = Finish(household.touches[0], token, AttemptState.UNCERTAIN, reason="timeout")
        written = finishes.finish(conn, [late], NOW)

    assert written == 0
    assert row(ledger, attempt, number)["state"] == "accepted"
    assert row(ledger, touch, household.touches[0])["delivery"] == "delivered"


@pytest.mark.parametrize("state", ["rejected", "released"])
def test_a_receipt_moves_no_attempt_that_surely_did_not_go(ledger: Engine, household: Household, state: str) -> None:
    number, token = _send(ledger, household, state=state)
    before = row(ledger, touch, household.touches[0])["state"]

    _apply(ledger, _take(ledger, _news("undelivered", ref=token)))

    assert row(ledger, attempt, number)["state"] == state
    assert row(ledger, touch, household.touches[0])["state"] == before


@pytest.mark.parametrize("order", list(itertools.permutations(["unknown", "sent", "delivered"])))
@pytest.mark.parametrize("in_one_batch", [True, False])
def test_receipts_in_any_order_end_the_same(
    tmp_path: Path, sqlite_ledger: Engine, vault: Vault, order: tuple[str, ...], in_one_batch: bool
) -> None:
    household = settle_in(sqlite_ledger, vault)
    _, token = _send(sqlite_ledger, household, state="sending")

    ids = [number for status in order for number in _take(sqlite_ledger, _news(status, ref=token))]
    for batch in [ids, ids] if in_one_batch else [[each] for each in ids + ids]:
        _apply(sqlite_ledger, batch)

    assert row(sqlite_ledger, touch, household.touches[0])["delivery"] == "delivered"
    history = [each["what"] for each in rows(sqlite_ledger, touch_event)]
    assert (history.count("accepted"), history.count("delivered")) == (1, 1)


@pytest.mark.parametrize(("first", "second"), [("delivered", "undelivered"), ("undelivered", "delivered")])
def test_the_first_terminal_status_stays(ledger: Engine, household: Household, first: str, second: str) -> None:
    _, token = _send(ledger, household)
    ids = _take(ledger, _news(first, ref=token)) + _take(ledger, _news(second, ref=token), _news("sent", ref=token))

    for each in ids:
        _apply(ledger, [each])

    assert row(ledger, touch, household.touches[0])["delivery"] == first
    assert {each["result"] for each in rows(ledger, receipt)} == {"applied"}


def test_why_it_was_not_delivered_stands_in_the_touchs_history(ledger: Engine, household: Household) -> None:
    _, token = _send(ledger, household)

    _apply(ledger, _take(ledger, _news("undelivered", ref=token, code="30003")))

    (told,) = rows(ledger, touch_event, what="undelivered")
    assert told["reason"] == "30003"


@pytest.mark.parametrize("code", ["30003", "30008"])
def test_what_was_accepted_and_did_not_arrive_is_not_sent_again_and_the_cadence_goes_on(
    ledger: Engine, household: Household, code: str
) -> None:
    number, token = _send(ledger, household)
    with ledger.begin() as conn:
        common = {"organisation_id": household.organisation, "patient_id": household.jane, "site_id": household.site}
        enrolled, later = household.enrolments[0], NOW + timedelta(days=10)
        following = plan_touch(
            conn, **common, enrolment_id=enrolled, step=1, due_at=later, expires_at=later + timedelta(days=5)
        )
    before = [each["id"] for each in rows(ledger, touch)]

    _apply(ledger, _take(ledger, _news("undelivered", ref=token, code=code)))

    first = household.touches[0]
    found = row(ledger, touch, first)
    assert (found["state"], found["delivery"], row(ledger, attempt, number)["state"]) == (
        "accepted",
        "undelivered",
        "accepted",
    )
    assert [each["id"] for each in rows(ledger, touch)] == before
    with ledger.begin() as conn:
        made = claim(
            conn, [first, following], channel="sms", system="phone", systems={"sms": "phone"}, rules=STANDARD, now=later
        )
    assert [each.touch_id for each in made.claimed] == [following]


def test_an_unknown_receipt_waits_and_is_applied_once_its_attempt_is_known(
    ledger: Engine, household: Household
) -> None:
    number, _ = _send(ledger, household, state="sending")
    ids = _take(ledger, _news("delivered"))

    assert _apply(ledger, ids).unknown == 1
    with ledger.connect() as conn:
        assert receipts.waiting(conn, NOW + timedelta(minutes=1), 10) == ids
    with ledger.begin() as conn:
        conn.execute(attempt.update().where(attempt.c.id == number).values(provider_ref="SM9"))
    _apply(ledger, ids)

    assert row(ledger, touch, household.touches[0])["delivery"] == "delivered"
    with ledger.connect() as conn:
        assert receipts.waiting(conn, NOW + timedelta(minutes=1), 10) == []


def test_a_receipt_nobody_knows_is_given_up_after_a_week_but_kept(ledger: Engine, household: Household) -> None:
    ids = _take(ledger, _news("delivered"))

    almost = _apply(ledger, ids, NOW + timedelta(days=7) - timedelta(seconds=1))
    done = _apply(ledger, ids, NOW + timedelta(days=7))

    assert (almost.unknown, almost.orphaned, done.orphaned) == (1, 0, 1)
    (kept,) = rows(ledger, receipt)
    assert (kept["result"], kept["applied_at"]) == ("orphan", NOW + timedelta(days=7))


def test_an_opt_out_the_provider_knows_of_enters_our_ledger(ledger: Engine, household: Household) -> None:
    _, token = _send(ledger, household, 0)

    _apply(ledger, _take(ledger, _news("undelivered", ref=token, code="21610", effect="opted_out")))

    assert len(rows(ledger, suppression, lifted_at=None)) == 3
    assert row(ledger, touch, household.touches[1])["state"] == "cancelled"


def test_a_bad_number_is_marked_and_trouble_pauses_the_channel(ledger: Engine, household: Household) -> None:
    _, jane = _send(ledger, household, 0)
    _, john = _send(ledger, household, 1)
    bad = _news("undelivered", ref=jane, sid="SM1", code="30005", effect="bad_address")
    trouble = _news("undelivered", ref=john, sid="SM2", code="30034", effect="pause_channel")

    _apply(ledger, _take(ledger, bad, trouble))

    assert row(ledger, contact_point, household.phone)["quality"] == "bad"
    with ledger.connect() as conn:
        assert paused(conn) == {"sms": "30034"}


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "read"},
        {"effect": "explode"},
        {"provider_ref": "S" * 129},
        {"reference": "r" * 33},
        {"error_code": "9" * 33},
    ],
)
def test_a_receipt_that_fits_no_column_is_refused_by_field(broken: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"receipt|Delivery"):
        ReceiptNews(**({"channel": "sms", "provider_ref": "SM1", "status": "sent"} | broken))


def test_many_receipts_are_applied_in_few_statements(ledger: Engine, household: Household) -> None:
    tokens = []
    with ledger.begin() as conn:
        for number in range(300):
            touch_id = plan_touch(conn, organisation_id=household.organisation, step=number, state="sending")
            token = f"token{number:021d}"
            add(
                conn,
                attempt,
                touch_id=touch_id,
                token=token,
                channel="sms",
                provider="sms",
                kind="outreach",
                contact_point_id=household.phone,
                state="sending",
                claimed_at=NOW,
                lease_until=NOW,
            )
            tokens.append(token)
    ids = _take(ledger, *(_news("delivered", ref=token, sid=token) for token in tokens))
    statements: list[str] = []

    with ledger.begin() as conn:
        event.listen(conn, "before_cursor_execute", lambda *args: statements.append(args[2]))
        done = settling.apply(conn, ids, NOW)

    assert done.settled == 300
    assert len(statements) < 20
    assert {each["delivery"] for each in rows(ledger, touch, state="accepted")} == {"delivered"}


def test_two_workers_with_the_same_receipts_apply_each_once(ledger: Engine, household: Household) -> None:
    _, token = _send(ledger, household, state="sending")
    ids = _take(ledger, _news("sent", ref=token), _news("delivered", ref=token))
    start = threading.Barrier(4)

    def work(_: int) -> Applied:
        start.wait(timeout=60)
        return _apply(ledger, ids)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(4)))

    assert sum(each.settled for each in done) == 1
    assert sum(each.statuses.total() for each in done) == 2
    assert len(rows(ledger, touch_event, what="delivered")) == 1


def test_a_finish_and_its_receipt_at_once_agree(ledger: Engine, household: Household) -> None:
    number, token = _send(ledger, household, state="sending")
    ids = _take(ledger, _news("delivered", ref=token))
    start = threading.Barrier(2)

    def finish() -> None:
        start.wait(timeout=60)
        end = Finish(household.touches[0], token, AttemptState.ACCEPTED, provider_ref="SM9", called_at=NOW)
        transact(ledger, lambda conn: finishes.finish(conn, [end], NOW))

    def settle() -> None:
        start.wait(timeout=60)
        _apply(ledger, ids)

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(finish), pool.submit(settle)]:
            each.result(timeout=60)

    assert row(ledger, attempt, number)["state"] == "accepted"
    assert row(ledger, touch, household.touches[0])["delivery"] == "delivered"
    assert len(rows(ledger, outbox, type="touch.sent")) == 1
