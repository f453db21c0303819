"""Which files an import takes, in which order, and everything that can be found wrong with them beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from producers.importing import fhir
from producers.importing.csv_rows import CsvReader, header_problems, wrong_encoding
from producers.importing.fhir import FhirReader
from producers.importing.mapping_file import IgnoredFile, MappingFile, TakenFile, read_mapping
from producers.importing.organisation_file import Fhir, OrganisationFile
from producers.importing.outcome import Outcome, Unusable
from producers.importing.source_file import DAMAGE, LONGEST_LINE, ImportProblem, SourceFile

_SUFFIXES: Final = (".ndjson", ".ndjson.gz", ".csv", ".csv.gz")
_CSV_ORDER: Final = {"patients": 0, "appointments": 1, "gaps": 2}
MAPPING_NAME: Final = "mapping.yaml"
#: The `kind` of a CSV file of patients.
PATIENT_ROWS: Final = "csv patients"


class Planned(Protocol):
    """A file to take. `meaning` is the configuration it is read by; with the bytes it tells one import from another."""

    path: Path
    kind: str
    order: int
    meaning: str

    def outcomes(self, source: SourceFile, organisation_id: int, as_of: datetime) -> Iterator[tuple[int, Outcome]]:
        """Every line with its number, in order."""
        ...


@dataclass
class FhirFile:
    """A file of FHIR resources."""

    path: Path
    kind: str
    order: int
    meaning: str
    fhir: Fhir

    def outcomes(self, source: SourceFile, organisation_id: int, as_of: datetime) -> Iterator[tuple[int, Outcome]]:
        """Every line with its number."""
        reader = FhirReader(self.fhir, organisation_id, as_of)
        for number, line in enumerate(source.lines(), 1):
            too_long = Unusable("line", f"longer than {LONGEST_LINE >> 20} MiB")
            yield number, too_long if line is None else reader.read(line)


@dataclass
class CsvFile:
    """A file of rows."""

    path: Path
    kind: str
    order: int
    meaning: str
    mapping: MappingFile
    file: TakenFile

    def outcomes(self, source: SourceFile, organisation_id: int, as_of: datetime) -> Iterator[tuple[int, Outcome]]:
        """Every row with the line it starts on."""
        line = 0
        try:
            with source.text(self.mapping.encoding) as text:
                for line, outcome in CsvReader(self.mapping, self.file, organisation_id, as_of).rows(text):
                    yield line, outcome
        except UnicodeError:
            raise ImportProblem(
                f"{self.path.name}:{line}: after this line {wrong_encoding(self.mapping.encoding)}; "
                "what came before is taken"
            ) from None
        except DAMAGE:
            raise source.damaged(line) from None


@dataclass
class Plan:
    """The files in the order in which they are taken, and what is worth noting."""

    files: list[Planned]
    notes: list[str]
    warnings: list[str]


def make_plan(organisation: OrganisationFile, sources: Sequence[Path], mapping_file: Path | None) -> Plan:
    """Look at every file before anything is written.

    Raises:
        ImportProblem: with everything found wrong.
        ops.runtime.yamlfile.FileProblems: the mapping file's problems.
    """
    problems: list[str] = []
    plan = Plan([], [], [])
    paths = list(_paths(sources, problems))
    mapping_path = mapping_file or _beside(paths)
    mapping = read_mapping(mapping_path) if mapping_path and any(map(_is_csv, paths)) else None
    for path in paths:
        try:
            planned = (
                _planned_csv(path, mapping, plan) if _is_csv(path) else _planned_fhir(path, organisation.fhir, plan)
            )
        except ImportProblem as problem:
            problems.append(str(problem))
        else:
            plan.files += [planned] if planned else []
    if not paths and not problems:
        problems.append(f"nothing to import: no {', '.join(_SUFFIXES)} in {', '.join(map(str, sources))}")
    if problems:
        raise ImportProblem("\n".join(problems))
    plan.files.sort(key=lambda planned: (planned.order, planned.path.name))
    return plan


def without_rows(name: str) -> str:
    """The warning about a file of patients that names none."""
    return f"{name}: no patients are in it; if that is not what the record system has, its export failed"


def _paths(sources: Sequence[Path], problems: list[str]) -> Iterator[Path]:
    for source in sources:
        if source.is_dir():
            yield from sorted(path for path in source.iterdir() if path.is_file() and path.name.endswith(_SUFFIXES))
        elif not source.exists():
            problems.append(f"{source}: no such file or directory")
        elif not source.name.endswith(_SUFFIXES):
            problems.append(f"{source}: expected a file named {', '.join('*' + suffix for suffix in _SUFFIXES)}")
        else:
            yield source


def _is_csv(path: Path) -> bool:
    return path.name.endswith((".csv", ".csv.gz"))


def _beside(paths: Sequence[Path]) -> Path | None:
    found = {path.parent / MAPPING_NAME for path in paths if _is_csv(path)}
    return next((path for path in sorted(found) if path.exists()), None)


def _planned_fhir(path: Path, config: Fhir | None, plan: Plan) -> Planned | None:
    if config is None:
        raise ImportProblem(f"{path.name}: a FHIR export needs a `fhir` section in the organisation file")
    with SourceFile(path) as source:
        first = next((line for line in source.lines() if line is None or line.strip()), b"")
    if first == b"":
        # only its name says what would be in it
        if path.name.lower().startswith("patient"):
            plan.warnings.append(without_rows(path.name))
        else:
            plan.notes.append(f"{path.name}: the file is empty")
        return None
    kind = fhir.type_of(first) if first is not None else ""
    return FhirFile(path, "fhir", fhir.ORDER.get(kind, 3), config.model_dump_json(), config)


def _planned_csv(path: Path, mapping: MappingFile | None, plan: Plan) -> Planned | None:
    if mapping is None:
        raise ImportProblem(f"{path.name}: a CSV export needs a mapping file ({MAPPING_NAME} beside it, or named)")
    file = mapping.of(path)
    if file is None or isinstance(file, IgnoredFile):
        if file is None:
            plan.notes.append(f"{path.name}: not in the mapping, left out")
        return None
    with SourceFile(path) as source:
        if source.size == 0:
            plan.warnings.append(f"{path.name}: the file is empty, not even a header is in it: its export failed")
            return None
        try:
            with source.text(mapping.encoding) as text:
                found = header_problems(mapping, file, text)
        except UnicodeError:
            found = [wrong_encoding(mapping.encoding)]
        except DAMAGE:
            raise source.damaged(0) from None
    if found:
        raise ImportProblem("\n".join(f"{path.name}:1: {problem}" for problem in found))
    meaning = mapping.model_dump_json(exclude={"files"}) + file.model_dump_json()
    return CsvFile(path, f"csv {file.takes}", _CSV_ORDER[file.takes], meaning, mapping, file)
