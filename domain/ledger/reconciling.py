"""Reconciling: what the ledger says of opt-outs, against what a provider says and what was sent since.

A stop that the provider knows and the ledger does not is put in force at once. Figures and references only: no value
leaves this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    String,
    Table,
    bindparam,
    exists,
    func,
    insert,
    select,
)

from domain.ledger import choices, senders
from domain.ledger.attempts import IS_REJECTED, MAY_HAVE_REACHED, attempt
from domain.ledger.choice_history import OPTED_OUT, choice_event, suppression
from domain.ledger.columns import Id, Instant, id_column, metadata
from domain.ledger.patients import contact_point, patient, patient_contact
from domain.ledger.senders import Sender
from domain.ledger.store import chunks, reading
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault
from domain.rules.vocabulary import TouchKind

#: Where the provider's word comes from: a list of its own, or its refusals of what we sent. The closed set of a label.
SOURCES: Final = ("list", "refusals")

#: What a comparison counts, in the order it is told; the closed set of a label, and the columns of the table.
KINDS: Final = ("missing", "sent_after", "overtaken", "ours_alone")

#: One row for each comparison; written by people and a daily round, so few that no other index is worth its upkeep.
reconciliation = Table(
    "reconciliation",
    metadata,
    id_column(),
    Column("source", String(16), nullable=False),
    Column("at", Instant, nullable=False),
    #: Opt-outs the provider told of.
    Column("listed", Integer, nullable=False),
    #: Of these the ledger knew nothing: they are in force now.
    Column("missing", Integer, nullable=False),
    #: Calls to the missing since they opted out.
    Column("sent_after", Integer, nullable=False),
    #: Here a START made later is in force: the provider still blocks whom we may write to.
    Column("overtaken", Integer, nullable=False),
    #: Opt-outs in force here of which the provider's list says nothing; most were said in free words.
    Column("ours_alone", Integer, nullable=False),
)
Index("ix_reconciliation_source", reconciliation.c.source, reconciliation.c.id)

#: Contact point, its organisation, and when somebody opted out there; None = now.
Told = tuple[int, int, datetime | None]

_POINTS: Final = bindparam("points", type_=Id, expanding=True)

_STOPPED: Final = select(suppression.c.contact_point_id).where(
    suppression.c.contact_point_id.in_(_POINTS),
    suppression.c.reason == OPTED_OUT,
    suppression.c.channel.is_(None),
    suppression.c.lifted_at.is_(None),
)
_STARTED: Final = (
    select(choice_event.c.contact_point_id, func.max(choice_event.c.at))
    .where(
        choice_event.c.contact_point_id.in_(_POINTS),
        choice_event.c.kind == "restored",
        choice_event.c.reason.is_(None),
    )
    .group_by(choice_event.c.contact_point_id)
)
_SENT_AFTER: Final = select(func.count()).where(
    attempt.c.contact_point_id == bindparam("point", type_=Id),
    MAY_HAVE_REACHED,
    attempt.c.kind != TouchKind.ANSWER.value,
    attempt.c.claimed_at > bindparam("since", type_=Instant),
)
_REFS: Final = (
    select(patient.c.ref)
    .join(patient_contact, patient_contact.c.patient_id == patient.c.id)
    .where(patient_contact.c.contact_point_id.in_(_POINTS), patient_contact.c.detached_at.is_(None))
    .distinct()
    .order_by(patient.c.ref)
)
_OURS: Final = (
    select(suppression.c.contact_point_id)
    .join(contact_point, contact_point.c.id == suppression.c.contact_point_id)
    .where(
        contact_point.c.organisation_id == bindparam("organisation", type_=Id),
        contact_point.c.system == bindparam("system", type_=String),
        suppression.c.reason == OPTED_OUT,
        suppression.c.lifted_at.is_(None),
    )
)
_CODES: Final = select(attempt.c.provider, attempt.c.error_code).where(IS_REJECTED, attempt.c.error_code.is_not(None))
_REFUSED: Final = (
    select(
        attempt.c.contact_point_id,
        contact_point.c.organisation_id,
        func.max(attempt.c.finished_at, type_=Instant()).label("at"),
    )
    .join(contact_point, contact_point.c.id == attempt.c.contact_point_id)
    .where(
        IS_REJECTED,
        attempt.c.provider == bindparam("provider", type_=String),
        attempt.c.error_code == bindparam("code", type_=String),
        ~exists().where(
            suppression.c.contact_point_id == attempt.c.contact_point_id,
            suppression.c.reason == OPTED_OUT,
            suppression.c.lifted_at.is_(None),
        ),
    )
    .group_by(attempt.c.contact_point_id, contact_point.c.organisation_id)
    .order_by(attempt.c.contact_point_id)
)
_LAST: Final = select(reconciliation).where(
    reconciliation.c.id.in_(select(func.max(reconciliation.c.id)).group_by(reconciliation.c.source))
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One opt-out as the provider tells it; `at` None = it tells no date, and the opt-out counts from now."""

    sender: Sender = field(repr=False)
    at: datetime | None


@dataclass(slots=True)
class Differences:
    """What a comparison found. `patients`: references of those whom a missing opt-out concerned."""

    listed: int = 0
    missing: int = 0
    sent_after: int = 0
    overtaken: int = 0
    ours_alone: int = 0
    patients: list[str] = field(default_factory=list)


def with_list(
    engine: Engine, vault: Vault, organisation_id: int, system: str, listed: Sequence[Listed], now: datetime
) -> Differences:
    """Compare with a provider's whole list of opt-outs, put in force what was missing, and keep the figures.

    Taking the same list again finds nothing missing. A stranger's opt-out is kept, too: the number may be imported
    tomorrow.
    """
    found = Differences(listed=len(listed))
    told: set[int] = set()
    for part in chunks(range(len(listed))):
        some = [listed[number] for number in part]
        points, more = transact(
            engine, partial(_take, vault=vault, organisation_id=organisation_id, some=some, now=now)
        )
        told |= points
        _add(found, more)
    with reading(engine) as conn:
        ours = set(conn.scalars(_OURS, {"organisation": organisation_id, "system": system}))
    found.ours_alone = len(ours - told)
    _keep(engine, "list", found, now)
    return found


def with_refusals(engine: Engine, means_opted_out: Callable[[str, str], bool], now: datetime) -> Differences:
    """Compare with the refusals a provider gave because the recipient had opted out there (Twilio: 21610).

    Each enters the ledger when it comes; this finds the ones that a crash in between lost.

    Args:
        means_opted_out: whether a provider's error code says that the recipient opted out.
    """
    with reading(engine) as conn:
        codes = [(row[0], row[1]) for row in conn.execute(_CODES.distinct())]
        refused: list[Told] = []
        for provider, code in sorted(codes):
            if means_opted_out(provider, code):
                rows = conn.execute(_REFUSED, {"provider": provider, "code": code})
                refused += [(row.contact_point_id, row.organisation_id, row.at) for row in rows]
    found = Differences(listed=len(refused))
    for some in chunks(refused):
        _add(found, transact(engine, partial(_enter, told=some, source="provider", now=now)))
    # whoever said START since is no difference: a provider refuses only what was sent before
    found.overtaken = 0
    _keep(engine, "refusals", found, now)
    return found


def last(conn: Connection) -> dict[tuple[str, str], int]:
    """The figures of the latest comparison with each source, by source and kind; one never made is absent."""
    return {(row.source, kind): getattr(row, kind) for row in conn.execute(_LAST) for kind in KINDS}


def _take(
    conn: Connection, vault: Vault, organisation_id: int, some: Sequence[Listed], now: datetime
) -> tuple[set[int], Differences]:
    """A part of a list: the contact points in it, and what differed; of one listed twice the later word counts."""
    points: dict[int, datetime | None] = {}
    for each in some:
        point = senders.meet(conn, vault, organisation_id, each.sender)
        instants = [each.at, *([points[point]] if point in points else [])]
        dated = [at for at in instants if at is not None]
        points[point] = max(dated) if len(dated) == len(instants) else None
    told = [(point, organisation_id, at) for point, at in points.items()]
    return set(points), _enter(conn, told, "provider_list", now)


def _enter(conn: Connection, told: Sequence[Told], source: str, now: datetime) -> Differences:
    """Put in force what is told of (contact point, organisation, instant) and is neither in force nor overtaken."""
    points = sorted({each[0] for each in told})
    choices.lock(conn, points)
    stopped = set(conn.scalars(_STOPPED, {"points": points}))
    started = {row[0]: row[1] for row in conn.execute(_STARTED, {"points": points})}
    found, missing = Differences(), []
    for point, organisation_id, told_at in sorted(told, key=lambda each: each[0]):
        if point in stopped:
            continue
        at = now if told_at is None else min(told_at, now)
        if point in started and at < started[point]:
            found.overtaken += 1
            continue
        found.missing += 1
        found.sent_after += conn.scalar(_SENT_AFTER, {"point": point, "since": at}) or 0
        missing.append(point)
        choices.opt_out(conn, organisation_id=organisation_id, contact_point_id=point, source=source, at=at, now=now)
    found.patients = list(conn.scalars(_REFS, {"points": missing}))
    return found


def _add(found: Differences, more: Differences) -> None:
    found.missing += more.missing
    found.sent_after += more.sent_after
    found.overtaken += more.overtaken
    found.patients = sorted({*found.patients, *more.patients})


def _keep(engine: Engine, source: str, found: Differences, now: datetime) -> None:
    figures = {kind: getattr(found, kind) for kind in ("listed", *KINDS)}
    transact(engine, lambda conn: conn.execute(insert(reconciliation).values(source=source, at=now, **figures)))
