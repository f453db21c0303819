"""Which segment a lapsed patient belongs to: why, and for how long, they have been away.

Precedence, first match wins: chronic overdue (clinically urgent), never rebooked (they wanted to come), then the band
of months since the last visit.
"""

from __future__ import annotations

from datetime import datetime

from domain.rules.calendar import add_months
from domain.rules.vocabulary import Segment

#: Whole calendar months since the last visit at which a patient changes from one band to the next.
BAND_MONTHS = (12, 24)

#: Order in which segments are reached out to; lower goes first: urgent, then the most likely to return.
PRIORITY = {
    Segment.CHRONIC_OVERDUE: 10,
    Segment.NEVER_REBOOKED: 20,
    Segment.MONTHS_6_12: 30,
    Segment.MONTHS_12_24: 40,
    Segment.BEYOND_24: 50,
}


def band_of(last_visit_at: datetime, at: datetime) -> Segment:
    """The band at `at`; each begins on its very instant. The first one takes every lapse of under twelve months."""
    first, second = BAND_MONTHS
    if at < add_months(last_visit_at, first):
        return Segment.MONTHS_6_12
    return Segment.MONTHS_12_24 if at < add_months(last_visit_at, second) else Segment.BEYOND_24
