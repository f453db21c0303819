"""The sweep: what it mends stays mended whatever else fails, and nothing that waits hides what waits behind it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from lakeside import NOW
from rulebooks import STANDARD
from sqlalchemy import Connection, Engine, func, select

from domain.jobs import Job
from domain.ledger import agenda, finishes, outbox, receipts, touches
from domain.ledger.agenda import Astray
from domain.ledger.outbox import outbox as events
from domain.ledger.receipts import ReceiptNews
from domain.ledger.store import reading
from ops.assembly import means_opted_out
from producers import sweep as sweeping
from producers.sweep import FORGOTTEN, Sweep


def keep(_job: Job) -> None:
    """A broker nobody listens to."""


def test_what_one_part_mended_is_kept_where_the_next_fails(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def reap(conn: Connection, now: datetime) -> int:
        outbox.add(conn, "patient.opted_out", {"patient": "P1", "source": "reply", "at": now.isoformat()}, now)
        return 1

    def expire(_conn: Connection, now: datetime) -> int:
        raise RuntimeError(now)

    monkeypatch.setattr(agenda, "astray", lambda *_: Astray(*[True] * 5))
    monkeypatch.setattr(finishes, "reap", reap)
    monkeypatch.setattr(touches, "expire", expire)
    with pytest.raises(RuntimeError):
        Sweep(ledger, {}, STANDARD, keep, means_opted_out).run(NOW)

    with reading(ledger) as conn:
        assert conn.scalar(select(func.count()).select_from(events)) == 1


def test_receipts_of_unknown_attempts_do_not_hide_those_behind_them(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "MOST_HINTS", 2)
    with ledger.begin() as conn:
        ids = [
            number
            for nth in range(5)
            for number in receipts.take(
                conn, [ReceiptNews("sms", f"SM{nth}", "delivered")], NOW + timedelta(microseconds=nth)
            )
        ]
    hinted: list[Sequence[int]] = []
    sweep = Sweep(ledger, {}, STANDARD, lambda job: hinted.append(job.ids), means_opted_out)

    for _ in range(4):
        sweep.run(NOW + 2 * FORGOTTEN)

    assert hinted == [tuple(ids[:2]), tuple(ids[2:4]), tuple(ids[4:]), tuple(ids[:2])]
