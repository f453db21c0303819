"""An import: takes an organisation's export into the ledger, batch by batch, so that it may stop anywhere and go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from domain.ledger import care, intake, intake_log, organisations
from domain.ledger.intake import Taken
from domain.ledger.intake_log import FileState, Reject
from domain.ledger.patients import lock
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from domain.rules.news import AppointmentNews, GapNews, PatientNews
from producers.importing.dates import is_to_come
from producers.importing.organisation_file import OrganisationFile, read_organisation_with_notes
from producers.importing.outcome import Ignored, News, Outcome, Read, Unusable
from producers.importing.plan import PATIENT_ROWS, Planned, make_plan, without_rows
from producers.importing.result import LISTED, FileResult, ImportResult, Progress
from producers.importing.source_file import ImportProblem, SourceFile

#: Lines committed together; an interrupted import repeats at most so many.
BATCH: Final = 1000

Numbered = tuple[int, Outcome]


def run_import(
    engine: Engine,
    vault: Vault,
    *,
    organisation_file: Path,
    sources: Sequence[Path],
    now: datetime,
    as_of: datetime | None = None,
    mapping_file: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ImportResult:
    """Import files and folders of an export (FHIR bulk NDJSON, or CSV with a mapping), plain or gzip.

    The same file under the same configuration is taken once; an interrupted import goes on after its last batch.

    Args:
        as_of: when the export was made (default: `now`): the version of what carries none of its own. No day to
            come: every later correction would be older than the export.
        mapping_file: of CSV files; default mapping.yaml beside them.
        progress: called after every batch.

    Raises:
        ops.runtime.yamlfile.FileProblems: the organisation or mapping file's problems, by line.
        ImportProblem: what is wrong with the files. Found beforehand, nothing was taken; found half-way, what was
            committed stays.
    """
    if as_of is not None and is_to_come(as_of.date(), now):
        raise ImportProblem(f"--as-of: {as_of:%Y-%m-%d} is to come; an export was made today or before")
    organisation, notes = read_organisation_with_notes(organisation_file)
    plan = make_plan(organisation, sources, mapping_file)
    organisation_id = store_organisation(engine, organisation, now)
    report = progress or (lambda _: None)
    importing = _Importing(engine, vault, organisation_id, now, as_of or now, report, len(plan.files))
    files = [importing.take(number, planned) for number, planned in enumerate(plan.files, 1)]
    warnings = [*plan.warnings, *(without_rows(file.name) for file in files if _is_of_nobody(file))]
    return ImportResult(organisation_id, tuple(files), (*notes, *plan.notes), tuple(warnings))


def store_organisation(engine: Engine, organisation: OrganisationFile, now: datetime) -> int:
    """Store the organisation and its sites; where thresholds changed, the patients there are looked at again."""
    with engine.begin() as conn:
        stored = organisations.upsert(conn, organisation.organisation_news(), organisation.site_news())
    last = 0
    while stored.changed_sites:
        with engine.begin() as conn:
            ids = care.of_sites(conn, stored.changed_sites, last, BATCH)
            lock(conn, ids)
            intake.follow(conn, ids, now)
        if len(ids) < BATCH:
            break
        last = ids[-1]
    return stored.organisation_id


def _is_of_nobody(file: FileResult) -> bool:
    # a header alone is found by reading on: a quoted cell of it may go over several lines
    return file.kind == PATIENT_ROWS and file.lines == 0


@dataclass
class _Importing:
    engine: Engine
    vault: Vault
    organisation_id: int
    now: datetime
    as_of: datetime
    report: Callable[[Progress], None]
    files: int

    def take(self, number: int, planned: Planned) -> FileResult:
        """Take what is left of one file."""
        with SourceFile(planned.path) as source:
            checksum = source.checksum(planned.meaning)
            with self.engine.begin() as conn:
                state = intake_log.open_file(
                    conn, self.organisation_id, planned.path.name, checksum, planned.kind, self.now
                )
            is_repeat = state.finished_at is not None
            if not is_repeat:
                outcomes = planned.outcomes(source, self.organisation_id, self.as_of)
                for batch, is_last in _batches(islice(outcomes, state.lines_done, None)):
                    state = self._commit(state, batch, is_last=is_last)
                    self.report(
                        Progress(planned.path.name, number, self.files, state.lines_done, source.position, source.size)
                    )
        with reading(self.engine) as conn:
            rejects = intake_log.rejects_of(conn, state.id, LISTED)
        return FileResult(
            name=planned.path.name,
            kind=planned.kind,
            lines=state.lines_done,
            taken=state.taken,
            stale=state.stale,
            ignored=state.ignored,
            rejected=state.rejected,
            rejects=tuple(rejects),
            is_repeat=is_repeat,
        )

    def _commit(self, before: FileState, batch: Sequence[Numbered], *, is_last: bool) -> FileState:
        with self.engine.begin() as conn:
            books = _Books()
            books.enter(batch)
            self._take_news(conn, books)
            after = replace(
                before,
                lines_done=before.lines_done + len(batch),
                taken=before.taken + books.taken,
                stale=before.stale + books.stale,
                ignored=before.ignored + books.ignored,
                rejected=before.rejected + books.rejected,
                finished_at=self.now if is_last else None,
            )
            if after.lines_done != after.taken + after.stale + after.ignored + after.rejected:
                raise AssertionError(f"lines {before.lines_done + 1} to {after.lines_done} are not all accounted for")
            if not intake_log.advance(conn, before, after, books.rejects):
                raise ImportProblem("another import of the same file is running; let it finish")
        return after

    def _take_news(self, conn: Connection, books: _Books) -> None:
        # patients first: within a batch, too, the other resources refer to them
        if books.patients:
            lines, patients = zip(*books.patients, strict=True)
            books.settle(lines, intake.take_patients(conn, self.vault, patients, self.now))
        if books.appointments:
            lines, appointments = zip(*books.appointments, strict=True)
            books.settle(lines, intake.take_appointments(conn, self.vault, appointments, self.now))
        if books.gaps:
            lines, gaps = zip(*books.gaps, strict=True)
            books.settle(lines, intake.take_gaps(conn, self.vault, gaps, self.now))


@dataclass
class _Books:
    """One batch: its news by kind, each with its line, and what became of every line."""

    patients: list[tuple[int, PatientNews]] = field(default_factory=list)
    appointments: list[tuple[int, AppointmentNews]] = field(default_factory=list)
    gaps: list[tuple[int, GapNews]] = field(default_factory=list)
    taken: int = 0
    stale: int = 0
    ignored: int = 0
    rejected: int = 0
    rejects: list[Reject] = field(default_factory=list)

    def enter(self, batch: Sequence[Numbered]) -> None:
        """Sort the lines of a batch."""
        for line, outcome in batch:
            match outcome:
                case Read(news, left_out):
                    self._sort(line, news)
                    self.rejects += [_left_out(line, *each) for each in left_out]
                case Ignored():
                    self.ignored += 1
                case Unusable():
                    self.rejected += 1
                    self.rejects.append(Reject(line, outcome.field, outcome.reason))

    def settle(self, lines: Sequence[int], taken: Taken) -> None:
        """Enter what the ledger made of the news."""
        self.taken += taken.applied
        self.stale += taken.stale
        self.ignored += taken.ignored
        self.rejected += len(taken.rejected)
        self.rejects += [Reject(lines[fault.index], fault.field, fault.reason) for fault in taken.rejected]
        self.rejects += [_left_out(lines[fault.index], fault.field, fault.reason) for fault in taken.left_out]

    def _sort(self, line: int, news: News) -> None:
        match news:
            case PatientNews():
                self.patients.append((line, news))
            case AppointmentNews():
                self.appointments.append((line, news))
            case GapNews():
                self.gaps.append((line, news))


def _left_out(line: int, name: str, reason: str) -> Reject:
    return Reject(line, name, f"{reason} (left out; the rest of the line was taken)")


def _batches(outcomes: Iterator[Numbered]) -> Iterator[tuple[list[Numbered], bool]]:
    """Slices of BATCH lines, and whether each is the last; what was read before a file broke off is a slice, too."""
    while True:
        batch: list[Numbered] = []
        try:
            for each in islice(outcomes, BATCH):
                batch.append(each)  # noqa: PERF402 (extend would lose what came before an error)
        except ImportProblem:
            yield batch, False
            raise
        yield batch, len(batch) < BATCH
        if len(batch) < BATCH:
            return
