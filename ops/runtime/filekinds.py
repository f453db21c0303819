"""Which kind of file a YAML file is, by its top-level keys, and which command it is for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file people write: its keys at the top level, those it cannot do without, and the command for it."""

    name: str
    required: frozenset[str]
    optional: frozenset[str]
    command: str

    def advice(self, path: Path) -> str:
        """What to do with such a file."""
        return f"`{self.command.format(path)}`"

    def fit(self, keys: Collection[str]) -> int:
        """How well these keys look like this kind's: known ones count for it, strange and missing ones against it."""
        known = len((self.required | self.optional) & set(keys))
        return known - (len(set(keys)) - known) - len(self.required - set(keys))


def _kind(name: str, required: str, optional: str, command: str) -> FileKind:
    return FileKind(name, frozenset(required.split()), frozenset(optional.split()), command)


KINDS: Final = (
    _kind(
        "a campaign file",
        "campaign cadence",
        "audience holdout channels send_at high_risk graduate_after_days graduation reminder daily_enrolments_per_site"
        " pace daily_touches_per_site blackout seasons benefit_year enrol_in incentives languages library use"
        " templates",
        "reactivate campaign check {}",
    ),
    _kind("a file of templates", "templates", "", "reactivate template check {}"),
    _kind("an organisation file", "organisation sites", "fhir", "reactivate import --organisation {} SOURCES"),
    _kind("an organisation's file of rules", "override", "organisation", "reactivate rules --rules {}"),
    _kind("a table of rules", "kind rows", "", "reactivate rules"),
    _kind("a mapping file", "source files", "encoding delimiter zone", "reactivate import --mapping {} SOURCES"),
)


def kind_of(keys: Collection[str]) -> FileKind | None:
    """The kind of file that has these keys at its top level; none where no kind, or more than one, fits best."""
    best = max(kind.fit(keys) for kind in KINDS)
    fitting = [kind for kind in KINDS if kind.fit(keys) == best]
    return fitting[0] if best > 0 and len(fitting) == 1 else None


def kind_with(keys: Collection[str]) -> FileKind | None:
    """The kind whose keys are exactly these, as a model of it has them."""
    return next((kind for kind in KINDS if kind.required | kind.optional == set(keys)), None)


def mistaken(path: Path, keys: Collection[str], wanted: Collection[str]) -> str | None:
    """What to say of a file with these keys where one with the `wanted` keys was asked for; none: it may be one."""
    expected, found = kind_with(wanted), kind_of(keys)
    if expected is None or found is None or found is expected or expected.fit(keys) >= found.fit(keys):
        return None
    return f"this is {found.name}, and here {expected.name} is wanted; this one is for {found.advice(path)}"
