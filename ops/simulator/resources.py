"""Resources of somebody else's FHIR export, read without trusting a byte: what cannot be read is passed over.

It shares nothing with the import, which lists what it refuses: a witness that read by the same code would err with it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any, Final, cast

import orjson

Resource = dict[str, Any]

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"


def resources(export: Path, kind: str) -> Iterator[Resource]:
    """The resources of a kind in the files named after it, plain or gzip; of a damaged file those before the damage.

    Raises:
        OSError: a file cannot be opened or read.
    """
    for path in sorted((*export.glob(f"{kind}*.ndjson"), *export.glob(f"{kind}*.ndjson.gz"))):
        for line in _lines(path):
            try:
                resource = orjson.loads(line.removeprefix(_BOM))
            except orjson.JSONDecodeError:
                continue
            if isinstance(resource, dict) and resource.get("resourceType") == kind:
                yield resource


def text(value: Any) -> str:
    """The text, trimmed; empty where there is none."""
    return value.strip() if isinstance(value, str) else ""


def part(value: Any, name: str) -> Resource:
    """The object under `name`; empty where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def parts(value: Any, name: str) -> list[Resource]:
    """The objects under `name`: of a list, or the one some servers write instead."""
    found = value.get(name) if isinstance(value, dict) else None
    several = found if isinstance(found, list) else [found]
    return [each for each in several if isinstance(each, dict)]


def codes(concept: Any) -> list[str]:
    """The codes of a CodeableConcept."""
    return [code for each in parts(concept, "coding") if (code := text(each.get("code")))]


def referred(value: Any) -> str:
    """The id a reference points to; empty where it points to none."""
    target = text(value.get("reference")) if isinstance(value, dict) else ""
    return target.replace("urn:uuid:", "/").partition("/_history/")[0].rpartition("/")[2]


def instant_of(written: Any) -> datetime | None:
    """The instant; UTC where it names no zone, the first of a year, month or day that is named alone."""
    found = text(written)
    whole = found + "-01-01"[len(found) - 4 :] if len(found) in (4, 7) else found
    try:
        at = datetime.fromisoformat(whole)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def day_of(written: Any) -> date | None:
    """The day as it is written, in whatever zone."""
    return at.date() if (at := instant_of(text(written)[:10])) else None


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as raw:
        is_packed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        lines = cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb") if is_packed else raw)
        try:
            yield from lines
        except (EOFError, zlib.error, gzip.BadGzipFile):
            # the import names the file and its last good line, and refuses to go on
            return
