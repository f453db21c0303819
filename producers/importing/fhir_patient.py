"""A FHIR R4 Patient as patient news."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from domain.rules.news import Contact, PatientNews, Registration
from domain.rules.vocabulary import ContactSystem
from producers.importing.dates import date_of, instant_of
from producers.importing.fhir_parts import Resource, codes, has_code, part, parts, reference, text
from producers.importing.organisation_file import Fhir
from producers.importing.outcome import Read, Unusable

_SYSTEMS: Final = {"phone": ContactSystem.PHONE, "sms": ContactSystem.PHONE, "email": ContactSystem.EMAIL}
#: Which contact point is tried first where the source gives no rank.
_RANKS: Final = {"mobile": 1, "home": 2, "work": 4}
_UNITED_STATES: Final = frozenset({"", "us", "usa", "united states", "united states of america"})


def read_patient(fhir: Fhir, organisation_id: int, resource: Resource, version: int, as_of: datetime) -> Read:
    """The patient. A record not in use brings no contact points: nobody is written to because of it.

    Raises:
        Unusable: the resource has no id.
    """
    own_id = text(resource.get("id"))
    if not own_id:
        raise Unusable("id", "missing")
    site = fhir.sites.get(reference(part(resource, "managingOrganization"))[1], fhir.default_site)
    left_out: list[tuple[str, str]] = []
    name = _name(resource)
    deceased_at = _date(resource, "deceasedDateTime", left_out)
    born = text(resource.get("birthDate"))
    birth_date = date_of(born)
    if born and birth_date is None:
        left_out.append(("birthDate", "not a date"))
    news = PatientNews(
        organisation_id=organisation_id,
        site=site,
        mrn=_mrn(fhir, resource) or own_id,
        version=version,
        aliases=(logical(fhir, own_id),),
        person=_identifier(resource, fhir.person_system),
        given_name=" ".join(given for each in _texts(name.get("given")) if (given := text(each))) or None,
        family_name=text(name.get("family")) or (None if name.get("given") else text(name.get("text"))) or None,
        birth_date=birth_date,
        language=_language(resource),
        state=_state(resource),
        contacts=_contacts(resource, as_of),
        deceased=_deceased(resource),
        deceased_at=deceased_at,
        merged_into=_survivor(fhir, resource),
    )
    return Read(news, tuple(left_out))


def logical(fhir: Fhir, resource_id: str) -> Registration:
    """A patient by the id the FHIR server gave the resource: how the other resources refer to it."""
    return Registration(fhir.default_site, f"{fhir.source}#Patient/{resource_id}")


def _mrn(fhir: Fhir, resource: Resource) -> str | None:
    chosen = _identifier(resource, fhir.mrn_system)
    if chosen:
        return chosen
    numbers = (each for each in parts(resource, "identifier") if has_code(each.get("type"), "MR"))
    return next((value for each in numbers if (value := text(each.get("value")))), None)


def _identifier(resource: Resource, system: str | None) -> str | None:
    if system is None:
        return None
    found = (each for each in parts(resource, "identifier") if each.get("system") == system)
    return next((value for each in found if (value := text(each.get("value")))), None)


def _name(resource: Resource) -> Resource:
    names = [each for each in parts(resource, "name") if each.get("use") not in ("old", "maiden")]
    order = {"official": 0, "usual": 1}
    return min(names, key=lambda each: order.get(text(each.get("use")), 2), default={})


def _language(resource: Resource) -> str | None:
    spoken = parts(resource, "communication")
    spoken.sort(key=lambda each: each.get("preferred") is not True)
    return next((code for each in spoken for code in codes(each.get("language"))), None)


def _state(resource: Resource) -> str | None:
    addresses = [each for each in parts(resource, "address") if each.get("use") != "old"]
    addresses.sort(key=lambda each: each.get("use") != "home")
    at_home = [each for each in addresses if text(each.get("country")).lower() in _UNITED_STATES]
    return next((state for each in at_home if (state := text(each.get("state")))), None)


def _contacts(resource: Resource, as_of: datetime) -> tuple[Contact, ...] | None:
    if resource.get("active") is False:
        return ()
    if "telecom" not in resource:
        return None
    found = []
    for each in parts(resource, "telecom"):
        system = _SYSTEMS.get(text(each.get("system")))
        value, use = text(each.get("value")), text(each.get("use"))
        ended = instant_of(text(part(each, "period").get("end")))
        if system is None or not value or use == "old" or (ended is not None and ended < as_of):
            continue
        rank = each.get("rank")
        if not isinstance(rank, int) or not 0 < rank < 1000:
            rank = _RANKS.get(use, 3)
        found.append(Contact(system, value, use[:16] or None, rank))
    return tuple(found)


def _deceased(resource: Resource) -> bool | None:
    told = resource.get("deceasedBoolean")
    if isinstance(told, bool):
        return told
    # a date that cannot be read still says that the patient died
    return True if text(resource.get("deceasedDateTime")) else None


def _survivor(fhir: Fhir, resource: Resource) -> Registration | None:
    for link in parts(resource, "link"):
        if link.get("type") == "replaced-by" and (target := reference(part(link, "other"))[1]):
            return logical(fhir, target)
    return None


def _date(resource: Resource, name: str, left_out: list[tuple[str, str]]) -> datetime | None:
    written = text(resource.get(name))
    found = instant_of(written)
    if written and found is None:
        left_out.append((name, "not a date"))
    return found


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
