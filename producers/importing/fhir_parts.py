"""Pieces of FHIR R4 resources, read without trusting their shape: what is not as FHIR says counts as not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Resource = dict[str, Any]


def text(value: Any) -> str:
    """The text, trimmed; empty where there is none."""
    return value.strip() if isinstance(value, str) else ""


def part(value: Any, name: str) -> Resource:
    """The object under `name`; empty where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def parts(value: Any, name: str) -> list[Resource]:
    """The objects under `name`, be it a list or, as some servers write it, one object."""
    found = value.get(name) if isinstance(value, dict) else None
    if isinstance(found, dict):
        return [found]
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def reference(value: Any) -> tuple[str, str]:
    """Type and id a reference points to; the type is empty for `urn:uuid:…`, both are where there is none."""
    target = text(value.get("reference")) if isinstance(value, dict) else ""
    if target.startswith(("urn:uuid:", "urn:oid:")):
        return "", target.split(":", 2)[2]
    segments = target.partition("/_history/")[0].split("/")
    return (segments[-2], segments[-1]) if len(segments) >= 2 else ("", "")


def codes(concept: Any) -> Iterator[str]:
    """The codes of a CodeableConcept, then its texts."""
    codings = parts(concept, "coding")
    yield from (code for each in codings if (code := text(each.get("code"))))
    yield from (display for each in codings if (display := text(each.get("display"))))
    if isinstance(concept, dict) and (own := text(concept.get("text"))):
        yield own


def has_code(concept: Any, wanted: str) -> bool:
    """Whether one of the concept's codings has this code."""
    return any(each.get("code") == wanted for each in parts(concept, "coding"))
