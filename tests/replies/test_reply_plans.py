"""The queries behind webhooks and their workers use an index for every table that grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from household import NOW, PHONE, Household, send, settle_in
from sqlalchemy import Connection, Engine, event, text, update

from domain.ledger import inbox, link_targets, receipts, replies, settling
from domain.ledger.inbound import receipt
from domain.ledger.receipts import ReceiptNews
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault

_GROWING = ("attempt", "choice_event", "contact_point", "enrolment", "patient", "patient_contact", "receipt", "reply")
_LATER = NOW + timedelta(minutes=1)
_GROWING += ("suppression", "touch", "touch_event")


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """A ledger on PostgreSQL, whose planner is asked."""
    engine = open_ledger(postgres_url)
    yield engine
    engine.dispose()


def _receive(conn: Connection, vault: Vault, household: Household) -> None:
    replies.take(conn, vault, channel="sms", system="phone", provider_id="SM1", sender=PHONE, text="STOP", now=NOW)
    replies.take(conn, vault, channel="sms", system="phone", provider_id="SM2", sender=PHONE, text="START", now=_LATER)


def _read(conn: Connection, vault: Vault, household: Household) -> None:
    replies.read(conn, vault, [1, 2, 3], NOW)
    replies.waiting(conn, NOW, 100)
    inbox.inbox(conn)


def _apply(conn: Connection, vault: Vault, household: Household) -> None:
    _, token = send(conn, household, state="uncertain")
    ids = receipts.take(conn, [ReceiptNews("sms", "SM1", "delivered", token), ReceiptNews("sms", "SM2", "sent")], NOW)
    settling.apply(conn, ids, NOW)
    receipts.waiting(conn, NOW, 100)
    receipts.since(conn, ids[0], 100)


def _open_link(conn: Connection, vault: Vault, household: Household) -> None:
    link_targets.find(conn, household.touches[0])
    link_targets.record_click(conn, household.touches[0], NOW)


@pytest.mark.parametrize("work", [_receive, _read, _apply, _open_link])
def test_no_growing_table_is_read_from_end_to_end(
    engine: Engine, vault: Vault, work: Callable[[Connection, Vault, Household], None]
) -> None:
    household = settle_in(engine, vault)
    asked: list[tuple[str, Any]] = []
    with engine.begin() as conn:
        event.listen(conn, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        work(conn, vault, household)

    read_whole = []
    with engine.begin() as conn:
        # so small a ledger is read whole by choice: with sequential scans priced out, one means that no index fits
        conn.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in asked:
            if statement.lstrip().upper().startswith(("SELECT", "UPDATE")):
                first = parameters[0] if isinstance(parameters, list) else parameters
                plan = conn.exec_driver_sql(f"EXPLAIN {statement}", first).scalars().all()
                read_whole += [line for line in plan if any(f"Seq Scan on {table} " in line for table in _GROWING)]

    assert len(asked) >= 3
    assert read_whole == []


def test_what_was_stored_since_an_old_receipt_is_found_among_those_that_wait(ledger: Engine) -> None:
    explain = "EXPLAIN QUERY PLAN" if ledger.dialect.name == "sqlite" else "EXPLAIN"
    with ledger.begin() as conn:
        news = [ReceiptNews("sms", f"SM{nth}", "sent") for nth in range(5_000)]
        first, *rest = receipts.take(conn, news, NOW)
        conn.execute(update(receipt).where(receipt.c.id.in_(rest[:-3])).values(applied_at=NOW, result="applied"))
        if ledger.dialect.name != "sqlite":  # where nobody gathers statistics
            conn.execute(text("ANALYZE receipt"))
    asked: list[tuple[str, Any]] = []

    with ledger.begin() as conn:
        event.listen(conn, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        found = receipts.since(conn, first, 100)
        ((statement, parameters),) = asked
        plan = "\n".join(str(row) for row in conn.exec_driver_sql(f"{explain} {statement}", parameters))

    assert sorted(found) == rest[-3:]
    assert "ix_receipt_unapplied" in plan, plan
