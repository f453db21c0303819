"""Claimed: what a claim hands to a sender, and what it decided about the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from domain.rules.vocabulary import Wait

#: Contact point, and the provider whose number received the reply that is answered (None: none is, or nobody knows)
#: -> the provider that is to deliver to it, or until when and why none may now.
Route = Callable[[int, str | None], str | Wait]


@dataclass(frozen=True, slots=True)
class Claimed:
    """One touch this process alone may now send, once, before `lease_until`."""

    touch_id: int
    token: str
    kind: str
    answer: str | None
    channel: str
    provider: str
    """Who is to deliver it; receipts, refusals and doubts are this one's."""
    organisation_id: int
    patient_id: int | None
    contact_point_id: int
    sealed_address: bytes
    template_id: int | None
    """The released text it says; None for an answer, and where its campaign has none."""
    language: str
    organisation: str
    organisation_phone: str
    postal_address: str
    site: str
    valid_until: datetime
    due_at: datetime
    dispatched_until: datetime | None
    attempts: int
    """This one included."""
    came_by: str | None = None
    """Of an answer: whose number received the reply, if that is known."""


@dataclass
class Claim:
    """What a claim decided, touch by touch."""

    claimed: list[Claimed] = field(default_factory=list)
    waits: list[tuple[int, Wait]] = field(default_factory=list)
    nevers: list[tuple[int, str]] = field(default_factory=list)
    outwaited: dict[int, str] = field(default_factory=dict)
    """Of those that expired: what they had waited for until it was too late."""
    rules: dict[int, str | None] = field(default_factory=dict)
    """Of the nevers: the row of the rules that decided."""
    rerouted: list[tuple[int, str, str | None]] = field(default_factory=list)
    """Touch, its new channel, and why (a reason id; None: this one does not reach the patient)."""
