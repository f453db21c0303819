"""The window: whether somebody may be contacted at an instant, which rule decides, and when the next window is open."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from domain.rules.quiet_hours import closing, next_allowed
from domain.rules.rulebook import InForce


@dataclass(frozen=True, slots=True)
class Window:
    """The answer for one instant."""

    allowed: bool
    next_allowed: datetime | None
    """The instant itself if it is allowed; None = the zones share no hour."""
    window_end: datetime | None
    """When the window that is open then closes: what a provider is told as the end of a message's validity."""
    rule: str | None
    """Of an instant that is allowed the row that ends the window, else the row that keeps it quiet."""


def window_at(now: datetime, zones: Collection[str], rules: InForce) -> Window:
    """The window at `now`, in its zone, for somebody who may be in any of these zones (one at least)."""
    opens = next_allowed(now, zones, rules.hours)
    found = closing(opens, zones, rules.hours) if opens is not None else None
    end, rule = found if found is not None else (None, None)
    if opens != now:
        rule = rules.deciding(now, zones)
    return Window(allowed=opens == now, next_allowed=opens, window_end=end, rule=rule)
