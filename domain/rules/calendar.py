"""Calendar months: what day it is so many months later."""

from __future__ import annotations

from calendar import monthrange
from datetime import MAXYEAR, UTC, datetime

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def add_months(instant: datetime, months: int) -> datetime:
    """The same day and time `months` (0 or more) calendar months later; a day that month lacks becomes its last one.

    Counted in the zone of `instant` (UTC throughout the ledger). Past the year 9999 it is the end of time.
    """
    year, month0 = divmod(instant.year * 12 + instant.month - 1 + months, 12)
    if year > MAXYEAR:
        return _END_OF_TIME
    day = min(instant.day, monthrange(year, month0 + 1)[1])
    return instant.replace(year=year, month=month0 + 1, day=day)
