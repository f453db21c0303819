"""Receipts: what providers report of messages we sent, each report stored once, until it is applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from domain.ledger import store
from domain.ledger.columns import Instant
from domain.ledger.inbound import receipt
from domain.rules.vocabulary import Delivery

#: What a receipt may tell beyond its one message.
EFFECTS: Final = frozenset({"opted_out", "bad_address", "pause_channel"})

_WAITING: Final = (
    select(receipt.c.id)
    .where(receipt.c.applied_at.is_(None), receipt.c.received_at < bindparam("before", type_=Instant))
    .order_by(receipt.c.received_at, receipt.c.id)
    .limit(bindparam("most"))
    .offset(bindparam("skip"))
)
#: In the order of the index of those that wait: by id, all that was ever applied since would be walked through.
_SINCE: Final = (
    select(receipt.c.id)
    .where(receipt.c.applied_at.is_(None), receipt.c.id > bindparam("last"))
    .order_by(receipt.c.received_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)


@dataclass(frozen=True, slots=True)
class ReceiptNews:
    """One status report as a channel parsed it; `reference` is the attempt's token where it came back."""

    channel: str
    provider_ref: str
    status: str
    reference: str = ""
    error_code: str | None = None
    effect: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, if it does not fit its column or its closed set."""
        Delivery(self.status)
        if self.effect is not None and self.effect not in EFFECTS:
            raise ValueError("a receipt's effect is unknown")
        for name, value, longest in (
            ("provider_ref", self.provider_ref, 128),
            ("reference", self.reference, 32),
            ("error_code", self.error_code or "", 32),
        ):
            if len(value) > longest:
                raise ValueError(f"a receipt's {name} is longer than {longest} characters")


def take(conn: Connection, news: Sequence[ReceiptNews], now: datetime) -> list[int]:
    """Store what was not stored before, and say which rows are new; a repeat changes nothing."""
    return take_dated(conn, [(each, now) for each in news])


def take_dated(conn: Connection, news: Iterable[tuple[ReceiptNews, datetime]]) -> list[int]:
    """The same for receipts of several calls, each with the instant of its reception (UTC)."""
    firsts: dict[tuple[str, str, str], tuple[ReceiptNews, datetime]] = {}
    for each, at in news:
        firsts.setdefault((each.channel, each.provider_ref, each.status), (each, at))
    rows = [
        {
            "channel": each.channel,
            "provider_ref": each.provider_ref,
            "reference": each.reference,
            "status": each.status,
            "error_code": each.error_code,
            "effect": each.effect,
            "received_at": at,
        }
        for each, at in firsts.values()
    ]
    return sorted(conn.scalars(_taking(conn.dialect.name), rows)) if rows else []


@cache
def _taking(dialect: str) -> Any:
    return store.insert_on(dialect, receipt).on_conflict_do_nothing().returning(receipt.c.id)


def waiting(conn: Connection, received_before: datetime, limit: int, skip: int = 0) -> list[int]:
    """Receipts received before `received_before` that nobody applied yet, oldest first, less the first `skip`."""
    return list(conn.scalars(_WAITING, {"before": received_before, "most": limit, "skip": skip}))


def since(conn: Connection, receipt_id: int, limit: int) -> list[int]:
    """Receipts stored after that one which nobody applied or has in hand, oldest first; they are locked."""
    return list(conn.scalars(_SINCE, {"last": receipt_id, "most": limit}))
