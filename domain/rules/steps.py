"""Steps: on which day of a cadence a touch falls, on which channels, and what must have come of the earlier ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

#: The list of calls that people make. No provider stands behind it, so it is no channel of `channels/`.
PHONE = "phone"

#: What the history of a touch calls it when whoever answered a call spoke with us: an answer, as a reply is.
SPOKEN_WITH = "spoken_with"


class Silence(StrEnum):
    """What a step may wait for: that the earlier touches of the enrolment came to nothing."""

    NO_REPLY = "no_reply"
    """Nobody wrote back from the patient's numbers and addresses, or was spoken with in a call."""
    NO_CLICK = "no_click"
    """No link of them was opened."""
    UNDELIVERED = "undelivered"
    """The last one was refused, or the provider says that it did not arrive."""


class Answer(StrEnum):
    """What counts as an answer to outreach; a booking and a visit always do, they end or hold the cadence."""

    REPLY = "reply"
    """Anything written back but a machine's answer and a phone's reaction; a call in which somebody was spoken with."""
    CLICK = "click"
    """A link was opened: weak, as scanners open links too."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a cadence."""

    day: int
    """After enrolment."""
    channels: tuple[str, ...] = ()
    """Its own, in order of preference; none: the campaign's, in turn."""
    only_if: Silence | None = None
    """Without it, there is no touch at this step."""
    escalate_if: Silence | None = None
    """Without it, the step's own channels are not used, but the campaign's."""

    @property
    def is_conditional(self) -> bool:
        """Whether what came of the earlier touches decides about it."""
        return self.only_if is not None or self.escalate_if is not None

    def own_channel(self, reachable: Collection[str]) -> str | None:
        """The first of its own channels that reaches the patient."""
        return next((channel for channel in self.channels if channel in reachable), None)


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of the touches of one enrolment until now."""

    replied_at: datetime | None = None
    """In writing, or on the phone."""
    clicked_at: datetime | None = None
    is_undelivered: bool = False
    """Of the last touch that went out, or was refused."""
    sent_at: tuple[datetime, ...] = ()
    """When each touch of outreach was accepted."""

    def shows(self, silence: Silence) -> bool:
        """Whether it is so."""
        match silence:
            case Silence.NO_REPLY:
                return self.replied_at is None
            case Silence.NO_CLICK:
                return self.clicked_at is None
            case Silence.UNDELIVERED:
                return self.is_undelivered

    def unanswered(self, answers: Collection[Answer]) -> int:
        """How many touches went out since the last answer of these kinds."""
        found = {Answer.REPLY: self.replied_at, Answer.CLICK: self.clicked_at}
        last = max((at for kind in answers if (at := found[kind]) is not None), default=None)
        return sum(last is None or at > last for at in self.sent_at)


def from_entry(entry: int | Mapping[str, Any]) -> Step:
    """A step of a campaign's stored definition: a day, or a mapping."""
    if isinstance(entry, int):
        return Step(entry)
    only_if, escalate_if = entry.get("only_if"), entry.get("escalate_if")
    return Step(
        day=entry["day"],
        channels=tuple(entry.get("channels") or ()),
        only_if=None if only_if is None else Silence(only_if),
        escalate_if=None if escalate_if is None else Silence(escalate_if),
    )
