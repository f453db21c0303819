"""Audit of the calls themselves: when each was made, against opt-outs, local hours and caps at that instant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, Null, Row, Select, and_, cast, exists, func, null, or_, select

from domain.ledger import audit_answers
from domain.ledger.attempts import attempt
from domain.ledger.audit_terms import CapTerm, Declared, Terms, cap_terms, terms
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.columns import Instant
from domain.ledger.findings import Finding, finding, listed
from domain.ledger.inbound import reply
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import contact_point, patient
from domain.ledger.touches import touch
from domain.rules.vocabulary import AttemptState, TouchKind

AnyRow = Row[*tuple[Any, ...]]

#: A claim younger than this need not look again before the call (architecture: "opt-out wins").
_BLIND = timedelta(seconds=1)
#: One confirmation and the answer to HELP may follow an opt-out (47 CFR 64.1200(a)(12); CTIA short code rules), and so
#: may the text that tells of 911.
_ANSWERS_ALLOWED = ("opt_out_confirmation", "help", "emergency")

#: Reasons of suppressions that hold outreach for a person, and let answers through.
_HOLDS = ("reported_deceased", "complaint", "unclear_whose")

#: The reason of choices that name none.
_OPTED_OUT = "opt_out"

#: States in which the patient was, or may have been, reached.
_REACHED = [AttemptState.SENDING.value, AttemptState.ACCEPTED.value, AttemptState.UNCERTAIN.value]
_reached = attempt.c.state.in_(_REACHED)
#: A crash between call and finish leaves only the claim's instant.
_called = func.coalesce(attempt.c.called_at, attempt.c.claimed_at, type_=Instant())
_made = or_(attempt.c.called_at.is_not(None), _reached)
_unasked = attempt.c.kind != TouchKind.ANSWER.value
#: The record that the call was made for: merging records later moves the attempt, not the touch, and breaks no promise.
_meant_for = {"patient_id": touch.c.patient_id, "contact_point_id": attempt.c.contact_point_id}


def sent_after_opt_out(conn: Connection) -> Finding:
    """Calls that started after an opt-out their claim could see; a later START does not hide them."""
    found: set[int] = set()
    for subject in ("contact_point_id", "patient_id"):
        found |= _too_late(conn, _after_choice(subject, "suppressed", "restored"))
        found |= _too_late(conn, _after_choice(subject, "revoked", "granted"))
        found |= _too_late(conn, _after_suppression(subject))
    found |= _too_late(conn, _after_reply())
    found |= _too_late(conn, _after_hold())
    found |= _too_late(conn, _after_detaching())
    return finding(
        "sent_after_opt_out",
        "No provider call starts after an opt-out is committed that its claim could see, nor outreach to whom a reply "
        "put on hold or at a number that it told is not theirs.",
        [listed("attempt", "called after an opt-out", found)],
    )


def confidential_ignored(conn: Connection) -> Finding:
    """Outreach to patients who had asked to be reached elsewhere, in words their claim could see."""
    asked, same = choice_event.alias("asked"), choice_event.alias("same")
    calls = _calls_since(
        _calls(asked.c.recorded_at).join(asked, asked.c.patient_id == _meant_for["patient_id"]),
        asked.c.recorded_at,
        null(),
    ).where(
        asked.c.kind == "confidential",
        ~_had_ended(asked),
        _unasked,
        ~exists().where(
            same.c.kind == "confidential",
            same.c.patient_id == asked.c.patient_id,
            same.c.contact_point_id == attempt.c.contact_point_id,
            ~_had_ended(same),
        ),
    )
    return finding(
        "confidential_ignored",
        "Who asked to be reached at a certain number or address is reached there and nowhere else.",
        [listed("attempt", "called elsewhere than the patient asked for", _too_late(conn, calls))],
    )


def outside_hours(conn: Connection, declared: Declared) -> Finding:
    """Outreach whose call fell outside the hours of its organisation and states in some zone the person may be in."""
    zones = func.coalesce(patient.c.zone, site.c.zone)
    calls = (
        select(
            attempt.c.id,
            _called.label("at"),
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
        .where(_made, _unasked)
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


def _after_choice(subject: str, stop_kind: str, lift_kind: str) -> Select[Any]:
    """Calls after a choice to stop in the history, unless one made later was written by then.

    Choices may come out of order: the patient's newest counts, and of two at one instant the one to stop.
    """
    stop, lift = choice_event.alias("stop"), choice_event.alias("lift")
    lifted = exists().where(
        lift.c[subject] == stop.c[subject],
        lift.c.kind == lift_kind,
        func.coalesce(lift.c.reason, _OPTED_OUT) == func.coalesce(stop.c.reason, _OPTED_OUT),
        lift.c.at > stop.c.at,
        lift.c.recorded_at <= _called,
        or_(lift.c.channel.is_(None), lift.c.channel == attempt.c.channel),
    )
    return _calls_since(
        _calls(stop.c.recorded_at).join(stop, stop.c[subject] == _meant_for[subject]),
        stop.c.recorded_at,
        stop.c.channel,
    ).where(stop.c.kind == stop_kind, ~lifted)


def _had_ended(asked: Any) -> ColumnElement[bool]:
    """Whether a confidential contact point had been given up, by a later word, when the call was made."""
    end = choice_event.alias(f"end_of_{asked.name}")
    return (
        exists()
        .where(
            end.c.kind == "confidential_end",
            end.c.patient_id == asked.c.patient_id,
            end.c.contact_point_id == asked.c.contact_point_id,
            end.c.at >= asked.c.at,
            end.c.recorded_at <= _called,
        )
        .correlate(asked, attempt)
    )


def _after_suppression(subject: str) -> Select[Any]:
    """Calls while a suppression was in force: known from the moment its history was written, else from its start."""
    history = choice_event.alias("history")
    known = (
        select(func.min(history.c.recorded_at))
        .where(
            history.c[subject] == suppression.c[subject],
            history.c.kind == "suppressed",
            func.coalesce(history.c.reason, _OPTED_OUT) == suppression.c.reason,
            history.c.at == suppression.c.since,
        )
        .scalar_subquery()
    )
    stopped = func.coalesce(known, suppression.c.since, type_=Instant())
    return _calls_since(
        _calls(stopped).join(suppression, suppression.c[subject] == _meant_for[subject]),
        stopped,
        suppression.c.channel,
    ).where(
        suppression.c.reason.not_in(_HOLDS), or_(suppression.c.lifted_at.is_(None), suppression.c.lifted_at > _called)
    )


def _after_hold() -> Select[Any]:
    """Outreach to a patient after a reply put them on hold, unless a person had ended that by then."""
    held, freed = choice_event.alias("held"), choice_event.alias("freed")
    is_free = exists().where(
        freed.c.patient_id == held.c.patient_id,
        freed.c.kind == "released",
        freed.c.reason == held.c.reason,
        freed.c.recorded_at >= held.c.recorded_at,
        freed.c.recorded_at <= _called,
    )
    return _calls_since(
        _calls(held.c.recorded_at).join(held, held.c.patient_id == _meant_for["patient_id"]), held.c.recorded_at, null()
    ).where(held.c.kind == "held", _unasked, ~is_free)


def _after_detaching() -> Select[Any]:
    """Outreach to a patient at a number that a reply told is not theirs."""
    apart = choice_event.alias("apart")
    both = and_(*(apart.c[subject] == meant for subject, meant in _meant_for.items()))
    return _calls_since(_calls(apart.c.recorded_at).join(apart, both), apart.c.recorded_at, null()).where(
        apart.c.kind == "detached", _unasked
    )


def _after_reply() -> Select[Any]:
    """Calls to whoever wrote an opt-out, whatever became of it, unless a later START was written by then."""
    lifted = exists().where(
        choice_event.c.contact_point_id == reply.c.contact_point_id,
        choice_event.c.kind == "restored",
        choice_event.c.reason.is_(None),
        choice_event.c.at > reply.c.received_at,
        choice_event.c.recorded_at <= _called,
    )
    heard_at: ColumnElement[datetime] = func.coalesce(reply.c.handled_at, reply.c.received_at, type_=Instant())
    return _calls_since(
        _calls(heard_at).join(reply, reply.c.contact_point_id == _meant_for["contact_point_id"]),
        heard_at,
        # a patient stops every channel
        null(),
    ).where(reply.c.intent == "opt_out", ~lifted)


def _calls(stopped: ColumnElement[datetime]) -> Select[Any]:
    return (
        select(attempt.c.id, attempt.c.claimed_at, _called.label("at"), stopped.label("stopped"))
        .select_from(attempt)
        .join(touch, touch.c.id == attempt.c.touch_id)
    )


def _calls_since(
    calls: Select[Any], stopped: ColumnElement[datetime], channel: ColumnElement[str | None] | Null
) -> Select[Any]:
    allowed = and_(attempt.c.kind == TouchKind.ANSWER.value, touch.c.answer.in_(_ANSWERS_ALLOWED))
    return calls.where(
        _made, _called > stopped, or_(channel.is_(None), channel == attempt.c.channel), ~func.coalesce(allowed, False)
    )


def _too_late(conn: Connection, calls: Select[Any]) -> set[int]:
    """A call within a second of the opt-out may stem from a claim made just before it; its claim could not see it."""
    return {row.id for row in conn.execute(calls) if row.claimed_at > row.stopped or row.at > row.stopped + _BLIND}


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
    subject = _meant_for[term.subject]
    calls = (
        select(
            attempt.c.id,
            attempt.c.states,
            _called.label("at"),
            func.lag(_called, term.back, type_=Instant())
            .over(partition_by=subject, order_by=[_called, attempt.c.id])
            .label("before"),
        )
        .join(touch, touch.c.id == attempt.c.touch_id)
        .where(_reached, _unasked, subject.is_not(None), touch.c.organisation_id.in_(organisations))
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
