"""The list of calls: which are due, which somebody has taken or is making, and which were withdrawn from a caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    literal_column,
    or_,
    select,
)

from domain.ledger import claims
from domain.ledger.attempts import IS_SENDING, attempt
from domain.ledger.columns import Id, Instant
from domain.ledger.enrolments import enrolment
from domain.ledger.organisations import site
from domain.ledger.patients import patient
from domain.ledger.touches import IS_PLANNED, touch, touch_event
from domain.rules.rulebook import Rulebook
from domain.rules.steps import PHONE
from domain.rules.vocabulary import ContactSystem, TouchState

#: So long a call that was taken is nobody else's, while its caller gets ready.
KEPT: Final = timedelta(minutes=30)

#: What the history of a touch calls it.
TAKEN, GIVEN_BACK = "taken", "given_back"

#: A row whose columns its query names.
AnyRow = Row[*tuple[Any, ...]]


class Standing(StrEnum):
    """Where a call stands."""

    WITHDRAWN = "withdrawn"
    """Somebody took it, and it must not be made any more, or not now."""
    TAKEN = "taken"
    """Somebody is getting ready for it; nobody has seen its number."""
    DIALLED = "dialled"
    """Somebody has its number, and has not told how it ended."""
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Listed:
    """One call, by reference."""

    id: int
    patient: str
    site: str
    campaign: str
    step: int
    is_high_risk: bool
    due_at: datetime
    standing: Standing
    until: datetime
    """Due: when it expires. Taken, or withdrawn: how long it is its caller's. Dialled: when nobody is waited for."""
    why: str | None = None
    """Why it was withdrawn (a reason id)."""


_NOW: Final = bindparam("now", type_=Instant)
_COLUMNS: Final = (
    touch.c.id,
    touch.c.state,
    touch.c.reason,
    touch.c.due_at,
    touch.c.expires_at,
    touch.c.dispatched_until,
    touch.c.step,
    enrolment.c.campaign_key,
    patient.c.ref,
    patient.c.high_risk,
    site.c.key.label("site"),
)
_URGENT_FIRST: Final = (patient.c.high_risk.desc(), touch.c.priority, touch.c.due_at, touch.c.id)


def _calls(*more: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*_COLUMNS, *more)
        .join(enrolment, enrolment.c.id == touch.c.enrolment_id)
        .join(patient, patient.c.id == touch.c.patient_id)
        .join(site, site.c.id == touch.c.site_id)
        .order_by(*_URGENT_FIRST)
    )


IS_KEPT: Final[ColumnElement[bool]] = and_(
    IS_PLANNED, touch.c.channel == PHONE, touch.c.dispatched_until.is_not(None), touch.c.dispatched_until > _NOW
)
_DUE: Final = (
    _calls()
    .where(
        IS_PLANNED,
        touch.c.channel == PHONE,
        touch.c.due_at <= _NOW,
        touch.c.expires_at > _NOW,
        or_(touch.c.dispatched_until.is_(None), touch.c.dispatched_until <= _NOW),
    )
    .limit(bindparam("at_most", type_=Id))
)
_DIALLED: Final = (
    _calls(attempt.c.lease_until).join(attempt, attempt.c.touch_id == touch.c.id).where(attempt.c.channel == PHONE)
).where(IS_SENDING)
_later: Final = touch_event.alias("later")
#: Spelt out, as the partial index has it.
_WAS_TAKEN: Final = touch_event.c.what == literal_column(f"'{TAKEN}'")
_dialled_since: Final = exists().where(attempt.c.touch_id == touch.c.id, attempt.c.claimed_at >= touch_event.c.at)
_taken_since: Final = exists().where(
    _later.c.touch_id == touch.c.id, _later.c.id > touch_event.c.id, _later.c.what.in_([TAKEN, GIVEN_BACK])
)
#: What somebody took of late and neither gave back nor dialled.
_IN_HAND: Final = (
    _calls(touch_event.c.until.label("kept_until"))
    .join(touch_event, touch_event.c.touch_id == touch.c.id)
    .where(_WAS_TAKEN, touch_event.c.until > _NOW, ~_taken_since, or_(IS_KEPT, ~_dialled_since))
)


def due(conn: Connection, now: datetime, at_most: int) -> list[Listed]:
    """Calls that are due and that nobody has taken, patients at high risk first, then by urgency; by reference."""
    rows = conn.execute(_DUE, {"now": now, "at_most": at_most})
    return [_listed(row, Standing.DUE, row.expires_at) for row in rows]


def in_hand(conn: Connection, systems: Mapping[str, str], rules: Rulebook, now: datetime) -> list[Listed]:
    """Calls that somebody took, those that were withdrawn since first, then those that are being made."""
    withdrawn, taken = [], []
    for row in conn.execute(_IN_HAND, {"now": now}).all():
        is_free, why = _withdrawal(conn, row, systems, rules, now)
        if is_free:
            taken.append(_listed(row, Standing.TAKEN, row.kept_until))
        else:
            withdrawn.append(_listed(row, Standing.WITHDRAWN, row.kept_until, why))
    dialled = [_listed(row, Standing.DIALLED, row.lease_until) for row in conn.execute(_DIALLED)]
    return [*withdrawn, *taken, *dialled]


def _withdrawal(
    conn: Connection, row: AnyRow, systems: Mapping[str, str], rules: Rulebook, now: datetime
) -> tuple[bool, str | None]:
    """Whether a call that was taken may be made, and if not, why."""
    if row.state != TouchState.PLANNED or row.dispatched_until is None:
        return False, row.reason
    # each by itself: two of a household are in two callers' hands, and whoever dials first has used up the turn
    told = claims.judge(
        conn, [row.id], channel=PHONE, system=ContactSystem.PHONE.value, systems=systems, rules=rules, now=now
    )
    return bool(told.claimed), refusal(told)[0]


def refusal(told: claims.Claim) -> tuple[str | None, datetime | None]:
    """Why a claim did not let a call go (a reason id), and until when; None: for good, or nobody can say."""
    for _, wait in told.waits:
        return wait.why, wait.until
    for id_, never in told.nevers:
        return told.outwaited.get(id_, never), None
    for _, channel, why in told.rerouted:
        return why or f"to_{channel}", None
    return None, None


def _listed(row: AnyRow, standing: Standing, until: datetime, why: str | None = None) -> Listed:
    return Listed(
        id=row.id,
        patient=row.ref,
        site=row.site,
        campaign=row.campaign_key,
        step=row.step,
        is_high_risk=row.high_risk,
        due_at=row.due_at,
        standing=standing,
        until=until,
        why=why,
    )
