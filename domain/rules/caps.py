"""Caps: how often one person, and one contact point, may be reached over rolling windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` within any `window`; `reason` explains a wait, `rule` is the row of the rules that says so."""

    reason: str
    count: int
    window: timedelta
    rule: str


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """Nothing more before `until`, because of `reason`, by the `rule`."""

    until: datetime
    reason: str
    rule: str


def blocked_until(now: datetime, sent: Sequence[datetime], caps: Sequence[Cap]) -> Block | None:
    """What lets go last of what blocks at `now`, or None if nothing does.

    `sent` holds the instants of everything that reached, or may have reached, the subject.
    """
    if not sent:
        return None
    blocks = [block for cap in caps if (block := _block(now, sent, cap)) is not None]
    return max(blocks, default=None)


def _block(now: datetime, sent: Sequence[datetime], cap: Cap) -> Block | None:
    recent = sorted((instant for instant in sent if instant > now - cap.window), reverse=True)
    if len(recent) < cap.count:
        return None
    return Block(recent[cap.count - 1] + cap.window, cap.reason, cap.rule)
