"""Halts: a person pauses a campaign, lets it go again, or stops it for good; each is on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, insert, or_, select, update

from domain.ledger import enrolments, rooms
from domain.ledger.among import among
from domain.ledger.campaigns import campaign, campaign_event
from domain.ledger.enrolments import IS_LIVE, enrolment
from domain.ledger.lapses import lapse
from domain.ledger.patients import patient
from domain.ledger.store import chunks
from domain.ledger.touches import IS_PLANNED, tell, touch
from domain.rules.vocabulary import EnrolmentState

#: Rule id by which a touch waits, and a lapse is not enrolled, while its campaign is paused.
PAUSED = "campaign_paused"
#: Why an enrolment of a stopped campaign ended.
ENDED = "campaign_ended"

#: What waited for a campaign goes out a minute apart, or, where it is much, spread over so long.
CATCH_UP = timedelta(hours=4)
_APART = timedelta(minutes=1)

_HELD = (
    select(touch.c.id)
    .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
    .join(campaign, campaign.c.id == enrolment.c.campaign_id)
    .where(
        among(touch.c.id, "ids"),
        or_(campaign.c.paused_at.is_not(None), enrolment.c.reason == ENDED),
    )
)


class HaltError(Exception):
    """A campaign cannot be paused, resumed or stopped; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Halt:
    """What became of a campaign: whether that is new, whom it concerns, and which planned touches."""

    is_new: bool
    enrolments: int
    touches: int
    later: int = 0
    """Of a resumption: planned touches that were not due meanwhile, and keep their times."""


def pause(conn: Connection, organisation_id: int, key: str, *, who: str, why: str, now: datetime) -> Halt:
    """Silence every version of a campaign at once: claims read it in their own transaction, late ones once more.

    Pausing a paused one changes nothing. What waits longer than it is worth sending expires.

    Raises:
        HaltError: nothing of this campaign goes on.
    """
    _live(conn, organisation_id, key)
    enrolled, planned = _concerned(conn, organisation_id, key)
    is_new = _set_paused(conn, organisation_id, key, now)
    if is_new:
        _note(conn, organisation_id, key, {"what": "paused", "who": who, "why": why, "enrolments": enrolled}, now)
    return Halt(is_new, enrolled, planned)


def resume(conn: Connection, organisation_id: int, key: str, *, who: str, now: datetime) -> Halt:
    """Let a paused campaign go again, its backlog spread and oldest first; lapses it kept waiting are owed a decision.

    Raises:
        HaltError: nothing of this campaign goes on.
    """
    _live(conn, organisation_id, key)
    enrolled, planned = _concerned(conn, organisation_id, key)
    if not _set_paused(conn, organisation_id, key, None):
        return Halt(False, enrolled, 0)
    woken = _spread(conn, organisation_id, key, now)
    _owe_again(conn, organisation_id)
    _note(conn, organisation_id, key, {"what": "resumed", "who": who, "why": None, "enrolments": enrolled}, now)
    return Halt(True, enrolled, woken, planned - woken)


def stop(conn: Connection, organisation_id: int, key: str, *, who: str, why: str, now: datetime) -> Halt:
    """End a campaign in every version: its live enrolments, in both arms, and what was planned for them.

    Raises:
        HaltError: nothing of this campaign goes on.
    """
    _live(conn, organisation_id, key)
    ours = _of(organisation_id, key)
    _, planned = _concerned(conn, organisation_id, key)
    conn.execute(update(campaign).where(_versions(organisation_id, key)).values(paused_at=None))
    conn.execute(
        update(campaign).where(_versions(organisation_id, key), campaign.c.ended_at.is_(None)).values(ended_at=now)
    )
    # patients before enrolments and touches, in id order, as everybody locks them
    whose = select(enrolment.c.patient_id).where(ours)
    conn.execute(select(patient.c.id).where(patient.c.id.in_(whose)).order_by(patient.c.id).with_for_update())
    ended = conn.scalars(select(enrolment.c.id).where(ours)).all()
    enrolments.end(conn, ended, EnrolmentState.FINISHED, ENDED, now)
    _owe_again(conn, organisation_id)
    _note(conn, organisation_id, key, {"what": "stopped", "who": who, "why": why, "enrolments": len(ended)}, now)
    return Halt(True, len(ended), planned)


def held(conn: Connection, touch_ids: Collection[int]) -> set[int]:
    """Which of these touches belong to a campaign that is paused or was stopped."""
    return set(conn.scalars(_HELD, {"ids": sorted(touch_ids)})) if touch_ids else set()


def history(conn: Connection, organisation_id: int, key: str | None = None) -> Sequence[RowMapping]:
    """Every pause, resumption, move and stop (of a campaign), oldest first."""
    ours = [campaign_event.c.organisation_id == organisation_id]
    if key is not None:
        ours.append(campaign_event.c.campaign_key == key)
    return conn.execute(select(campaign_event).where(*ours).order_by(campaign_event.c.id)).mappings().all()


def _versions(organisation_id: int, key: str) -> ColumnElement[bool]:
    return and_(campaign.c.organisation_id == organisation_id, campaign.c.key == key)


def _of(organisation_id: int, key: str) -> ColumnElement[bool]:
    return and_(enrolment.c.organisation_id == organisation_id, enrolment.c.campaign_key == key, IS_LIVE)


def _live(conn: Connection, organisation_id: int, key: str) -> None:
    """Make sure that the campaign runs, or that somebody is still enrolled in it; two people's words take turns."""
    versions = conn.execute(
        select(campaign.c.id, campaign.c.ended_at)
        .where(_versions(organisation_id, key))
        .order_by(campaign.c.id)
        .with_for_update(key_share=True)
    ).all()
    if not versions:
        there = conn.scalars(
            select(campaign.c.key).where(campaign.c.organisation_id == organisation_id).distinct().order_by("key")
        ).all()
        raise HaltError(f"no campaign is called {key}; there are {', '.join(there) or 'none yet'}")
    runs = any(each.ended_at is None for each in versions)
    if not runs and conn.scalar(select(enrolment.c.id).where(_of(organisation_id, key)).limit(1)) is None:
        raise HaltError(f"{key} has ended: nothing of it goes on")


def _concerned(conn: Connection, organisation_id: int, key: str) -> tuple[int, int]:
    """How many live enrolments the campaign has, and how many planned touches."""
    ours = _of(organisation_id, key)
    enrolled = conn.scalar(select(func.count()).select_from(enrolment).where(ours))
    planned = conn.scalar(
        select(func.count())
        .select_from(touch)
        .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
        .where(IS_PLANNED, ours)
    )
    return enrolled or 0, planned or 0


def _set_paused(conn: Connection, organisation_id: int, key: str, now: datetime | None) -> bool:
    """Pause or resume every version; whether any was otherwise."""
    is_other = campaign.c.paused_at.is_(None) if now is not None else campaign.c.paused_at.is_not(None)
    changed = update(campaign).where(_versions(organisation_id, key), is_other).values(paused_at=now)
    return conn.execute(changed).rowcount > 0


def _spread(conn: Connection, organisation_id: int, key: str, now: datetime) -> int:
    """Give what waited for the campaign new times, the longest due first; how many there are."""
    waiting = and_(IS_PLANNED, touch.c.reason == PAUSED)
    ours = select(enrolment.c.id).where(_of(organisation_id, key))
    # in id order, as claims lock them: neither waits for what the other holds
    rows = conn.execute(
        select(touch.c.id, touch.c.expires_at)
        .where(waiting, touch.c.enrolment_id.in_(ours))
        .order_by(touch.c.id)
        .with_for_update()
    ).all()
    oldest_first = [row.id for row in sorted(rows, key=lambda row: (row.expires_at, row.id))]
    apart = min(_APART, CATCH_UP / max(1, len(rows)))
    slots: defaultdict[datetime, list[int]] = defaultdict(list)
    for nth, id_ in enumerate(oldest_first):
        slots[now + _APART * (nth * apart // _APART)].append(id_)
    for at, all_ids in slots.items():
        for ids in chunks(all_ids):
            conn.execute(update(touch).where(touch.c.id.in_(ids), waiting).values(due_at=at))
    events = [
        {"touch_id": id_, "what": "planned", "reason": "campaign_resumed", "until": at}
        for at, ids in slots.items()
        for id_ in ids
    ]
    tell(conn, events, now)
    return len(rows)


def _owe_again(conn: Connection, organisation_id: int) -> None:
    waited = and_(
        lapse.c.organisation_id == organisation_id,
        lapse.c.declined.in_([PAUSED, *rooms.WAITING]),
        lapse.c.closed_at.is_(None),
    )
    conn.execute(update(lapse).where(waited).values(decided_at=None, declined=None))


def _note(conn: Connection, organisation_id: int, key: str, values: Mapping[str, Any], now: datetime) -> None:
    conn.execute(insert(campaign_event).values(organisation_id=organisation_id, campaign_key=key, at=now, **values))
