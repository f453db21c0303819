"""Asking: what a provider's own list of messages proves of a send whose outcome nobody knows.

A text of ours carries a link that names its touch, which is our reference in the list: Twilio's has no other. A message
that holds it proves that the provider took the text. That none is there proves something only once the message can wait
nowhere any more, and only of a list that was read to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.rules.vocabulary import TouchKind

#: When a provider is asked, counted from the claim: receipts come within minutes; the last time, absence proves it.
AFTER: Final = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6), timedelta(hours=25))

#: A message waits with Twilio for 10 hours at most (ValidityPeriod); the rest is margin for a list that lags behind.
ABSENT_AFTER: Final = timedelta(hours=24)

#: How far two clocks may be apart where absence is judged.
SKEW: Final = timedelta(minutes=1)


class Said(StrEnum):
    """What the answer proves."""

    TAKEN = "taken"
    NEVER_TAKEN = "never_taken"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Span:
    """While an attempt could call: from its claim to the end of its lease (UTC)."""

    claimed_at: datetime
    lease_until: datetime

    def holds(self, at: datetime, margin: timedelta = timedelta(0)) -> bool:
        """Whether a message created then may be this attempt's. Providers tell instants in whole seconds."""
        return self.claimed_at.replace(microsecond=0) - margin <= at <= self.lease_until + margin


@dataclass(frozen=True, slots=True)
class Listed:
    """One message of a provider's list, as far as it matters here: of its text only whom the links in it name."""

    provider_ref: str
    created_at: datetime
    touches: frozenset[int]
    """Touches that links of ours in its text name."""
    status: str
    """A `Delivery` value."""
    code: str | None = None
    effect: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The messages to one number."""

    messages: Sequence[Listed]
    is_whole: bool
    """Whether none that was created since the claim is missing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The send that is asked about."""

    touch_id: int
    kind: str
    span: Span
    others: Sequence[Span]
    """Of the touch's other attempts that may have called."""


def judge(asked: Asked, answered: Answered, now: datetime) -> tuple[Said, Listed | None]:
    """What the list proves of the send at `now`, and the message that does."""
    own = [each for each in answered.messages if asked.touch_id in each.touches]
    if own:
        found = _the_one(asked, own)
        return (Said.TAKEN, found) if found else (Said.NOTHING, None)
    if now < asked.span.lease_until + ABSENT_AFTER or not answered.is_whole:
        return Said.NOTHING, None
    is_there = any(
        asked.span.holds(each.created_at, SKEW) and not _is_anothers(asked, each) for each in answered.messages
    )
    return (Said.NOTHING, None) if is_there else (Said.NEVER_TAKEN, None)


def _the_one(asked: Asked, own: Sequence[Listed]) -> Listed | None:
    """The touch's message that is surely this attempt's."""
    if not asked.others:
        return own[0] if len(own) == 1 else None
    possible = [each for each in own if asked.span.holds(each.created_at)]
    if len(possible) != 1 or any(other.holds(possible[0].created_at, SKEW) for other in asked.others):
        return None
    return possible[0]


def _is_anothers(asked: Asked, message: Listed) -> bool:
    """Whether a message at the time in question is surely another touch's. An answer has no link to tell it by."""
    return asked.kind != TouchKind.ANSWER and bool(message.touches)
