"""Rows of a CSV export as news, by a mapping file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TypeVar
from zoneinfo import ZoneInfo

from domain.rules.news import AppointmentNews, Contact, GapNews, PatientNews, Registration, as_known, version_of
from domain.rules.vocabulary import AppointmentStatus, ContactSystem, ServiceLine
from producers.importing.csv_fields import Fields, IgnoredRow, Row, missing_columns
from producers.importing.mapping_file import MappingFile, TakenFile
from producers.importing.outcome import IGNORED, News, Outcome, Read, Unusable

T = TypeVar("T")
LeftOut = list[tuple[str, str]]


@dataclass
class CsvReader:
    """Reads the rows of one file; `as_of` is when the export was made."""

    mapping: MappingFile
    file: TakenFile
    organisation_id: int
    as_of: datetime
    _fields: Fields = field(init=False)

    def rows(self, text: IO[str]) -> Iterator[tuple[int, Outcome]]:
        """Every row after the header: the line it starts on, and what it comes to."""
        reader = csv.reader(text, delimiter=self.mapping.delimiter)
        header = [name.strip() for name in next(reader, [])]
        self._fields = Fields(self.file.fields.specs(), header, ZoneInfo(self.mapping.zone))
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, Unusable("row", f"not CSV: {error}")
                continue
            yield line, self._read(row, len(header))

    def _read(self, row: Row, width: int) -> Outcome:
        if not row:
            return IGNORED
        try:
            _check_shape(row, width, self.mapping.encoding)
            match self.file.takes:
                case "patients":
                    return self._patient(row)
                case "appointments":
                    return Read(self._appointment(row))
                case "gaps":
                    return Read(self._gap(row))
        except IgnoredRow:
            return IGNORED
        except Unusable as unusable:
            return unusable

    def _version(self, row: Row) -> int:
        return version_of(self._fields.instant(row, "version") or self.as_of)

    def _numbered(self, row: Row) -> tuple[int, str, str, int]:
        """What every thing of a source begins with: organisation, source, the source's id of it, version."""
        return self.organisation_id, self.mapping.source, self._fields.needed(row, "id"), self._version(row)

    def _patient(self, row: Row) -> Read:
        fields, left_out = self._fields, LeftOut()
        site = fields.needed(row, "site")
        survivor = fields.text(row, "merged_into_mrn")
        news = PatientNews(
            organisation_id=self.organisation_id,
            site=site,
            mrn=fields.needed(row, "mrn"),
            version=self._version(row),
            person=fields.text(row, "person"),
            given_name=fields.text(row, "given_name"),
            family_name=fields.text(row, "family_name"),
            birth_date=_or_left_out(fields.day, row, "birth_date", left_out),
            language=_or_left_out(fields.text, row, "language", left_out),
            zone=_or_left_out(fields.text, row, "zone", left_out),
            state=_or_left_out(fields.text, row, "state", left_out),
            contacts=self._contacts(row),
            preferred_channel=_or_left_out(fields.text, row, "preferred_channel", left_out),
            high_risk=_or_left_out(fields.flag, row, "high_risk", left_out),
            payer=_or_left_out(fields.text, row, "payer", left_out),
            benefit_month=_or_left_out(fields.number, row, "benefit_month", left_out),
            deceased=_or_left_out(fields.flag, row, "deceased", left_out),
            deceased_at=self._deceased_at(row),
            merged_into=Registration(fields.text(row, "merged_into_site") or site, survivor) if survivor else None,
        )
        return Read(news, tuple(left_out))

    def _deceased_at(self, row: Row) -> datetime | None:
        """A date that cannot be read still says that the patient died: then the date of the export stands for it."""
        try:
            return self._fields.instant(row, "deceased_at")
        except Unusable:
            return self.as_of

    def _contacts(self, row: Row) -> tuple[Contact, ...] | None:
        lists = (("phones", ContactSystem.PHONE), ("emails", ContactSystem.EMAIL))
        names = [(f"{name}[{rank}]", system, rank) for name, system in lists for rank in range(len(self._listed(name)))]
        if not names:
            return None
        told = [(self._fields.text(row, name), system, rank) for name, system, rank in names]
        return tuple(Contact(system, value, None, rank + 1) for value, system, rank in told if value)

    def _listed(self, name: str) -> Sequence[object]:
        found: Sequence[object] = getattr(self.file.fields, name)
        return found

    def _appointment(self, row: Row) -> News:
        fields = self._fields
        status = _one_of(AppointmentStatus, fields.needed(row, "status"), "status")
        starts_at = _there(fields.instant(row, "starts_at"), "starts_at")
        return AppointmentNews(
            *self._numbered(row),
            site=fields.needed(row, "site"),
            patient_site=fields.text(row, "patient_site"),
            mrn=fields.needed(row, "mrn"),
            service_line=_one_of(ServiceLine, fields.needed(row, "service_line"), "service_line"),
            status=as_known(status, starts_at, self.as_of),
            starts_at=starts_at,
            changed_at=fields.instant(row, "changed_at"),
        )

    def _gap(self, row: Row) -> News:
        fields = self._fields
        return GapNews(
            *self._numbered(row),
            patient_site=fields.needed(row, "patient_site"),
            mrn=fields.needed(row, "mrn"),
            measure=fields.needed(row, "measure"),
            site=fields.text(row, "site"),
            due_at=fields.instant(row, "due_at"),
            every_months=fields.number(row, "every_months"),
            since=fields.instant(row, "since"),
            closed_at=fields.instant(row, "closed_at"),
        )


def header_problems(mapping: MappingFile, file: TakenFile, text: IO[str]) -> list[str]:
    """What is wrong with the header, one sentence each."""
    try:
        header = [name.strip() for name in next(csv.reader(text, delimiter=mapping.delimiter), [])]
    except csv.Error as error:
        return [f"not CSV: {error}"]
    repeated = sorted({name for name in header if header.count(name) > 1})
    wanted = {column for spec in file.fields.specs().values() for column in spec.needs()}
    found = [f"column {name} is there twice" for name in repeated if name in wanted]
    missing = missing_columns(file.fields.specs(), header)
    # columns that nobody wants may be called as they like
    if missing and not _is_text("".join(header)):
        return [wrong_encoding(mapping.encoding)]
    return found + [
        f"column {column}, wanted for the field {name}, is not in the header ({', '.join(header)})"
        for name, column in missing
    ]


def wrong_encoding(encoding: str) -> str:
    """The sentence about a file in another encoding than its mapping says."""
    name = encoding.upper().removesuffix("-SIG")
    return f"not {name}: write it as {name}, or say its `encoding` in the mapping (utf-16, cp1252, …)"


def _is_text(header: str) -> bool:
    """Whether a header was decoded to text: UTF-16 read as anything else has zeros, bytes that fit nowhere escape."""
    return "\0" not in header and not any("\ud800" <= character <= "\udfff" for character in header)


def _or_left_out(get: Callable[[Row, str], T | None], row: Row, name: str, left_out: LeftOut) -> T | None:
    """The value, or None and a note: no patient is lost over a field of lesser weight."""
    try:
        return get(row, name)
    except Unusable as unusable:
        left_out.append((unusable.field, unusable.reason))
        return None


def _one_of(kind: type[T], value: str, name: str) -> T:
    try:
        return kind(value)  # type: ignore[call-arg]  # the two closed sets are built from their values
    except ValueError:
        raise Unusable(name, "none of the known values") from None


def _there(value: T | None, name: str) -> T:
    if value is None:
        raise Unusable(name, "missing")
    return value


def _check_shape(row: Row, width: int, encoding: str) -> None:
    if len(row) != width:
        raise Unusable("row", f"has {len(row)} cells, the header has {width}")
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        raise Unusable("row", f"holds bytes that are not {encoding}") from None
