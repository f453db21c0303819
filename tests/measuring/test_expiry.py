"""A touch that waited until it was too late tells in its story what it waited for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from rulebooks import STANDARD
from sqlalchemy import Engine, select

from domain.ledger import claims, pauses, touches
from domain.ledger.appointments import care
from domain.ledger.explain import explain
from domain.ledger.touches import touch
from domain.rules.reasons import REASONS, WAITS
from tests.measuring.books import DAY, NOON, Books, Person

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def books(ledger: Engine) -> Iterator[Books]:
    with ledger.begin() as conn:
        yield Books(conn)


def planned(books: Books, who: Person, **values: Any) -> int:
    facts = {"state": "planned", "due_at": NOON, "expires_at": NOON + 5 * DAY} | values
    return books.touch(who, books.enrol(who), **facts)


def book(books: Books, who: Person) -> None:
    """An appointment ten days ahead."""
    books.add(
        care,
        patient_id=who.id,
        service_line="dental",
        next_appointment_at=NOON + 10 * DAY,
        site_id=books.east,
    )


def claimed(books: Books, touch_id: int, at: datetime = NOON) -> claims.Claim:
    return claims.claim(
        books.conn, [touch_id], channel="sms", system="phone", systems={"sms": "phone"}, rules=STANDARD, now=at
    )


def told_of(books: Books, who: Person, touch_id: int, at: datetime) -> str:
    """The last line of the touch's story."""
    lines = [line for line in explain(books.conn, who.ref, at).lines() if f"touch {touch_id} " in line]
    return lines[-1]


def standing(books: Books, touch_id: int) -> tuple[str, str]:
    row = books.conn.execute(select(touch.c.state, touch.c.reason).where(touch.c.id == touch_id)).one()
    return row.state, row.reason


def test_a_touch_whose_appointment_outlasts_it_expires_and_says_so(books: Books) -> None:
    who = books.person()
    touch_id = planned(books, who)
    book(books, who)

    decided = claimed(books, touch_id)

    assert decided.nevers == [(touch_id, "expired")]
    assert standing(books, touch_id) == ("expired", "expired")
    assert told_of(books, who, touch_id, NOON).endswith(
        "expired while it waited: an appointment is ahead (rule house.booked)"
    )


@pytest.mark.parametrize("found_by", ["claim", "sweep"])
def test_a_pause_that_lasts_to_the_end_is_told_whoever_finds_it_first(books: Books, found_by: str) -> None:
    who = books.person()
    touch_id = planned(books, who, expires_at=NOON + 10 * MINUTE)
    pauses.pause(books.conn, "sms", "invoice", NOON)
    books.conn.execute(touch.update().values(due_at=NOON + 9 * MINUTE, reason="channel_paused"))

    if found_by == "claim":
        claimed(books, touch_id, NOON + 11 * MINUTE)
    else:
        touches.expire(books.conn, NOON + 11 * MINUTE)

    assert standing(books, touch_id) == ("expired", "expired")
    assert told_of(books, who, touch_id, NOON + HOUR).endswith(
        "expired while it waited: the channel is paused (rule house.expired)"
    )


@pytest.mark.parametrize("reason", sorted(WAITS))
def test_every_wait_can_be_told_as_what_it_expired_of(books: Books, reason: str) -> None:
    who = books.person()
    touch_id = planned(books, who, reason=reason, expires_at=NOON + MINUTE)

    touches.expire(books.conn, NOON + MINUTE)

    assert told_of(books, who, touch_id, NOON + HOUR).endswith(
        f"expired while it waited: {WAITS[reason]} (rule house.expired)"
    )


@pytest.mark.parametrize(
    ("reason", "due_at"),
    [(None, NOON), ("rerouted", NOON + 5 * DAY - MINUTE), ("quiet_hours", NOON)],
    ids=["it never waited", "it only changed its channel", "its wait was over for days, and nobody took it up"],
)
def test_an_outage_is_not_blamed_on_a_wait(books: Books, reason: str | None, due_at: datetime) -> None:
    who = books.person()
    touch_id = planned(books, who, reason=reason, due_at=due_at)

    touches.expire(books.conn, NOON + 5 * DAY)

    assert told_of(books, who, touch_id, NOON + 6 * DAY).endswith(
        f"not sent: {REASONS['expired']} (rule house.expired)"
    )
