"""Foreseeing: what would become of every open lapse if a campaign began now. It locks nothing and writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from domain.ledger import campaigns, daily_shares, deciding, enrolling, incentives, rooms
from domain.ledger.campaigns import Running, campaign
from domain.ledger.daily_shares import Turn
from domain.ledger.deciding import AnyRow
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.reviews import reminder_of
from domain.ledger.store import chunks
from domain.ledger.touches import touch
from domain.rules import cadence
from domain.rules.cadence import Cadence, Planned
from domain.rules.holdout import arm
from domain.rules.incentives import Ceilings, is_federal, refusal
from domain.rules.quiet_hours import zone_info
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Arm

#: Decisions that are taken again: a campaign's start looks again at them, the clock at the latter two.
_TAKEN_AGAIN = frozenset({"no_campaign", "unreachable", *rooms.WAITING, deciding.OUT_OF_SEASON})
#: What a decision says of whom a campaign has, or had; which one, a preview has to tell.
_ENGAGED = frozenset({"already_enrolled", "had_its_turn", deciding.GOES_ON})
#: Why a lapse would not be enrolled: one that has begun already has it.
ELSEWHERE = "in_another_campaign"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another campaign that a patient is, or was, enrolled in."""

    campaign: str
    until: date | None
    """The day (UTC) on which its cadence is over, or its next reminder due, if nobody answers; None = it has ended."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would become of one lapse."""

    ref: str
    service_line: str
    segment: str
    language: str
    reason: str | None = None
    """Why it would not be enrolled; None if it would."""
    arm: str | None = None
    site: str = ""
    """Where it would be enrolled, or waits for room."""
    elsewhere: Elsewhere | None = None
    """The campaign that has, or had, it; of `in_another_campaign`."""
    touches: tuple[tuple[date, Planned], ...] = ()
    """With the patient's local day of each, reminders included, if nothing ends the enrolment before."""
    late: int = 0
    """How many of them go on a later day than planned: the site, or the campaign there, has sent its share."""
    lost: int = 0
    """How many more find no place for so long that they expire; not among `touches`."""
    payer: str | None = None
    benefit_month: int | None = None
    ceilings: Ceilings = field(default_factory=Ceilings)
    """Of what they may be offered, if their payer is federal or unknown."""
    offered: Counter[int] = field(default_factory=Counter)
    """Year -> cents offered by now, in all campaigns."""
    _taken: set[tuple[str, int]] = field(default_factory=set)

    def may_offer(self, incentive: str, cents: int, year: int) -> bool:
        """Whether the ceilings of that year leave room for it, after what was offered and what would be."""
        if (incentive, year) in self._taken or not is_federal(self.payer):
            return True
        return refusal(self.ceilings, cents, self.offered[year]) is None

    def offer(self, incentive: str, cents: int, year: int) -> bool:
        """Count it as offered in that year; whether it is for the first time."""
        if (incentive, year) in self._taken:
            return False
        self._taken.add((incentive, year))
        self.offered[year] += cents
        return True


def version_after(conn: Connection, organisation_id: int, definition: Mapping[str, Any]) -> Running:
    """The version of its campaign that this definition would be, were it started now."""
    key = definition["campaign"]
    ours = and_(campaign.c.organisation_id == organisation_id, campaign.c.key == key)
    newest = conn.scalar(select(func.max(campaign.c.version)).where(ours)) or 0
    paused_at = conn.scalar(select(campaign.c.paused_at).where(ours, campaign.c.ended_at.is_(None)))
    return Running(0, organisation_id, key, newest + 1, definition["holdout"], definition, paused_at)


def foresee(
    conn: Connection, version: Running, systems: Mapping[str, str], rules: Rulebook, now: datetime, limit: int | None
) -> Iterator[Foreseen]:
    """What would become of the open lapses of its organisation, or of those of the first `limit` patients.

    The most urgent patients come first. What another campaign would take is told as `other_campaign`.
    """
    running = [
        *(each for each in campaigns.running(conn) if (each.organisation_id, each.key) != _name(version)),
        version,
    ]
    is_open = and_(lapse.c.organisation_id == version.organisation_id, lapse.c.closed_at.is_(None))
    patients = conn.scalars(
        select(lapse.c.patient_id)
        .where(is_open)
        .group_by(lapse.c.patient_id)
        .order_by(func.min(lapse.c.priority), func.min(lapse.c.id))
        .limit(limit)
    ).all()
    before: Counter[int] = Counter()
    open_ = rooms.SlotsLeft(conn, version, now) if rooms.pace(version) is not None else None
    found = (
        each
        for ids in chunks(patients)
        for each in _foresee(conn, ids, is_open, version, running, systems, rules, now, before, open_)
    )
    shares = daily_shares.read(conn, version, now)
    if not shares.is_limited:
        yield from (each for each, _ in found)
        return
    # who goes when depends on everybody
    everybody = list(found)
    given = shares.give([turn for _, turns in everybody for turn in turns])
    for each, turns in everybody:
        yield _in_turn(each, turns, [given[turn.number] for turn in turns])


def last_touch(conn: Connection) -> int:
    """The highest number a touch has: links are as long as it makes them."""
    return conn.scalar(select(func.max(touch.c.id))) or 0


def _foresee(
    conn: Connection,
    patients: Sequence[int],
    is_open: ColumnElement[bool],
    version: Running,
    running: Sequence[Running],
    systems: Mapping[str, str],
    rules: Rulebook,
    now: datetime,
    before: Counter[int],
    open_: rooms.SlotsLeft | None,
) -> Iterator[tuple[Foreseen, list[Turn]]]:
    rows = deciding.read_lapses(conn, patients, is_open)
    fresh = [row for row in rows if row.decided_at is None or row.declined in _TAKEN_AGAIN]
    decided = deciding.decide(conn, fresh, running, systems, now)
    enrolled = _enrolled(conn, rows)
    for row in rows:
        if row.decided_at is not None and row.declined not in _TAKEN_AGAIN:
            yield _declined(row, *_engaged_by(row, row.declined, version, enrolled)), []
    for row, reason in decided.declined:
        theirs = deciding.campaign_for(row, running, now)
        is_ours = theirs is None or theirs is version or row.merged_into_id or row.deceased_at
        if is_ours:
            yield _declined(row, reason), []
        elif reason in _ENGAGED and enrolled.get(row.patient_id):
            yield _declined(row, *_engaged_by(row, reason, version, enrolled)), []
        else:
            yield _declined(row, "other_campaign"), []
    offered = incentives.offered(conn, [row.patient_id for row, _ in decided.chosen])
    plan = cadence.from_definition(version.definition)
    limit = version.definition.get("daily_enrolments_per_site")
    for row, chosen in decided.chosen:
        if chosen is not version:
            yield _declined(row, "other_campaign"), []
            continue
        held_back = None if open_ is None else open_.take(row.site_id, row.service_line)
        if held_back is not None:
            yield _declined(row, held_back), []
            continue
        # those beyond a day's share of their site begin on a later day
        start = now + timedelta(days=before[row.site_id] // limit) if limit else now
        before[row.site_id] += 1
        drawn = arm(version.key, row.ref, version.holdout)
        in_force = rules.in_force(row.organisation_key, filter(None, [row.home_state]))
        planned = (
            list(_touches(row, plan, decided.reachable[row.patient_id], rules, start)) if drawn == Arm.TREATMENT else []
        )
        turns = [
            Turn((row.id, nth), row.site_id, each, row.priority, row.zone, in_force.hours, plan.blackout)
            for nth, each in enumerate(planned)
        ]
        foreseen = Foreseen(
            row.ref,
            row.service_line,
            row.segment,
            row.language,
            arm=drawn.value,
            site=row.site,
            touches=tuple((_day(each.due_at, row.zone), each) for each in planned),
            payer=row.payer,
            benefit_month=row.benefit_month,
            ceilings=in_force.ceilings,
            offered=Counter({year: cents for (who, year), cents in offered.items() if who == row.patient_id}),
        )
        yield foreseen, turns


def _touches(row: AnyRow, plan: Cadence, reachable: Sequence[str], rules: Rulebook, now: datetime) -> Iterator[Planned]:
    # nobody answers: what comes after as many as may go unanswered is not sent
    yield from enrolling.planned(row, plan, reachable, rules, now)[: plan.unanswered]
    reviewed_at = cadence.review_after(plan, now)
    for nth in range(plan.reminders):
        reminder = reminder_of(row, plan, nth, reachable, rules, reviewed_at)
        yield reminder
        reviewed_at = reminder.expires_at


def _in_turn(each: Foreseen, turns: Sequence[Turn], given: Sequence[datetime | None]) -> Foreseen:
    """With the days on which its touches find a place."""
    going = [(turn, at) for turn, at in zip(turns, given, strict=True) if at is not None]
    days = tuple((_day(at, turn.zone), turn.planned) for turn, at in going)
    late = sum(_day(at, turn.zone) != _day(turn.planned.due_at, turn.zone) for turn, at in going)
    return replace(each, touches=days, late=late, lost=len(turns) - len(going))


def _enrolled(conn: Connection, rows: Sequence[AnyRow]) -> Mapping[int, Sequence[AnyRow]]:
    """Patient -> what they are, or were, enrolled in; the live ones last."""
    wanted = select(
        enrolment.c.patient_id,
        enrolment.c.lapse_id,
        enrolment.c.campaign_key,
        enrolment.c.ended_at,
        enrolment.c.review_at,
    ).where(enrolment.c.patient_id.in_({row.patient_id for row in rows}))
    found: defaultdict[int, list[AnyRow]] = defaultdict(list)
    for row in conn.execute(wanted.order_by(enrolment.c.ended_at.is_(None), enrolment.c.id)):
        found[row.patient_id].append(row)
    return found


def _engaged_by(
    row: AnyRow, reason: str | None, version: Running, enrolled: Mapping[int, Sequence[AnyRow]]
) -> tuple[str, Elsewhere | None]:
    """Why a lapse that was decided about is not decided about again, by the campaign that has or had it."""
    if reason is not None and reason not in _ENGAGED:
        return reason, None
    theirs = enrolled.get(row.patient_id, ())
    own = [each for each in theirs if each.lapse_id == row.id]
    # its own enrolment says more than another lapse's
    by = next(reversed(own or [each for each in theirs if each.ended_at is None]), None)
    if by is None:
        return "had_its_turn", None
    if by.campaign_key != version.key:
        until = by.review_at.date() if by.ended_at is None and by.review_at is not None else None
        return ELSEWHERE, Elsewhere(by.campaign_key, until)
    if by.ended_at is not None:
        return "had_its_turn", None
    return deciding.GOES_ON if by.lapse_id == row.id else "already_enrolled", None


def _day(at: datetime, zone: str) -> date:
    return at.astimezone(zone_info(zone)).date()


def _declined(row: AnyRow, reason: str, elsewhere: Elsewhere | None = None) -> Foreseen:
    return Foreseen(
        row.ref, row.service_line, row.segment, row.language, reason=reason, site=row.site, elsewhere=elsewhere
    )


def _name(version: Running) -> tuple[int, str]:
    return version.organisation_id, version.key
