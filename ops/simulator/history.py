"""What the record system holds when the story begins: four years of visits, missed appointments and care gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from domain.rules.vocabulary import AppointmentStatus, Segment, ServiceLine
from ops.simulator.draws import Draws
from ops.simulator.people import Person

#: How far back the records go.
KEPT = timedelta(days=4 * 365)
#: The hour at which everything ahead is booked for, and at which the record system sends its daily news.
NEWS_HOUR = time(16, tzinfo=UTC)

MEASURE = "annual_review"

Line = ServiceLine
_LINES = ((Line.PRIMARY, 0.55), (Line.DENTAL, 0.20), (Line.CHRONIC, 0.25))
TWO_LINES = 0.02


class Story(StrEnum):
    """How a patient stands with one service line at the start."""

    ACTIVE = "active"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Appointment:
    """One appointment (a visit is a fulfilled one)."""

    id: str
    line: ServiceLine
    site: str
    starts_at: datetime
    status: AppointmentStatus
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """A measure a patient is due for."""

    id: str
    site: str
    measure: str
    due_on: date
    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Care:
    """One patient in one service line at the start of the story."""

    key: str
    person: Person
    line: ServiceLine
    site: str
    story: Story
    segment: Segment | None
    """Why they are lapsed; None for the active."""
    last_visit: datetime
    interval: timedelta
    """Their pace while active."""
    missed: Appointment | None
    """Cancelled or missed and never rebooked."""
    ahead: Appointment | None
    gap_due_on: date | None
    """When the chronic-care measure is due; None in the other lines."""
    overdue_after: timedelta | None = None
    """After the last visit, where it is not the line's."""

    @property
    def threshold(self) -> timedelta:
        """How long after the last visit the patient is lapsed."""
        return self.overdue_after or THRESHOLD[self.line]


#: How long after the last visit a patient counts as lapsed; in chronic care the measure's due date decides.
THRESHOLD = {
    Line.PRIMARY: timedelta(days=366),
    Line.DENTAL: timedelta(days=185),
    Line.CHRONIC: timedelta(days=366),
}

#: Pace of the active, in days: always inside the threshold.
_PACE = {Line.PRIMARY: (270, 345), Line.DENTAL: (142, 174), Line.CHRONIC: (270, 345)}

_Fate = tuple[Story, Segment | None]
_ACTIVE: _Fate = (Story.ACTIVE, None)
_FATES: dict[ServiceLine, tuple[tuple[_Fate, float], ...]] = {
    Line.PRIMARY: (
        (_ACTIVE, 0.63),
        ((Story.LAPSED, Segment.MONTHS_12_24), 0.18),
        ((Story.LAPSED, Segment.BEYOND_24), 0.10),
        ((Story.LAPSED, Segment.NEVER_REBOOKED), 0.09),
    ),
    Line.DENTAL: (
        (_ACTIVE, 0.64),
        ((Story.LAPSED, Segment.MONTHS_6_12), 0.14),
        ((Story.LAPSED, Segment.MONTHS_12_24), 0.08),
        ((Story.LAPSED, Segment.BEYOND_24), 0.05),
        ((Story.LAPSED, Segment.NEVER_REBOOKED), 0.09),
    ),
    Line.CHRONIC: (
        (_ACTIVE, 0.63),
        ((Story.LAPSED, Segment.CHRONIC_OVERDUE), 0.37),
    ),
}
#: Days since the last visit; the edges keep clear of the calendar months the rules count in.
_AWAY = {
    Segment.MONTHS_6_12: (190, 355),
    Segment.MONTHS_12_24: (375, 720),
    Segment.BEYOND_24: (740, 1400),
    Segment.NEVER_REBOOKED: (375, 700),
    Segment.CHRONIC_OVERDUE: (375, 660),
}


def make_care(draws: Draws, person: Person, start: datetime) -> list[Care]:
    """The service lines a patient uses, and how they stand in each at `start`."""
    first = draws.weighted(_LINES, "line", person.key)
    lines = [first]
    if draws.happens(TWO_LINES, "two lines", person.key):
        lines.append(draws.pick([line for line in Line if line is not first], "other line", person.key))
    sites = [site for site, _ in person.registrations]
    return [_one_care(draws, person, line, sites[-1] if n else sites[0], start) for n, line in enumerate(lines)]


def visits(draws: Draws, care: Care, zone: str, start: datetime) -> Iterator[Appointment]:
    """The fulfilled appointments of the kept years, newest first."""
    at, number = care.last_visit, 0
    while at > start - KEPT:
        yield Appointment(f"{care.key}-v{number}", care.line, care.site, at, AppointmentStatus.FULFILLED, at)
        number += 1
        stretch = care.interval * (0.9 + 0.2 * draws.fraction("stretch", care.key, number))
        at = _in_office_hours(draws, at - stretch, zone, care.key, number)


def gaps(care: Care, start: datetime) -> Iterator[Gap]:
    """The chronic-care measure: the one the last visit closed, and the one open now."""
    if care.gap_due_on is None:
        return
    opened = care.last_visit
    before = care.gap_due_on - timedelta(days=365)
    if opened - timedelta(days=365) > start - KEPT:
        yield Gap(f"{care.key}-g0", care.site, MEASURE, before, opened - timedelta(days=365), closed_at=opened)
    yield Gap(f"{care.key}-g1", care.site, MEASURE, care.gap_due_on, opened)


def news_hour(day: date) -> datetime:
    """The daily news hour of `day`, or of the Monday after a weekend day (UTC)."""
    weekend = max(0, day.weekday() - 4)
    return datetime.combine(day + timedelta(days=3 - weekend if weekend else 0), NEWS_HOUR)


def _one_care(draws: Draws, person: Person, line: ServiceLine, site: str, start: datetime) -> Care:
    key = f"{person.key}-{line}"
    story, segment = draws.weighted(_FATES[line], "fate", key)
    if person.deceased_on is not None and story is Story.ACTIVE:
        story, segment = Story.LAPSED, Segment.CHRONIC_OVERDUE if line is Line.CHRONIC else Segment.BEYOND_24
    low, high = _PACE[line]
    interval = timedelta(days=draws.whole(low, high, "pace", key))
    if segment is None:
        away = 2 + (interval.days - 4) * draws.fraction("phase", key)
    else:
        away = float(draws.whole(*_AWAY[segment], "away", key))
    last = _in_office_hours(draws, start - timedelta(days=away), person.home_zone, key, 0)
    return Care(
        key=key,
        person=person,
        line=line,
        site=site,
        story=story,
        segment=segment,
        last_visit=last,
        interval=interval,
        missed=_missed(draws, key, line, site, start) if segment is Segment.NEVER_REBOOKED else None,
        ahead=_ahead(draws, key, line, site, last + interval, start) if segment is None else None,
        gap_due_on=last.date() + timedelta(days=365) if line is Line.CHRONIC else None,
    )


def _missed(draws: Draws, key: str, line: ServiceLine, site: str, start: datetime) -> Appointment:
    status = draws.pick((AppointmentStatus.CANCELLED, AppointmentStatus.NOSHOW), "missed how", key)
    starts_at = news_hour((start - timedelta(days=draws.whole(33, 160, "missed", key))).date())
    updated = starts_at - timedelta(days=2) if status is AppointmentStatus.CANCELLED else starts_at
    return Appointment(f"{key}-m0", line, site, starts_at, status, updated)


def _ahead(
    draws: Draws, key: str, line: ServiceLine, site: str, next_visit: datetime, start: datetime
) -> Appointment | None:
    """The next routine visit, where it was booked before the story begins."""
    starts_at = news_hour(max(next_visit, start + timedelta(days=2)).date())
    booked_at = booking_day(draws, key, 0, starts_at)
    if booked_at >= start:
        return None
    return Appointment(f"{key}-a0", line, site, starts_at, AppointmentStatus.BOOKED, booked_at)


def booking_day(draws: Draws, key: str, number: int, starts_at: datetime) -> datetime:
    """When a routine visit is booked: two to six weeks ahead."""
    return news_hour((starts_at - timedelta(days=draws.whole(14, 45, "lead", key, number))).date())


def _in_office_hours(draws: Draws, at: datetime, zone: str, key: str, number: int) -> datetime:
    """A weekday instant between 8:00 and 15:45 local time near `at`, never later than it but for the hour."""
    local = at.astimezone(ZoneInfo(zone))
    day = local.date() - timedelta(days=max(0, local.weekday() - 4))
    minutes = 8 * 60 + 15 * draws.whole(0, 31, "quarter", key, number)
    return datetime.combine(day, time(minutes // 60, minutes % 60), ZoneInfo(zone)).astimezone(UTC)
