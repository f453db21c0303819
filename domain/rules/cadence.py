"""The cadence: which touches, on which channel, at which local times, an enrolled patient is planned to get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from domain.rules.blackouts import NO_BLACKOUT, Blackout, from_entries
from domain.rules.calendar import add_months
from domain.rules.quiet_hours import Hours, next_allowed, zone_info
from domain.rules.vocabulary import TouchKind

#: After an outage a touch is worth sending only so long; later ones of the cadence follow anyway.
_WORTH = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Cadence:
    """Spaced touches, then graduation to a light reminder."""

    offsets: tuple[int, ...]
    """Days after enrolment."""
    channels: tuple[str, ...]
    """In order of preference; they alternate from touch to touch."""
    send_at: tuple[time, ...]
    """Local times of day; each patient keeps to one of them."""
    graduate_after_days: int
    """Days after the last touch without an answer."""
    reminder_every_months: int
    reminders: int
    """How many light reminders follow before the enrolment is finished."""
    blackout: Blackout = NO_BLACKOUT
    """Dates on which nothing is planned."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One touch to be."""

    step: int
    kind: TouchKind
    channel: str
    due_at: datetime
    expires_at: datetime


def from_definition(definition: Mapping[str, Any]) -> Cadence:
    """The cadence of a campaign's stored definition."""
    return Cadence(
        offsets=tuple(definition["cadence"]),
        channels=tuple(definition["channels"]),
        send_at=tuple(time.fromisoformat(text) for text in definition["send_at"]),
        graduate_after_days=definition["graduate_after_days"],
        reminder_every_months=definition["reminder"]["every_months"],
        reminders=definition["reminder"]["at_most"],
        blackout=from_entries(definition.get("blackout", ())),
    )


def plan(
    cadence: Cadence,
    *,
    start: datetime,
    zone: str,
    hours: Hours,
    reachable: Sequence[str],
    preferred: str | None,
    draw: float,
) -> list[Planned]:
    """Every touch of the cadence, from an enrolment at `start` (UTC), within the `hours` of the patient's state.

    `reachable` lists the channels that have a working contact point; `draw` in [0, 1) picks the time of day.
    A first touch whose hour has passed today goes tomorrow. What would fall into a blackout goes on the first day after
    it, at its time of day, and all later touches keep their distance from it.
    """
    order = _channel_order(cadence, reachable, preferred)
    at = cadence.send_at[int(draw * len(cadence.send_at))]
    first_day = start.astimezone(zone_info(zone)).date()
    if _local(first_day, at, zone, hours, start) < start:
        first_day += timedelta(days=1)
    planned = []
    for step, days in enumerate(cadence.offsets):
        wanted = first_day + timedelta(days=days)
        day = cadence.blackout.first_open(wanted)
        first_day += day - wanted
        due_at = _local(day, at, zone, hours, start)
        planned.append(_planned(step, TouchKind.OUTREACH, order[step % len(order)], due_at))
    return planned


def review_after(cadence: Cadence, start: datetime) -> datetime:
    """When an enrolment that nothing ended is looked at for graduation."""
    return start + timedelta(days=cadence.offsets[-1] + cadence.graduate_after_days)


def reminder(
    cadence: Cadence,
    nth: int,
    *,
    after: datetime,
    zone: str,
    hours: Hours,
    reachable: Sequence[str],
    preferred: str | None,
    draw: float,
) -> Planned:
    """The `nth` light reminder (from 0), `reminder_every_months` after the last touch or reminder."""
    order = _channel_order(cadence, reachable, preferred)
    at = cadence.send_at[int(draw * len(cadence.send_at))]
    months = add_months(after.astimezone(zone_info(zone)), cadence.reminder_every_months)
    day = cadence.blackout.first_open(months.date())
    step = len(cadence.offsets) + nth
    return _planned(step, TouchKind.REMINDER, order[step % len(order)], _local(day, at, zone, hours, after))


def _channel_order(cadence: Cadence, reachable: Sequence[str], preferred: str | None) -> list[str]:
    order = [channel for channel in cadence.channels if channel in reachable]
    if preferred in order:
        order.remove(preferred)
        order.insert(0, preferred)
    return order


def _planned(step: int, kind: TouchKind, channel: str, due_at: datetime) -> Planned:
    return Planned(step=step, kind=kind, channel=channel, due_at=due_at, expires_at=due_at + _WORTH)


def _local(day: date, at: time, zone: str, hours: Hours, like: datetime) -> datetime:
    """The instant of a local time, or the first allowed one after it: a Sunday's morning becomes its noon."""
    instant = datetime.combine(day, at, zone_info(zone)).astimezone(like.tzinfo)
    return next_allowed(instant, [zone], hours) or instant
