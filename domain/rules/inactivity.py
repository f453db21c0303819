"""Whether a patient has lapsed on a service line, since when, and when that is worth looking at again.

A patient has lapsed on a line when all of this holds:

- a cause has come: the last visit is the line's threshold of calendar months ago (primary care 12, dental 6, or what
  the site says); or a cancelled or missed appointment was not made good within 30 days of its start; or, on the
  chronic line, a care gap is past due (that line has no months of its own unless the site sets them);
- no appointment is ahead; one whose time passed without news of its outcome counts as ahead for another week;
- the patient is not deceased.

Months are counted in UTC from the instant of the visit. As time passes a patient only ever moves from not lapsed to
lapsed and onwards through the segments; only news moves them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.rules.calendar import add_months
from domain.rules.segments import BAND_MONTHS, band_of
from domain.rules.vocabulary import Segment, ServiceLine

#: Travels with every lapse, so that one can tell by which rule it was found. Change it with the rule.
RULE_VERSION = "1"

DEFAULT_MONTHS = {ServiceLine.PRIMARY: 12, ServiceLine.DENTAL: 6, ServiceLine.CHRONIC: None}

#: A cancelled or missed appointment is made good by a visit or a booking; after this it is a lapse.
REBOOK_WITHIN = timedelta(days=30)

#: News of a visit may take a while; until then an appointment whose time has passed still counts as ahead.
OUTCOME_WITHIN = timedelta(days=7)

#: A care gap with a fixed due date is for the clinic to close; a patient seen this recently is not reached out to.
SEEN_MONTHS = 3

#: Lines whose visits and bookings count on a line: chronic conditions are looked after in primary care as well.
COUNTS_ON = {
    ServiceLine.PRIMARY: (ServiceLine.PRIMARY,),
    ServiceLine.DENTAL: (ServiceLine.DENTAL,),
    ServiceLine.CHRONIC: (ServiceLine.CHRONIC, ServiceLine.PRIMARY),
}


@dataclass(frozen=True, slots=True)
class CareFacts:
    """What the ledger's `care` row says of one patient on one line (instants in UTC)."""

    last_visit_at: datetime | None = None
    next_appointment_at: datetime | None = None
    missed_at: datetime | None = None
    """Start of the latest cancelled or missed appointment that no later visit or booking made good."""
    gap_due_at: datetime | None = None
    deceased: bool = False


def threshold_months(line: ServiceLine, override: int | None = None) -> int | None:
    """After how many months without a visit a patient lapses on `line`; None = visits alone never make a lapse."""
    return override if override is not None else DEFAULT_MONTHS[line]


def gap_due(due_at: datetime, every_months: int | None, since: datetime | None, last: datetime | None) -> datetime:
    """When an open care gap is due, given the patient's last visit (None = no visit yet).

    A recurring gap: `every_months` after the visit, or after `since` where that is later. A gap with a fixed date: on
    it, but not within three months after a visit.
    """
    if every_months is not None:
        starts = [instant for instant in (since, last) if instant is not None]
        return add_months(max(starts), every_months) if starts else due_at
    return due_at if last is None else max(due_at, add_months(last, SEEN_MONTHS))


def inactive_since(facts: CareFacts, months: int | None) -> datetime | None:
    """The first instant with a cause for a lapse, past or to come; None = there is none.

    Appointments ahead and death are not looked at here.
    """
    return min(_causes(facts, months), default=None)


def segment_of(facts: CareFacts, months: int | None, at: datetime) -> Segment | None:
    """The segment the patient is in at `at`; None = not lapsed then."""
    since = inactive_since(facts, months)
    if facts.deceased or since is None or at < max(since, _held_until(facts) or since):
        return None
    if facts.gap_due_at is not None and facts.gap_due_at <= at:
        return Segment.CHRONIC_OVERDUE
    if facts.missed_at is not None and facts.missed_at + REBOOK_WITHIN <= at:
        return Segment.NEVER_REBOOKED
    return band_of(facts.last_visit_at, at) if facts.last_visit_at is not None else None


def is_still_lapsed(facts: CareFacts, months: int | None, at: datetime) -> bool:
    """Whether a lapse found earlier still stands at `at`: a booking ahead does not end it, a visit or death does."""
    if facts.deceased:
        return False
    since = inactive_since(facts, months)
    is_booked = facts.next_appointment_at is not None and facts.next_appointment_at > at
    return is_booked or (since is not None and since <= at)


def next_scan(facts: CareFacts, months: int | None, now: datetime, noticed: Segment | None = None) -> datetime | None:
    """When the scan must look: where a segment other than the one `noticed` begins; None = there is nothing to see.

    In the past (the instant at which it began) when the patient is already in an unnoticed segment at `now`.
    """
    current: tuple[datetime, Segment] | None = None
    for instant in sorted(_changes(facts, months)):
        segment = segment_of(facts, months, instant)
        if segment is None or (current is not None and segment is current[1]):
            continue
        if instant > now:
            return current[0] if current and current[1] is not noticed else instant
        current = (instant, segment)
    return current[0] if current and current[1] is not noticed else None


def _causes(facts: CareFacts, months: int | None) -> Iterator[datetime]:
    if facts.last_visit_at is not None and months is not None:
        yield add_months(facts.last_visit_at, months)
    if facts.missed_at is not None:
        yield facts.missed_at + REBOOK_WITHIN
    if facts.gap_due_at is not None:
        yield facts.gap_due_at


def _changes(facts: CareFacts, months: int | None) -> set[datetime]:
    """Every instant at which the segment may change."""
    instants = set(_causes(facts, months))
    if facts.last_visit_at is not None and months is not None:
        instants.update(add_months(facts.last_visit_at, band) for band in BAND_MONTHS)
    held_until = _held_until(facts)
    return instants if held_until is None else {max(instant, held_until) for instant in instants}


def _held_until(facts: CareFacts) -> datetime | None:
    return None if facts.next_appointment_at is None else facts.next_appointment_at + OUTCOME_WITHIN
