"""Twilio's vocabulary: what its error codes and statuses mean, and how its ids look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from channels.kit.contract import OutcomeKind, SideEffect
from channels.kit.errors import ProviderError, table
from domain.rules.vocabulary import Delivery

SID = re.compile(r"[A-Za-z0-9]{1,64}")
ERROR_CODE = re.compile(r"[1-9][0-9]{4}")

#: Twilio's error dictionary (recalled; check against their pages). What is not listed is not retried.
#: Account and registration errors leave the message waiting (RETRY): it was not accepted and nothing is wrong with it.
ERRORS = table(
    ProviderError("20429", "too many requests", OutcomeKind.THROTTLED, retry_after=timedelta(seconds=5)),
    ProviderError("30001", "queue overflow", OutcomeKind.THROTTLED, retry_after=timedelta(minutes=1)),
    ProviderError("21611", "sender's queue is full", OutcomeKind.THROTTLED, retry_after=timedelta(minutes=1)),
    ProviderError("30022", "carrier's rate exceeded", OutcomeKind.THROTTLED, retry_after=timedelta(minutes=1)),
    ProviderError("30003", "handset unreachable", OutcomeKind.RETRY, retry_after=timedelta(hours=4), later_tries=2),
    ProviderError("30008", "unknown error", OutcomeKind.RETRY, retry_after=timedelta(hours=1), later_tries=1),
    ProviderError("30006", "landline", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("21635", "landline", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("30005", "unknown handset", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("21211", "no valid number", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("21614", "no mobile number", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("21610", "recipient opted out", OutcomeKind.REJECTED, SideEffect.OPTED_OUT),
    ProviderError("21408", "region not enabled", OutcomeKind.RETRY, SideEffect.PAUSE_CHANNEL),
    ProviderError("30002", "account suspended", OutcomeKind.RETRY, SideEffect.PAUSE_CHANNEL),
    ProviderError("30034", "sender not registered", OutcomeKind.RETRY, SideEffect.PAUSE_CHANNEL),
    ProviderError("30004", "blocked: review the content", OutcomeKind.REJECTED),
    ProviderError("30007", "filtered by the carrier: review the content", OutcomeKind.REJECTED),
)

#: Twilio's MessageStatus of an outbound message. `partially_delivered` may yet become more, so it ends nothing.
STATUSES: Mapping[str, Delivery] = {
    "accepted": Delivery.UNKNOWN,
    "scheduled": Delivery.UNKNOWN,
    "queued": Delivery.UNKNOWN,
    "sending": Delivery.UNKNOWN,
    "sent": Delivery.SENT,
    "partially_delivered": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.DELIVERED,
    "undelivered": Delivery.UNDELIVERED,
    "failed": Delivery.UNDELIVERED,
    "canceled": Delivery.UNDELIVERED,
}


def effect_of(code: str) -> SideEffect | None:
    """What an error code tells beyond its message; see `Channel.effect_of`."""
    known = ERRORS.get(code)
    return known.effect if known else None
