"""Audit of what patients asked for: no call after an opt-out, a hold or a wrong number, and none elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Null, Select, and_, case, exists, func, null, or_, select

from domain.ledger.attempts import attempt
from domain.ledger.audit_attempts import CALLED, MADE, MEANT_FOR, UNASKED
from domain.ledger.audit_terms import Declared, of_organisation
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.columns import Instant
from domain.ledger.findings import Finding, finding, listed
from domain.ledger.inbound import reply
from domain.ledger.organisations import organisation
from domain.ledger.patients import contact_point, patient
from domain.ledger.touches import touch
from domain.rules.vocabulary import TouchKind

#: A claim younger than this need not look again before the call (architecture: "opt-out wins").
_BLIND = timedelta(seconds=1)
#: One confirmation and the answer to HELP may follow an opt-out (47 CFR 64.1200(a)(12); CTIA short code rules), and so
#: may the text that tells of 911.
_ANSWERS_ALLOWED = (
    "opt_out_confirmation",
    "opt_out_confirmation_asking",
    "opt_out_confirmation_limited",
    "help",
    "emergency",
)

#: The rule an organisation replaces to let a STOP end calls and texts alone, what it may put there, and the agreed
#: words (by rule) that may do so. Any other opt-out ends everything.
_SCOPE = "opting_out.scope"
_LIMITED = ("ask", "calls_and_texts")
_AGREED = (
    *(
        f"optout.en.{word}"
        for word in ("stop", "quit", "end", "revoke", "opt_out", "cancel", "unsubscribe", "stop_texts")
    ),
    *("optout.es.alto", "optout.es.parar", "optout.es.cancelar", "optout.fr.arret"),
)

#: Reasons of suppressions that hold outreach for a person, and let answers through.
_HOLDS = ("reported_deceased", "complaint", "unclear_whose")

#: The reason of choices that name none.
_OPTED_OUT = "opt_out"


def sent_after_opt_out(conn: Connection, declared: Declared) -> Finding:
    """Calls that started after an opt-out their claim could see; a later START does not hide them.

    An opt-out limited to calls and texts counts as one from everything unless its organisation declares such a scope,
    and a patient said it in an agreed word.
    """
    found: set[int] = set()
    limiting = _limiting(conn, declared)
    for subject in ("contact_point_id", "patient_id"):
        found |= _too_late(conn, _after_choice(subject, "suppressed", "restored", limiting))
        found |= _too_late(conn, _after_choice(subject, "revoked", "granted", limiting))
        found |= _too_late(conn, _after_suppression(subject, limiting))
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
        _calls(asked.c.recorded_at).join(asked, asked.c.patient_id == MEANT_FOR["patient_id"]),
        asked.c.recorded_at,
        null(),
    ).where(
        asked.c.kind == "confidential",
        ~_had_ended(asked),
        UNASKED,
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


def _limiting(conn: Connection, declared: Declared) -> list[int]:
    """Organisations in which a STOP may end calls and texts alone."""
    rows = conn.execute(select(organisation.c.key, organisation.c.id))
    return [row.id for row in rows if str(of_organisation(declared, row.key).get(_SCOPE)) in _LIMITED]


def _reach(stop: Any, limiting: Sequence[int]) -> ColumnElement[str | None]:
    """The channel a stop covers, or the contact system; null = everything."""
    said = exists().where(reply.c.id == stop.c.reply_id, reply.c.rule.in_(_AGREED)).correlate(stop)
    is_limited = and_(
        stop.c.channel == "phone", stop.c.organisation_id.in_(limiting), or_(said, stop.c.source == "merge")
    )
    return case((or_(stop.c.kind == "revoked", is_limited), stop.c.channel), else_=null())


def _after_choice(subject: str, stop_kind: str, lift_kind: str, limiting: Sequence[int]) -> Select[Any]:
    """Calls after a choice to stop in the history, unless one made later was written by then.

    Choices may come out of order: the patient's newest counts, and of two at one instant the one to stop.
    """
    stop, lift = choice_event.alias("stop"), choice_event.alias("lift")
    lifted = exists().where(
        lift.c[subject] == stop.c[subject],
        lift.c.kind == lift_kind,
        func.coalesce(lift.c.reason, _OPTED_OUT) == func.coalesce(stop.c.reason, _OPTED_OUT),
        lift.c.at > stop.c.at,
        lift.c.recorded_at <= CALLED,
        or_(lift.c.channel.is_(None), lift.c.channel == stop.c.channel),
    )
    return _calls_since(
        _calls(stop.c.recorded_at).join(stop, stop.c[subject] == MEANT_FOR[subject]),
        stop.c.recorded_at,
        _reach(stop, limiting),
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
            end.c.recorded_at <= CALLED,
        )
        .correlate(asked, attempt)
    )


def _after_suppression(subject: str, limiting: Sequence[int]) -> Select[Any]:
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
        _calls(stopped).join(suppression, suppression.c[subject] == MEANT_FOR[subject]),
        stopped,
        case((suppression.c.organisation_id.in_(limiting), suppression.c.channel), else_=null()),
    ).where(
        suppression.c.reason.not_in(_HOLDS), or_(suppression.c.lifted_at.is_(None), suppression.c.lifted_at > CALLED)
    )


def _after_hold() -> Select[Any]:
    """Outreach to a patient after a reply put them on hold, unless a person had ended that by then.

    Nobody had where a reply that held them, or a record merged into theirs, still waited for a person.
    """
    held, freed = choice_event.alias("held"), choice_event.alias("freed")
    is_free = exists().where(
        freed.c.patient_id == held.c.patient_id,
        freed.c.kind == "released",
        freed.c.reason == held.c.reason,
        freed.c.recorded_at >= held.c.recorded_at,
        freed.c.recorded_at <= CALLED,
    )
    return _calls_since(
        _calls(held.c.recorded_at).join(held, held.c.patient_id == MEANT_FOR["patient_id"]), held.c.recorded_at, null()
    ).where(held.c.kind == "held", UNASKED, or_(~is_free, _still_waits(held)))


def _still_waits(held: Any) -> ColumnElement[bool]:
    """Whether the reply of a hold, or one behind a hold that came with a merge, waited for a person at the call."""
    other, whose = choice_event.alias("behind"), patient.alias("whose")
    came_with_merge = and_(held.c.source == "merge", whose.c.merged_into_id == held.c.patient_id)
    return (
        exists()
        .where(
            whose.c.id == other.c.patient_id,
            reply.c.id == other.c.reply_id,
            or_(other.c.id == held.c.id, came_with_merge),
            other.c.kind == "held",
            other.c.reason == held.c.reason,
            other.c.recorded_at <= held.c.recorded_at,
            or_(reply.c.state == "human", and_(reply.c.state == "closed", reply.c.handled_at > CALLED)),
        )
        .correlate(held, attempt)
    )


def _after_detaching() -> Select[Any]:
    """Outreach to a patient at a number that a reply told is not theirs, unless they asked for it there since."""
    apart, asked = choice_event.alias("apart"), choice_event.alias("asked_again")
    is_theirs_again = exists().where(
        asked.c.kind == "confidential",
        asked.c.patient_id == apart.c.patient_id,
        asked.c.contact_point_id == apart.c.contact_point_id,
        asked.c.recorded_at >= apart.c.recorded_at,
        asked.c.recorded_at <= CALLED,
    )
    both = and_(*(apart.c[subject] == meant for subject, meant in MEANT_FOR.items()))
    return _calls_since(_calls(apart.c.recorded_at).join(apart, both), apart.c.recorded_at, null()).where(
        apart.c.kind == "detached", UNASKED, ~is_theirs_again
    )


def _after_reply() -> Select[Any]:
    """Calls to whoever wrote an opt-out, whatever became of it, unless a later START was written by then."""
    lifted = exists().where(
        choice_event.c.contact_point_id == reply.c.contact_point_id,
        choice_event.c.kind == "restored",
        choice_event.c.reason.is_(None),
        choice_event.c.at > reply.c.received_at,
        choice_event.c.recorded_at <= CALLED,
    )
    heard_at: ColumnElement[datetime] = func.coalesce(reply.c.handled_at, reply.c.received_at, type_=Instant())
    return _calls_since(
        _calls(heard_at).join(reply, reply.c.contact_point_id == MEANT_FOR["contact_point_id"]),
        heard_at,
        # a patient stops every channel
        null(),
    ).where(reply.c.intent == "opt_out", ~lifted)


def _calls(stopped: ColumnElement[datetime]) -> Select[Any]:
    return (
        select(attempt.c.id, attempt.c.claimed_at, CALLED.label("at"), stopped.label("stopped"))
        .select_from(attempt)
        .join(touch, touch.c.id == attempt.c.touch_id)
        .outerjoin(contact_point, contact_point.c.id == attempt.c.contact_point_id)
    )


def _calls_since(
    calls: Select[Any], stopped: ColumnElement[datetime], channel: ColumnElement[str | None] | Null
) -> Select[Any]:
    allowed = and_(attempt.c.kind == TouchKind.ANSWER.value, touch.c.answer.in_(_ANSWERS_ALLOWED))
    return calls.where(
        MADE,
        stopped < CALLED,
        or_(channel.is_(None), channel == attempt.c.channel, channel == contact_point.c.system),
        ~func.coalesce(allowed, False),
    )


def _too_late(conn: Connection, calls: Select[Any]) -> set[int]:
    """A call within a second of the opt-out may stem from a claim made just before it; its claim could not see it."""
    return {row.id for row in conn.execute(calls) if row.claimed_at > row.stopped or row.at > row.stopped + _BLIND}
