"""How a preview is told: in lines for people, and as JSON for machines."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from domain.ledger.rooms import NO_SLOTS
from domain.rules.reasons import sentence
from domain.rules.vocabulary import Arm
from producers.preview import Preview, Said

#: So much of a text shows which one it is; `--json` has the whole.
_GLIMPSE = 90


def preview_lines(seen: Preview) -> Iterator[str]:
    """The preview as text."""
    yield f"{seen.campaign} version {seen.version} for {seen.organisation}: nothing is sent or written"
    for channel in seen.unready:
        yield f"channel {channel} is not set up here: counted as if it were, but it would send nothing"
    for chapter in (_who, _what_else, _when, _costs, _offers, _texts):
        lines = list(chapter(seen))
        if lines:
            yield ""
            yield from lines


def _who(seen: Preview) -> Iterator[str]:
    arms = sum(seen.enrolled.values(), Counter[str]())
    yield f"Would be enrolled: {arms.total()} of {len(seen.people)} lapses"
    for segment, per_arm in sorted(seen.enrolled.items()):
        contacted, left_alone = per_arm[Arm.TREATMENT], per_arm[Arm.HOLDOUT]
        yield f"  {segment}: {contacted} contacted, {left_alone} left alone as holdout"
    yield f"Would not: {seen.declined.total()}"
    for reason, count in seen.declined.most_common():
        yield f"  {reason}: {count} ({sentence(reason)})"
    for campaign, count in sorted(seen.elsewhere.items()):
        until = seen.elsewhere_until.get(campaign)
        runs = "ended there by now" if until is None else f"until {until:%Y-%m-%d} at least, if nobody answers"
        yield f"  in another campaign: {campaign}: {count}, {runs}"
    for (reason, site, line), count in sorted(seen.held.items()):
        why = "no open slots" if reason == NO_SLOTS else "nobody told how many slots are open"
        yield f"  held back: {why} at {site} for {line}: {count}"


def _what_else(seen: Preview) -> Iterator[str]:
    if seen.depends:
        yield "What else decides"
        yield from (f"  {each}" for each in seen.depends)


def _when(seen: Preview) -> Iterator[str]:
    yield "When, if nobody answers (local days)"
    for day, channels in sorted(seen.days.items()):
        yield f"  {day:%Y-%m-%d %a}  {_counts(channels)}"
    if seen.late:
        yield f"  {seen.late} of them later than their step: their site, or this campaign there, has sent a day's share"
    if seen.lost:
        yield f"  {seen.lost} more find no place within their five days and are not sent: raise a day's share"


def _costs(seen: Preview) -> Iterator[str]:
    yield f"What it costs at most: {seen.segments} SMS segments"
    for each in seen.costs():
        segments = f", {each['segments']} segments" if each["channel"] == "sms" else ""
        where = f"{each['kind']} {each['step']}, {each['channel']}, {each['language']}"
        yield f"  {where}: {each['messages']} messages{segments}"


def _offers(seen: Preview) -> Iterator[str]:
    if seen.offers:
        yield "What is offered at most, within the ceilings of each patient's year"
        for incentive, taken in sorted(seen.offers.items()):
            yield f"  {incentive}: to {taken['patients']} patients, ${taken['cents'] / 100:,.2f} in all"


def _texts(seen: Preview) -> Iterator[str]:
    yield "Who gets which text"
    for (segment, said), steps in sorted(seen.gets.items(), key=lambda item: (item[0][0], _order(item[0][1]))):
        per = f", {said.segments} SMS segment{'s' * (said.segments > 1)}" if said.channel == "sms" else ""
        yield f"  {segment}, {said.channel}, {said.language}, {_steps(steps)}: {said.name}{per}"
        yield f"    {_glimpse(said)}"


def preview_as_dict(seen: Preview) -> dict[str, Any]:
    """The preview for JSON; patients only in numbers."""
    arms = sum(seen.enrolled.values(), Counter[str]())
    return {
        "campaign": seen.campaign,
        "version": seen.version,
        "organisation": seen.organisation,
        "not_set_up": list(seen.unready),
        "lapses": len(seen.people),
        "enrolled": {arm.value: arms[arm] for arm in Arm},
        "by_segment": {segment: {arm.value: each[arm] for arm in Arm} for segment, each in seen.enrolled.items()},
        "not_enrolled": dict(seen.declined),
        "held_back": [
            {"reason": reason, "site": site, "service_line": line, "lapses": count}
            for (reason, site, line), count in sorted(seen.held.items())
        ],
        "elsewhere": [
            {"campaign": campaign, "lapses": count, "until": until.isoformat() if until else None}
            for campaign, count in sorted(seen.elsewhere.items())
            for until in [seen.elsewhere_until.get(campaign)]
        ],
        "later_than_their_step": seen.late,
        "expire_for_want_of_a_place": seen.lost,
        "days": {day.isoformat(): dict(channels) for day, channels in sorted(seen.days.items())},
        "sms_segments": seen.segments,
        "costs": list(seen.costs()),
        "depends": list(seen.depends),
        "offers": {incentive: dict(taken) for incentive, taken in sorted(seen.offers.items())},
        "texts": [
            {
                "segment": segment,
                "template": said.name,
                "channel": said.channel,
                "language": said.language,
                "steps": [f"{kind} {step}" for kind, step in _in_order(steps)],
                "sms_segments": said.segments,
                "subject": said.subject,
                "body": said.body,
            }
            for (segment, said), steps in sorted(seen.gets.items(), key=lambda item: (item[0][0], _order(item[0][1])))
        ],
    }


def _counts(channels: Counter[str]) -> str:
    return ", ".join(f"{count} {channel}" for channel, count in sorted(channels.items()))


def _order(said: Said) -> tuple[str, str, str, str]:
    return said.channel, said.language, said.name, said.body


def _in_order(steps: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(steps, key=lambda each: each[1])


def _steps(steps: Iterable[tuple[str, int]]) -> str:
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for kind, step in _in_order(steps):
        kinds[kind].append(str(step))
    return "; ".join(f"{kind} {' '.join(numbers)}" for kind, numbers in kinds.items())


def _glimpse(said: Said) -> str:
    text = " ".join((said.subject or said.body).split())
    return text if len(text) <= _GLIMPSE else f"{text[:_GLIMPSE]} …"
