"""Daily shares: whether a site, or a campaign there, has sent what it may on one day, and when the others' turn is."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from domain.rules.quiet_hours import zone_info


def is_used_up(sent: int, share: int | None) -> bool:
    """Whether a day's share is sent; None = as much as anybody likes."""
    return share is not None and sent >= share


def tomorrow(at: datetime, zone: str) -> datetime:
    """The same time on the next day in the zone of the site: all of them at midnight would come in a bunch."""
    return (at.astimezone(zone_info(zone)) + timedelta(days=1)).astimezone(at.tzinfo)


def day_of(at: datetime, zone: str) -> date:
    """The day of the site on which it counts."""
    return at.astimezone(zone_info(zone)).date()
