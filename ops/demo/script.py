"""The script: what a story is told of, and where it is written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

#: A month of a story, in days.
MONTH = 30.4

#: Words of the demo's sources of configuration and exports inside its directory.
ORGANISATION, CLOCK, REPORT = "organisation.yaml", "clock", "report.json"


class StoryError(Exception):
    """The story cannot be told; the message says why and what to do."""


@dataclass(frozen=True)
class OwnExport:
    """A FHIR export of one's own, complete up to the script's start."""

    folder: Path
    organisation: Path
    """The file by which it is read."""


@dataclass(frozen=True)
class Script:
    """What is played."""

    directory: Path
    """Everything the story writes is in here; it is emptied first."""
    campaign: Path
    start: datetime
    months: int
    seed: int
    holdout: float | None = None
    """Instead of the campaign's own."""
    fleet: bool = False
    """On real servers with a process per role, instead of embedded."""
    sites: int = 6
    patients: int = 6000
    own: OwnExport | None = None
    """Instead of a synthetic one."""

    @property
    def days(self) -> int:
        """How long the story is, in simulated days."""
        return round(MONTH * self.months)


@dataclass
class Listener:
    """Told what is happening."""

    stage: Callable[[str], None] = field(default=lambda _text: None)
    instant: Callable[[datetime], None] = field(default=lambda _now: None)


def default_start() -> datetime:
    """When the synthetic story begins: a Monday at midnight UTC."""
    return datetime(2025, 1, 6, tzinfo=UTC)
