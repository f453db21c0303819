"""Dates and times as exports write them, made UTC instants: ISO 8601, FHIR's partial dates, or given formats."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo


def instant_of(text: str, zone: tzinfo = UTC, formats: Sequence[str] = ()) -> datetime | None:
    """The instant; without an offset in `zone`, without a time its day's first moment there. None = not a date."""
    found = _parse(text, formats)
    if found is None:
        return None
    aware = found if found.tzinfo is not None else found.replace(tzinfo=zone)
    try:
        return aware.astimezone(UTC)
    except OverflowError:
        return None


def date_of(text: str, formats: Sequence[str] = ()) -> date | None:
    """The date as written, whatever the zone; a year or month alone is its first day. None = not a date."""
    found = _parse(text, formats)
    return None if found is None else found.date()


def end_of_day(day: date) -> datetime:
    """The last microsecond of `day` in UTC: what a bare "as of" date means."""
    return datetime.combine(day, time.max, UTC)


def is_to_come(day: date, now: datetime) -> bool:
    """Whether `day` has begun nowhere on earth: east of Greenwich it is tomorrow before it is in UTC."""
    return day > now.date() + timedelta(days=1)


def _parse(text: str, formats: Sequence[str]) -> datetime | None:
    for form in formats:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 (the caller knows the zone)
        except ValueError:
            continue
    if formats:
        return None
    # FHIR allows YYYY and YYYY-MM
    whole = text + "-01-01"[len(text) - 4 :] if len(text) in (4, 7) else text
    try:
        return datetime.fromisoformat(whole)
    except ValueError:
        return None
