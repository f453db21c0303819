"""The cadence: which touches, on which channel, at which local times, an enrolled patient is planned to get."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from domain.rules.blackouts import NO_BLACKOUT, Blackout, from_entries
from domain.rules.calendar import add_months
from domain.rules.quiet_hours import Hours, next_allowed, zone_info
from domain.rules.steps import PHONE, Answer, Heard, Step, from_entry
from domain.rules.vocabulary import TouchKind

#: After an outage a touch is worth sending only so long; later ones of the cadence follow anyway.
_WORTH = timedelta(days=5)

#: Of an enrolment of which nothing is known: nobody answered, and everything arrived.
UNHEARD = Heard()


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
    steps: tuple[Step, ...] = ()
    """What is said of each of the offsets beside its day; none: nothing."""
    phone_from: int | None = None
    """The step from which patients at high risk are called by a person; None: as everybody else."""
    unanswered: int | None = None
    """After so many touches without an answer it is over, whatever steps are left; None: when the steps are."""
    answers: tuple[Answer, ...] = (Answer.REPLY,)
    """What counts as an answer."""
    within_months: int = 12
    """It is over so many months after enrolment at the latest."""

    def step(self, nth: int) -> Step:
        """The `nth` step of outreach (from 0)."""
        return self.steps[nth] if nth < len(self.steps) else Step(self.offsets[nth])

    @property
    def every_channel(self) -> frozenset[str]:
        """Those of the campaign, of its steps, and the phone where it may come to that."""
        own = {channel for step in self.steps for channel in step.channels}
        return frozenset({*self.channels, *own, *([] if self.phone_from is None else [PHONE])})


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
    steps = tuple(map(from_entry, definition["cadence"]))
    graduation: Mapping[str, Any] = definition.get("graduation") or {}
    high_risk: Mapping[str, Any] = definition.get("high_risk") or {}
    return Cadence(
        offsets=tuple(step.day for step in steps),
        channels=tuple(definition["channels"]),
        send_at=tuple(time.fromisoformat(text) for text in definition["send_at"]),
        graduate_after_days=definition["graduate_after_days"],
        reminder_every_months=definition["reminder"]["every_months"],
        reminders=definition["reminder"]["at_most"],
        blackout=from_entries(definition.get("blackout", ())),
        # where nothing but days is said, days are all there is
        steps=steps if any(step != Step(step.day) for step in steps) else (),
        phone_from=high_risk.get("phone_from_step"),
        unanswered=graduation.get("after_unanswered"),
        answers=tuple(map(Answer, graduation.get("answers", (Answer.REPLY,)))),
        within_months=graduation.get("within_months", 12),
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
    high_risk: bool = False,
) -> list[Planned]:
    """Every touch of the cadence, from an enrolment at `start` (UTC), within the `hours` of the patient's state.

    `reachable` lists the channels that have a working contact point; `draw` in [0, 1) picks the time of day. Channels
    are those that it comes to if nobody answers and everything arrives; the claim asks what really came of it.
    A first touch whose hour has passed today goes tomorrow. What would fall into a blackout goes on the first day after
    it, at its time of day, and all later touches keep their distance from it.
    """
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
        channel = channel_of(cadence, step, reachable=reachable, preferred=preferred, high_risk=high_risk)
        if channel is not None:
            planned.append(_planned(step, TouchKind.OUTREACH, channel, due_at))
    return planned


def channel_of(
    cadence: Cadence,
    nth: int,
    *,
    reachable: Collection[str],
    preferred: str | None,
    high_risk: bool,
    heard: Heard = UNHEARD,
) -> str | None:
    """The channel of the `nth` step of outreach, given what came of the earlier ones; None = none reaches the patient.

    High risk goes before the step's own channels, and those before the campaign's, which alternate.
    """
    if high_risk and cadence.phone_from is not None and nth >= cadence.phone_from and PHONE in reachable:
        return PHONE
    step = cadence.step(nth)
    if step.escalate_if is None or heard.shows(step.escalate_if):
        own = step.own_channel(reachable)
        if own is not None:
            return own
    order = _channel_order(cadence, reachable, preferred)
    return order[nth % len(order)] if order else None


def other_channels(cadence: Cadence, nth: int, *, reachable: Collection[str], preferred: str | None) -> list[str]:
    """What the `nth` touch may take where its channel fails, best first: the step's own, then the campaign's.

    Channels that a step keeps for whom the earlier ones came to nothing are not among them.
    """
    step = cadence.step(nth) if nth < len(cadence.offsets) else None
    own = () if step is None or step.escalate_if is not None else step.channels
    order = [*(each for each in own if each in reachable), *_channel_order(cadence, reachable, preferred)]
    return list(dict.fromkeys(order))


def review_after(cadence: Cadence, start: datetime) -> datetime:
    """When an enrolment that nothing ended is looked at for graduation, if nobody answers."""
    steps = len(cadence.offsets) if cadence.unanswered is None else min(cadence.unanswered, len(cadence.offsets))
    return _over(cadence, start, steps)


def over_after(cadence: Cadence, start: datetime) -> datetime:
    """When the cadence is over for whoever answered in between: they get every step."""
    return _over(cadence, start, len(cadence.offsets))


def _over(cadence: Cadence, start: datetime, steps: int) -> datetime:
    after = timedelta(days=cadence.offsets[steps - 1] + cadence.graduate_after_days)
    return min(start + after, add_months(start, cadence.within_months))


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


def _channel_order(cadence: Cadence, reachable: Collection[str], preferred: str | None) -> list[str]:
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
