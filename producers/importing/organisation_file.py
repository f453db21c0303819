"""The organisation file: who reaches out, its sites and their lines, and how its FHIR export is to be read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from domain.ledger.organisations import OrganisationNews, SiteNews
from domain.rules.identity import Problem, normalise_phone
from domain.rules.places import state_code
from domain.rules.postal_address import judge, parse
from domain.rules.vocabulary import ServiceLine
from ops.runtime.yamlfile import read_yaml_with_places, repeated
from producers.names import revealing

#: What a type of visit may be mapped to beside a line: it is no visit that counts on any.
IGNORE = "ignore"

#: 15 USC 7704(a)(5): a message that advertises has a valid physical postal address of its sender.
_WHY_DELIVERABLE = "mails carry this address, so it must be one that post can be delivered to"


def _existing_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError("not an IANA time zone such as America/Phoenix") from None
    return name


def _existing_state(text: str) -> str:
    code = state_code(text)
    if code is None:
        raise ValueError("not a US state or territory such as AZ")
    return code


def _usable_phone(text: str) -> str:
    found = normalise_phone(text)
    match found:
        case Problem():
            raise ValueError(f"{found.reason}; expected one such as +1 617 555 0100")
        case _:
            return text


def _neutral(name: str) -> str:
    if why := revealing(name):
        raise ValueError(why)
    return name


Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Source = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Zone = Annotated[str, AfterValidator(_existing_zone)]
State = Annotated[str, AfterValidator(_existing_state)]
LineOrIgnore = ServiceLine | Literal["ignore"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Organisation(_Part):
    """Who the messages come from; name, phone and postal address appear in them.

    A name that tells about care stands in no message, nor in the ledger: the neutral one does.
    """

    key: Key
    neutral_name: Annotated[Text, Field(max_length=200), AfterValidator(_neutral)] | None = None
    name: Annotated[Text, Field(max_length=200)]
    phone: Annotated[Text, Field(max_length=32), AfterValidator(_usable_phone)]
    postal_address: Annotated[Text, Field(max_length=300)]

    @field_validator("name")
    @classmethod
    def _is_neutral_or_not_said(cls, name: str, info: ValidationInfo) -> str:
        if "neutral_name" not in info.data:
            return name
        return name if info.data["neutral_name"] is not None else _neutral(name)

    @property
    def public_name(self) -> str:
        """What messages call it."""
        return self.neutral_name or self.name


class Line(_Part):
    """A line a site offers; its threshold in months where it differs from the line's default."""

    threshold_months: Annotated[int, Field(ge=1, le=120)] | None = None


class Site(_Part):
    """One place of care."""

    key: Key
    name: Annotated[Text, Field(max_length=200)]
    zone: Zone
    state: State | None = None
    booking_url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=300)] | None = None
    capacity_per_day: Annotated[int, Field(ge=1)] = 100
    daily_touches: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most so many messages and calls on one of its days, over all campaigns; answers not counted."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    lines: Annotated[dict[ServiceLine, Line | None], Field(min_length=1)]


class CareGapRule(_Part):
    """Conditions and care plans with one of these codes open a care gap that recurs every so many months."""

    codes: Annotated[list[Text], Field(min_length=1)]
    measure: Annotated[Text, Field(max_length=64)]
    due_every_months: Annotated[int, Field(ge=1, le=120)]


class Fhir(_Part):
    """How the organisation's FHIR R4 bulk export is read."""

    #: Names the system; its CloudEvents carry the same `source`, so that both speak of the same appointments.
    source: Source
    #: The site of patients and visits whose organisation is not told or not in `sites`.
    default_site: Key
    #: Organization id -> site.
    sites: dict[Text, Key] = Field(default_factory=dict)
    #: Identifier system of the record number; without it the identifier of type MR, then the resource's id.
    mrn_system: Text | None = None
    #: Identifier system that all registrations of one person share.
    person_system: Text | None = None
    #: Code, text or class of a visit -> line, or `ignore`; looked up in this order.
    service_lines: dict[Text, LineOrIgnore] = Field(default_factory=dict)
    #: For visits that match none; without it they are rejected.
    default_line: LineOrIgnore | None = None
    care_gaps: list[CareGapRule] = Field(default_factory=list)


class OrganisationFile(_Part):
    """The whole file."""

    organisation: Organisation
    sites: Annotated[list[Site], Field(min_length=1)]
    fhir: Fhir | None = None

    @field_validator("sites")
    @classmethod
    def _sites_have_keys_of_their_own(cls, sites: list[Site]) -> list[Site]:
        if twice := repeated([site.key for site in sites]):
            raise ValueError(f"site keys must differ; repeated: {', '.join(twice)}")
        return sites

    @field_validator("fhir")
    @classmethod
    def _fhir_names_existing_sites(cls, fhir: Fhir | None, info: ValidationInfo) -> Fhir | None:
        if fhir is None or "sites" not in info.data:
            return fhir
        known = {site.key for site in info.data["sites"]}
        unknown = sorted({fhir.default_site, *fhir.sites.values()} - known)
        if unknown:
            raise ValueError(f"unknown site: {', '.join(unknown)} (sites of this file: {', '.join(sorted(known))})")
        return fhir

    def organisation_news(self) -> OrganisationNews:
        """The organisation, as the ledger takes it."""
        told = self.organisation
        return OrganisationNews(told.key, told.public_name, told.phone, told.postal_address)

    def site_news(self) -> list[SiteNews]:
        """The sites, as the ledger takes them."""
        return [
            SiteNews(
                key=site.key,
                name=site.name,
                zone=site.zone,
                state=site.state,
                booking_url=site.booking_url,
                capacity_per_day=site.capacity_per_day,
                daily_touches=site.daily_touches,
                weight=site.weight,
                thresholds={line: detail.threshold_months if detail else None for line, detail in site.lines.items()},
            )
            for site in self.sites
        ]


def read_organisation(path: Path) -> OrganisationFile:
    """Read the file. Raises ops.runtime.yamlfile.FileProblems."""
    return read_organisation_with_notes(path)[0]


def read_organisation_with_notes(path: Path) -> tuple[OrganisationFile, list[str]]:
    """Read the file, and tell by line what is odd about it and no reason to refuse it.

    Raises:
        ops.runtime.yamlfile.FileProblems: what is.
    """
    file, places = read_yaml_with_places(path, OrganisationFile)
    place = places.problem(("organisation", "postal_address"), "")
    notes = [
        f"{path}:{place.line}: {place.field}: {flaw.reason} ({_WHY_DELIVERABLE})"
        for flaw in judge(parse(file.organisation.postal_address))
    ]
    return file, notes
