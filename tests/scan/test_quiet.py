"""What is under way: a lapse is somebody's to decide about from the moment its event was published."""

from __future__ import annotations

from datetime import timedelta

from lakeside import NOW, news_of, take, visit_of
from sqlalchemy import Engine, update

from domain.ledger import outbox
from domain.ledger.lapses import lapse
from domain.ledger.quiet import TO_PUBLISH, under_way
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from producers.scan import scan


def test_a_lapse_waits_for_the_clock_then_is_somebodys_until_it_is_decided(
    ledger: Engine, vault: Vault, lakeside: int
) -> None:
    for mrn in ("1", "2"):
        visit = NOW - timedelta(days=400)
        take(ledger, vault, news_of(lakeside, mrn, visit), now=visit)
        take(ledger, vault, visit_of(lakeside, mrn, visit), now=visit)
    found = []

    found.append(busy(ledger))
    scan(ledger, NOW)
    found.append(busy(ledger))
    publish(ledger, 1)
    found.append(busy(ledger))
    publish(ledger, 1)
    found.append(busy(ledger))
    with ledger.begin() as conn:
        conn.execute(update(lapse).values(decided_at=NOW))
    found.append(busy(ledger))

    lapses = "lapses to decide about"
    assert found == [set(), {TO_PUBLISH}, {TO_PUBLISH, lapses}, {lapses}, set()]


def busy(ledger: Engine) -> frozenset[str]:
    with reading(ledger) as conn:
        return under_way(conn, NOW)


def publish(ledger: Engine, number: int) -> None:
    with ledger.begin() as conn:
        waiting = outbox.unpublished(conn, number)
        outbox.mark_published(conn, [row.id for row in waiting], NOW)
