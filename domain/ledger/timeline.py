"""The timeline: what happened to one patient's outreach and what is planned, as lines that a person can read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

_LOCAL = "%Y-%m-%d %a %H:%M"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, or did not, at `at` (UTC)."""

    at: datetime
    subject: str
    """`lapse 3`, `touch 12`, …: what to look up."""
    text: str
    until: datetime | None = None
    """When it will be tried again."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the ledger knows of one patient's outreach."""

    ref: str
    zone: str
    """The zone its local times are told in."""
    facts: tuple[str, ...]
    entries: tuple[Entry, ...]
    ahead: tuple[Entry, ...]
    """What is planned."""

    def lines(self) -> Iterator[str]:
        """The timeline as text, in the patient's local time."""
        yield f"Patient {self.ref}"
        yield from (f"  {fact}" for fact in self.facts)
        yield ""
        yield f"What happened (times in {self.zone})"
        yield from self._told(self.entries) if self.entries else iter(("  nothing yet",))
        yield ""
        yield "What is planned"
        yield from self._told(self.ahead) if self.ahead else iter(("  nothing",))

    def as_dict(self) -> dict[str, Any]:
        """The timeline for JSON; instants in UTC, ISO 8601."""
        told = asdict(self)
        for each in (*told["entries"], *told["ahead"]):
            each["at"] = each["at"].isoformat()
            each["until"] = each["until"].isoformat() if each["until"] is not None else None
        return told

    def _told(self, entries: Iterable[Entry]) -> Iterator[str]:
        zone = ZoneInfo(self.zone)
        for each in entries:
            again = f" (next try {each.until.astimezone(zone):{_LOCAL}})" if each.until is not None else ""
            yield f"  {each.at.astimezone(zone):{_LOCAL}}  {each.subject}: {each.text}{again}"
