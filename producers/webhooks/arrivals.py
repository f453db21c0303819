"""Arrivals: what the outside told us once and will not tell again, as values that can be kept on disk and read back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

from domain.ledger.receipts import ReceiptNews

_REPLY: Final = "reply"
_RECEIPTS: Final = "receipts"
_UNSUBSCRIBE: Final = "unsubscribe"


class ArrivalError(Exception):
    """What was kept on disk is no arrival this version knows."""


@dataclass(frozen=True, slots=True)
class ReplyArrival:
    """A patient's message, as its provider handed it to us."""

    channel: str
    system: str
    """The channel's ContactSystem."""
    provider_id: str
    sender: str = field(repr=False)
    text: str = field(repr=False)
    at: datetime
    """When we received it (UTC)."""
    answered_by_network: bool = False
    """See `InboundReply`."""
    provider: str | None = None
    """Whose number received it."""
    kind: str = field(default=_REPLY, init=False)


@dataclass(frozen=True, slots=True)
class ReceiptsArrival:
    """The receipts of one webhook call."""

    news: tuple[ReceiptNews, ...]
    at: datetime
    kind: str = field(default=_RECEIPTS, init=False)


@dataclass(frozen=True, slots=True)
class UnsubscribeArrival:
    """A one-click POST (RFC 8058) behind the link of a touch; its token was proven."""

    touch_id: int
    at: datetime
    kind: str = field(default=_UNSUBSCRIBE, init=False)


Arrival = ReplyArrival | ReceiptsArrival | UnsubscribeArrival


def pack(arrival: Arrival) -> bytes:
    """An arrival as bytes. They name a person: seal them."""
    # ASCII only: a lone surrogate that a provider let through must survive, too
    return json.dumps({**asdict(arrival), "at": arrival.at.isoformat()}).encode("ascii")


def unpack(packed: bytes) -> Arrival:
    """The arrival that `pack` was given.

    Raises:
        ArrivalError: it is none; the message repeats nothing of it.
    """
    try:
        return _read(json.loads(packed))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArrivalError(str(ArrivalError.__doc__)) from None


def _read(values: dict[str, Any]) -> Arrival:
    kind, at = values.pop("kind"), datetime.fromisoformat(values.pop("at")).astimezone(UTC)
    if kind == _REPLY:
        return ReplyArrival(**_known(ReplyArrival, values), at=at)
    if kind == _RECEIPTS:
        return ReceiptsArrival(tuple(ReceiptNews(**_known(ReceiptNews, each)) for each in values["news"]), at)
    if kind == _UNSUBSCRIBE:
        return UnsubscribeArrival(int(values["touch_id"]), at)
    raise KeyError(kind)


def _known(kind: type[ReplyArrival | ReceiptNews], values: dict[str, Any]) -> dict[str, Any]:
    """What this version knows of it: a newer process may have kept more, and its STOP is to be heeded all the same."""
    names = {each.name for each in fields(kind) if each.init}
    return {name: value for name, value in values.items() if name in names}
