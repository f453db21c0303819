"""The mapping file of a CSV export: which file is what, and which column, constant or value list fills which field."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ops.runtime.yamlfile import read_yaml
from producers.importing.organisation_file import Source, Text, Zone


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError("not an encoding such as utf-8 or cp1252") from None
    return name


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldSpec(_Part):
    """Where a field's text comes from. A bare text in the file is a column's name.

    `columns` joins several columns to one identifier (hashed, so that no code shows in it). `values` translates;
    what it does not list becomes `otherwise`, or rejects the row. The result `ignore` leaves the row out, counted.
    """

    column: Text | None = None
    columns: Annotated[list[Text], Field(min_length=2)] | None = None
    constant: Text | None = None
    values: dict[str, str] | None = None
    otherwise: Text | None = None
    #: strptime formats, tried in order; without them ISO 8601.
    formats: Annotated[list[Text], Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_text_is_a_column(cls, data: Any) -> Any:
        return {"column": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _has_one_origin(self) -> FieldSpec:
        if sum(origin is not None for origin in (self.column, self.columns, self.constant)) != 1:
            raise ValueError("needs exactly one of column, columns, constant")
        if self.otherwise is not None and self.values is None:
            raise ValueError("otherwise needs values")
        return self

    def needs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return (self.column,) if self.column is not None else tuple(self.columns or ())


class _Fields(_Part):
    #: When the row was true; without it the date of the export.
    version: FieldSpec | None = None

    def specs(self) -> dict[str, FieldSpec]:
        """Every field that is filled, by its name (`phones[0]` for the first of a list)."""
        found: dict[str, FieldSpec] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, FieldSpec):
                found[name] = value
            elif isinstance(value, list):
                found.update({f"{name}[{number}]": spec for number, spec in enumerate(value)})
        return found


class PatientFields(_Fields):
    """Fields of a patient's row."""

    mrn: FieldSpec
    site: FieldSpec
    person: FieldSpec | None = None
    given_name: FieldSpec | None = None
    family_name: FieldSpec | None = None
    birth_date: FieldSpec | None = None
    language: FieldSpec | None = None
    zone: FieldSpec | None = None
    state: FieldSpec | None = None
    phones: list[FieldSpec] = Field(default_factory=list)
    emails: list[FieldSpec] = Field(default_factory=list)
    preferred_channel: FieldSpec | None = None
    high_risk: FieldSpec | None = None
    payer: FieldSpec | None = None
    benefit_month: FieldSpec | None = None
    deceased: FieldSpec | None = None
    deceased_at: FieldSpec | None = None
    merged_into_mrn: FieldSpec | None = None
    merged_into_site: FieldSpec | None = None


class AppointmentFields(_Fields):
    """Fields of an appointment's or encounter's row."""

    id: FieldSpec
    mrn: FieldSpec
    site: FieldSpec
    #: At which site `mrn` is known, where that is not the site of the visit.
    patient_site: FieldSpec | None = None
    service_line: FieldSpec
    status: FieldSpec
    starts_at: FieldSpec
    changed_at: FieldSpec | None = None


class GapFields(_Fields):
    """Fields of a care gap's row: `due_at`, or `every_months` and `since`."""

    id: FieldSpec
    mrn: FieldSpec
    patient_site: FieldSpec
    site: FieldSpec | None = None
    measure: FieldSpec
    due_at: FieldSpec | None = None
    every_months: FieldSpec | None = None
    since: FieldSpec | None = None
    closed_at: FieldSpec | None = None

    @model_validator(mode="after")
    def _comes_due(self) -> GapFields:
        if self.due_at is None and (self.every_months is None or self.since is None):
            raise ValueError("needs due_at, or every_months and since")
        return self


class PatientsFile(_Part):
    """A file of patients."""

    takes: Literal["patients"]
    fields: PatientFields


class AppointmentsFile(_Part):
    """A file of appointments or encounters."""

    takes: Literal["appointments"]
    fields: AppointmentFields


class GapsFile(_Part):
    """A file of care gaps, or of conditions and care plans that make them."""

    takes: Literal["gaps"]
    fields: GapFields


class IgnoredFile(_Part):
    """A file that is there and not wanted."""

    takes: Literal["ignore"]


TakenFile = PatientsFile | AppointmentsFile | GapsFile
MappedFile = Annotated[TakenFile | IgnoredFile, Field(discriminator="takes")]


class MappingFile(_Part):
    """The whole file."""

    #: Names the system the rows come from; its later events carry the same `source`.
    source: Source
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8-sig"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    #: Of dates and times that carry no offset; a date alone is its first instant there.
    zone: Zone = "UTC"
    #: File name, with or without `.gz`.
    files: Annotated[dict[Text, MappedFile], Field(min_length=1)]

    def of(self, path: Path) -> PatientsFile | AppointmentsFile | GapsFile | IgnoredFile | None:
        """What `path` is; None = the mapping does not say."""
        return self.files.get(path.name) or self.files.get(path.name.removesuffix(".gz"))


def read_mapping(path: Path) -> MappingFile:
    """Read the file. Raises ops.runtime.yamlfile.FileProblems."""
    return read_yaml(path, MappingFile)
