"""Previews: who would get what and when from a campaign file, who not and why, and what it costs in SMS segments."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, select

from channels.kit.discovery import discover
from domain.ledger import foreseeing
from domain.ledger.foreseeing import Elsewhere, Foreseen
from domain.ledger.organisations import organisation
from domain.ledger.rooms import NO_SLOTS, UNKNOWN
from domain.ledger.store import reading
from domain.rules import cadence, terms
from domain.rules.cadence import Planned
from domain.rules.links import BOOK, make_token
from domain.rules.rulebook import Rulebook
from domain.rules.steps import PHONE
from domain.rules.templates import Template, choose, render
from producers.campaign_file import ReadCampaign, read_campaign
from producers.campaigns import found


@dataclass(frozen=True, slots=True)
class Said:
    """A text of the campaign as a patient would get it."""

    name: str
    """`key@version`, or the campaign's own."""
    channel: str
    language: str
    subject: str | None
    body: str
    segments: int
    """Of an SMS; 0 on any other channel."""


class Person(NamedTuple):
    """A lapse looked at, as a row of a table."""

    patient: str
    service_line: str
    segment: str
    outcome: str
    """`treatment`, `holdout`, or the reason why it would not be enrolled."""
    first_day: date | None
    messages: int
    sms_segments: int


@dataclass
class Preview:
    """What starting a campaign now would come to, if nobody answered and nobody stopped it."""

    campaign: str
    version: int
    organisation: str
    unready: tuple[str, ...]
    """Channels of the file that are not set up; counted as if they were."""
    enrolled: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Segment -> arm -> how many."""
    declined: Counter[str] = field(default_factory=Counter)
    held: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Of the declined, those that wait for open slots: reason, site and service line -> how many."""
    elsewhere: Counter[str] = field(default_factory=Counter)
    """Of the declined, those whom another campaign has, or had: its name -> how many."""
    elsewhere_until: dict[str, date] = field(default_factory=dict)
    """The last day of those whom it still has, if nobody answers."""
    late: int = 0
    """Messages that go on a later day than their step: the site, or the campaign there, has sent its share."""
    lost: int = 0
    """Messages that find no place within their five days, and are not sent."""
    days: defaultdict[date, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Local day -> channel -> messages."""
    said: Counter[tuple[str, int, Said]] = field(default_factory=Counter)
    """Kind, step and text -> messages."""
    gets: defaultdict[tuple[str, Said], set[tuple[str, int]]] = field(default_factory=lambda: defaultdict(set))
    """Segment and text -> the kinds and steps at which it is sent."""
    depends: tuple[str, ...] = ()
    """What else decides, of which a preview can only tell that it does."""
    offers: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Incentive -> how many `patients` it would be offered to, and what it is worth in all, in `cents`."""
    people: list[Person] = field(default_factory=list)
    """Every lapse looked at."""

    @property
    def segments(self) -> int:
        """All SMS segments."""
        return sum(text.segments * messages for (_, _, text), messages in self.said.items())

    def costs(self) -> Iterator[dict[str, Any]]:
        """What each step takes on each channel and in each language, in the order of sending."""
        steps: defaultdict[tuple[int, str, str, str], Counter[str]] = defaultdict(Counter)
        for (kind, step, text), messages in self.said.items():
            taken = Counter(messages=messages, segments=text.segments * messages)
            steps[step, kind, text.channel, text.language] += taken
        for (step, kind, channel, language), taken in sorted(steps.items()):
            yield {
                "kind": kind,
                "step": step,
                "channel": channel,
                "language": language,
                "messages": taken["messages"],
                "segments": taken["segments"],
            }


def preview(
    engine: Engine,
    path: Path,
    organisation_key: str | None,
    rules: Rulebook,
    *,
    ready: Mapping[str, str],
    public_url: str,
    now: datetime,
    limit: int | None = None,
) -> Preview:
    """Foresee a campaign file on the present ledger, without writing anything.

    `ready` are the channels that are set up. With a `limit` only so many patients are looked at, the most urgent first.

    Raises:
        FileProblems: the file is not right.
        CampaignError: no such organisation, or several and none named.
    """
    with reading(engine, patient=True) as conn:
        key, organisation_id = found(conn, organisation_key)
        read = read_campaign(path, rules, key)
        version = foreseeing.version_after(conn, organisation_id, read.file.definition())
        wanted = sorted(cadence.from_definition(read.file.definition()).every_channel - {PHONE})
        systems = {name: discover()[name].contact_system for name in wanted}
        unready = tuple(sorted(set(systems) - set(ready)))
        result = Preview(version.key, version.version, key, unready, depends=tuple(_depends(read)))
        texts = _Texts(read, _values(conn, organisation_id, public_url))
        for each in foreseeing.foresee(conn, version, systems, rules, now, limit):
            _count(result, each, texts)
    return result


class _Texts:
    """The texts of the file, each rendered and counted once."""

    def __init__(self, read: ReadCampaign, values: Mapping[str, str]) -> None:
        self._terms = terms.from_definition(read.file.definition())
        self._names = {
            text: each.key if each.version is None else f"{each.key}@{each.version}"
            for each in read.news
            for text in each.texts
        }
        self._values = values
        self._said: dict[Template, Said] = {}

    def of(self, person: Foreseen, touch: Planned, day: date) -> tuple[Template, Said]:
        """What this touch says on its local day, and as it reads."""
        text = choose(
            self._names,
            channel=touch.channel,
            language=person.language,
            segment=person.segment,
            step_kind=touch.kind.value,
            step=touch.step,
            seasons=self._terms.open_on(day, payer=person.payer, benefit_month=person.benefit_month),
            may_offer=lambda each: person.may_offer(each.incentive, each.cents, day.year),
        )
        if text not in self._said:
            body = render(text.body, self._values)
            self._said[text] = Said(
                name=self._names[text],
                channel=text.channel,
                language=text.language,
                subject=render(text.subject, self._values) if text.subject else None,
                body=body,
                segments=discover()[text.channel].cost(body) if text.channel == "sms" else 0,
            )
        return text, self._said[text]


def _count(result: Preview, each: Foreseen, texts: _Texts) -> None:
    taken = 0
    if each.reason is not None or each.arm is None:
        result.declined[each.reason or "no_campaign"] += 1
        if each.reason in {NO_SLOTS, UNKNOWN}:
            result.held[each.reason, each.site, each.service_line] += 1
        if each.elsewhere is not None:
            _count_elsewhere(result, each.elsewhere)
    else:
        result.enrolled[each.segment][each.arm] += 1
    result.late += each.late
    result.lost += each.lost
    for day, touch in each.touches:
        text, said = texts.of(each, touch, day)
        if text.incentive and each.offer(text.incentive, text.cents, day.year):
            result.offers[text.incentive].update(patients=1, cents=text.cents)
        taken += said.segments
        result.days[day][touch.channel] += 1
        result.said[touch.kind.value, touch.step, said] += 1
        result.gets[each.segment, said].add((touch.kind.value, touch.step))
    first_day = each.touches[0][0] if each.touches else None
    outcome = each.reason or each.arm or ""
    result.people.append(
        Person(each.ref, each.service_line, each.segment, outcome, first_day, len(each.touches), taken)
    )


def _count_elsewhere(result: Preview, there: Elsewhere) -> None:
    result.elsewhere[there.campaign] += 1
    if there.until is not None:
        before = result.elsewhere_until.get(there.campaign, there.until)
        result.elsewhere_until[there.campaign] = max(before, there.until)


def _depends(read: ReadCampaign) -> Iterator[str]:
    plan = cadence.from_definition(read.file.definition())
    for nth in range(len(plan.offsets)):
        step = plan.step(nth)
        if step.only_if is not None:
            yield f"step {nth} is sent only if {step.only_if}"
        if step.escalate_if is not None:
            yield f"step {nth} goes by {' or '.join(step.channels)} if {step.escalate_if}"
    if plan.phone_from is not None:
        yield f"a person calls patients at high risk from step {plan.phone_from} on"
    if plan.unanswered is not None:
        yield f"after {plan.unanswered} touches without {' or '.join(plan.answers)} only light reminders follow"
    if read.file.enrol_in:
        yield f"it enrols in {' or '.join(read.file.enrol_in)} only"


def _values(conn: Connection, organisation_id: int, public_url: str) -> dict[str, str]:
    """What its messages say of the organisation, and a link as long as theirs will be."""
    row = conn.execute(select(organisation).where(organisation.c.id == organisation_id)).one()
    token = make_token(b"preview", BOOK, foreseeing.last_touch(conn) + 1)
    return {
        "organisation": row.name,
        "phone": row.phone,
        "postal_address": row.postal_address,
        "link": f"{public_url}/b/{token}",
    }
