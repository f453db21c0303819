"""What an import came to: every line of every file accounted for, and every rejected one listed."""

from __future__ import annotations

from dataclasses import dataclass

from domain.ledger.intake_log import Reject

#: So many rejects of a file are listed in the result; the ledger's import_reject has all of them.
LISTED = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after every batch. `position` and `size` are bytes of the file as it lies on disk."""

    file: str
    number: int
    files: int
    lines: int
    position: int
    size: int


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file: lines = taken + stale + ignored + rejected (blank lines are ignored ones; a CSV header is no line)."""

    name: str
    kind: str
    lines: int
    taken: int
    stale: int
    ignored: int
    rejected: int
    #: Whole lines rejected and fields left out of lines that were taken, by line; at most LISTED.
    rejects: tuple[Reject, ...]
    #: It was taken by an earlier run, under the same configuration; the figures are from then.
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The whole import."""

    organisation_id: int
    files: tuple[FileResult, ...]
    #: Worth knowing and no problem: an empty file, a file the mapping does not mention, an address of
    #: the organisation that looks undeliverable.
    notes: tuple[str, ...]
    #: What an export made without a fault would not hold: a file of patients without any, a CSV without a header.
    warnings: tuple[str, ...] = ()

    @property
    def lines(self) -> int:
        """Lines of all files."""
        return sum(file.lines for file in self.files)

    @property
    def rejected(self) -> int:
        """Lines of all files that were not taken."""
        return sum(file.rejected for file in self.files)
