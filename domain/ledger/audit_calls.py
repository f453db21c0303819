"""Audit of the calls themselves: when each was made, against local hours and caps at that instant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, Row, Select, cast, func, select

from domain.ledger import audit_answers
from domain.ledger.attempts import attempt
from domain.ledger.audit_attempts import CALLED, MADE, MEANT_FOR, REACHED, UNASKED
from domain.ledger.audit_terms import CapTerm, Declared, Terms, cap_terms, terms
from domain.ledger.columns import Instant
from domain.ledger.findings import Finding, finding, listed
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import contact_point, patient
from domain.ledger.touches import touch

AnyRow = Row[*tuple[Any, ...]]


def outside_hours(conn: Connection, declared: Declared) -> Finding:
    """Outreach whose call fell outside the hours of its organisation and states in some zone the person may be in."""
    zones = func.coalesce(patient.c.zone, site.c.zone)
    calls = (
        select(
            attempt.c.id,
            CALLED.label("at"),
            attempt.c.zones,
            contact_point.c.zones.label("number"),
            zones.label("home"),
            attempt.c.states,
            organisation.c.key.label("organisation"),
        )
        .join(contact_point, contact_point.c.id == attempt.c.contact_point_id)
        .join(organisation, organisation.c.id == contact_point.c.organisation_id)
        .outerjoin(patient, patient.c.id == attempt.c.patient_id)
        .outerjoin(site, site.c.id == patient.c.home_site_id)
        .where(MADE, UNASKED)
    )
    known: dict[tuple[str, str | None], Terms] = {}
    wrong = []
    for row in _stream(conn, calls):
        key = (row.organisation, row.states)
        judged = known.get(key) or known.setdefault(key, terms(declared, *key))
        if not all(judged.is_open(row.at, zone) for zone in _zones(row)):
            wrong.append(row.id)
    return finding(
        "outside_hours",
        "Outreach is sent Mon-Sat 9-20 and Sun 12-20 only, in every zone the person may be in, within the hours of "
        "their state, and on no federal holiday.",
        [listed("attempt", "called outside the allowed hours", wrong)],
    )


def over_cap(conn: Connection, declared: Declared) -> Finding:
    """Outreach beyond one in 24 hours or three in 7 days (or an organisation's own caps), per person and contact."""
    alike: defaultdict[CapTerm, list[int]] = defaultdict(list)
    for row in conn.execute(select(organisation.c.key, organisation.c.id)):
        for term in cap_terms(declared, row.key):
            alike[term].append(row.id)
    tallies = []
    for term, theirs in alike.items():
        calls = conn.execute(_too_close(conn, term, theirs))
        wrong = [row.id for row in calls if row.at - row.before < term.window]
        whose = "patient" if term.subject == "patient_id" else "contact point"
        where = f" in {term.state}" if term.state else ""
        hours = int(term.window.total_seconds() // 3600)
        tallies.append(listed("attempt", f"more than {term.back} to one {whose} in {hours} h{where}", wrong))
    tallies += [audit_answers.too_many(conn), audit_answers.answered_twice(conn)]
    return finding(
        "over_cap",
        "Nobody, and no number or address, gets more than one outreach in 24 hours or three in 7 days; no message gets "
        "more than one automatic answer, no number more than five in a day or three in a row.",
        tallies,
    )


def _zones(row: AnyRow) -> set[str]:
    """The zones judged in the claim, and what the number itself says without doubt."""
    judged = {zone for zone in row.zones.split(",") if zone}
    number = {zone for zone in row.number.split(",") if zone}
    if len(number) == 1:
        judged |= number
    # nothing was judged: the home address must do
    return judged or {zone for zone in (row.home,) if zone} or {"UTC"}


def _too_close(conn: Connection, term: CapTerm, organisations: Sequence[int]) -> Select[Any]:
    """Calls of these organisations that came no later than about a window after the `back`th before them.

    The exact test is the caller's.
    """
    subject = MEANT_FOR[term.subject]
    calls = (
        select(
            attempt.c.id,
            attempt.c.states,
            CALLED.label("at"),
            func.lag(CALLED, term.back, type_=Instant())
            .over(partition_by=subject, order_by=[CALLED, attempt.c.id])
            .label("before"),
        )
        .join(touch, touch.c.id == attempt.c.touch_id)
        .where(REACHED, UNASKED, subject.is_not(None), touch.c.organisation_id.in_(organisations))
        .subquery()
    )
    apart = _seconds(conn, calls.c.at) - _seconds(conn, calls.c.before)
    close = select(calls.c.id, calls.c.at, calls.c.before).where(
        calls.c.before.is_not(None), apart <= term.window.total_seconds() + 1
    )
    return close if term.state is None else close.where(calls.c.states.contains(term.state))


def _seconds(conn: Connection, instant: ColumnElement[datetime]) -> ColumnElement[float]:
    if conn.dialect.name == "sqlite":
        return cast(func.strftime("%s", instant), Float)
    return cast(func.date_part("epoch", instant), Float)


def _stream(conn: Connection, statement: Select[Any]) -> Iterator[AnyRow]:
    """Rows in portions: a year of calls does not fit in memory."""
    yield from conn.execute(statement, execution_options={"yield_per": 5_000})
