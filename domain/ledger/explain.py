"""Explain: one patient's timeline, every touch and every non-send with its reason, in words and without PHI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, and_, func, or_, select

from domain.ledger import halts
from domain.ledger.attempts import attempt
from domain.ledger.campaigns import campaign_event
from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.claim_texts import held_ahead
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import reply
from domain.ledger.lapses import lapse
from domain.ledger.organisations import site
from domain.ledger.outcomes import outcome
from domain.ledger.patients import contact_point, patient, patient_contact, registration
from domain.ledger.touches import touch, touch_event
from domain.rules.reasons import WAITS, sentence
from domain.rules.vocabulary import Arm, AttemptState, TouchKind, TouchState

AnyRow = Row[*tuple[Any, ...]]

_CHOICES = {
    "suppressed": "opted out of",
    "restored": "opted back in to",
    "revoked": "revoked consent for",
    "granted": "gave consent for",
    "bad_address": "found not to work:",
    "confidential": "asked to be reached at contact point {point} and nowhere else",
    "confidential_end": "no longer asked for contact point {point} alone",
    "detached": "detached from contact point {point}: the number is not theirs",
    "left": "left the campaign",
    "held": "held until a person has looked: {why}",
    "released": "no longer held by this: {why}",
    "deceased": "confirmed as deceased",
}
#: Those that are of a channel.
_OF_CHANNELS = ("suppressed", "restored", "revoked", "granted")
#: What happened to a touch -> how to tell it; `{why}` is the sentence of its reason.
_EVENTS = {
    "planned": "planned again: {why}",
    "waited": "not sent yet: {why}",
    "rerouted": "moved to another channel: {why}",
    "suppressed": "not sent: {why}",
    "cancelled": "cancelled: {why}",
    "expired": "not sent: {why}",
    "rejected": "refused: {why}",
    "uncertain": "outcome unknown: {why}",
    "accepted": "known to be accepted: {why}",
    "delivered": "delivered",
    "undelivered": "not delivered (provider's code: {code})",
}
#: How each attempt ended, where the touch's own history does not tell.
_ATTEMPTS = {
    AttemptState.SENDING: "claimed; the call is on its way",
    AttemptState.ACCEPTED: "sent: the provider accepted it",
}


_LOCAL = "%Y-%m-%d %a %H:%M"


class UnknownPatientError(LookupError):
    """No patient has this reference."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, or did not, at `at` (UTC)."""

    at: datetime
    subject: str
    """`lapse 3`, `touch 12`, …: what to look up."""
    text: str
    until: datetime | None = None
    """When it will be tried again."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the ledger knows of one patient's outreach."""

    ref: str
    zone: str
    """The zone its local times are told in."""
    facts: tuple[str, ...]
    entries: tuple[Entry, ...]
    ahead: tuple[Entry, ...]
    """What is planned."""

    def lines(self) -> Iterator[str]:
        """The timeline as text, in the patient's local time."""
        yield f"Patient {self.ref}"
        yield from (f"  {fact}" for fact in self.facts)
        yield ""
        yield f"What happened (times in {self.zone})"
        yield from self._told(self.entries) if self.entries else iter(("  nothing yet",))
        yield ""
        yield "What is planned"
        yield from self._told(self.ahead) if self.ahead else iter(("  nothing",))

    def as_dict(self) -> dict[str, Any]:
        """The timeline for JSON; instants in UTC, ISO 8601."""
        told = asdict(self)
        for each in (*told["entries"], *told["ahead"]):
            each["at"] = each["at"].isoformat()
            each["until"] = each["until"].isoformat() if each["until"] is not None else None
        return told

    def _told(self, entries: Iterable[Entry]) -> Iterator[str]:
        zone = ZoneInfo(self.zone)
        for each in entries:
            again = f" (next try {each.until.astimezone(zone):{_LOCAL}})" if each.until is not None else ""
            yield f"  {each.at.astimezone(zone):{_LOCAL}}  {each.subject}: {each.text}{again}"


def explain(conn: Connection, ref: str, now: datetime) -> Timeline:
    """The timeline of the patient with this public reference.

    Raises:
        UnknownPatientError: there is none.
    """
    who = conn.execute(
        select(patient, site.c.key.label("home"), func.coalesce(patient.c.zone, site.c.zone).label("local"))
        .join(site, site.c.id == patient.c.home_site_id)
        .where(patient.c.ref == ref.strip().upper())
    ).one_or_none()
    if who is None:
        raise UnknownPatientError(f"no patient has the reference {ref!r}")
    points = _points(conn, who.id)
    # causes before what came of them: their order stands where instants are equal
    entries = [
        *_lapses(conn, who.id),
        *_replies(conn, points),
        *_choices(conn, who.id, points),
        *_enrolments(conn, who.id),
        *_halts(conn, who.id),
        *_touches(conn, who.id),
    ]
    return Timeline(
        ref=who.ref,
        zone=who.local,
        facts=tuple(_facts(conn, who, points)),
        entries=tuple(sorted((each for each in entries if each.at <= now), key=lambda each: each.at)),
        ahead=tuple(sorted(_ahead(conn, who.id), key=lambda each: each.at)),
    )


def _points(conn: Connection, patient_id: int) -> dict[int, AnyRow]:
    rows = conn.execute(
        select(
            contact_point.c.id,
            contact_point.c.system,
            contact_point.c.quality,
            patient_contact.c.detached_at,
            patient_contact.c.confidential_since,
        )
        .join(patient_contact, patient_contact.c.contact_point_id == contact_point.c.id)
        .where(patient_contact.c.patient_id == patient_id)
        .order_by(patient_contact.c.rank, contact_point.c.id)
    )
    return {row.id: row for row in rows}


def _facts(conn: Connection, who: AnyRow, points: Mapping[int, AnyRow]) -> Iterator[str]:
    keys = conn.scalars(
        select(site.c.key)
        .join(registration, registration.c.site_id == site.c.id)
        .where(registration.c.patient_id == who.id)
        .order_by(site.c.key)
    ).all()
    yield f"registered at {', '.join(keys) or who.home}; home site {who.home}; language {who.language}"
    for row in points.values():
        state = "detached" if row.detached_at is not None else row.quality
        only = ", and nowhere else: the patient asked for it" if row.confidential_since is not None else ""
        yield f"reachable at contact point {row.id} ({row.system}, {state}){only}"
    if not points:
        yield "no contact point is known"
    if who.deceased_at is not None:
        yield "deceased: never contacted"
    if who.merged_into_id is not None:
        into = conn.scalar(select(patient.c.ref).where(patient.c.id == who.merged_into_id))
        yield f"merged into {into}, who is contacted instead"
    stops = conn.execute(
        select(suppression.c.reason, suppression.c.contact_point_id, suppression.c.channel)
        .where(suppression.c.lifted_at.is_(None), _concerns(suppression, who.id, points))
        .order_by(suppression.c.id)
    )
    for stop in stops:
        whom = "the patient" if stop.contact_point_id is None else f"contact point {stop.contact_point_id}"
        yield f"suppressed: {whom}, {stop.channel or 'every channel'} ({stop.reason})"


def _lapses(conn: Connection, patient_id: int) -> Iterator[Entry]:
    for row in conn.execute(select(lapse).where(lapse.c.patient_id == patient_id).order_by(lapse.c.id)):
        subject = f"lapse {row.id}"
        yield Entry(
            row.detected_at,
            subject,
            f"found inactive in {row.service_line} since {row.inactive_since:%Y-%m-%d}, segment {row.segment}",
        )
        if row.declined is not None and row.decided_at is not None:
            yield Entry(row.decided_at, subject, f"not enrolled: {sentence(row.declined)}")
        if row.closed_at is not None:
            yield Entry(row.closed_at, subject, f"closed: {sentence(row.closed_by)}")


def _enrolments(conn: Connection, patient_id: int) -> Iterator[Entry]:
    rows = conn.execute(select(enrolment).where(enrolment.c.patient_id == patient_id).order_by(enrolment.c.id)).all()
    for row in rows:
        subject = f"enrolment {row.id}"
        left_alone = f": {sentence('holdout')}" if row.arm == Arm.HOLDOUT else ""
        yield Entry(row.enrolled_at, subject, f"enrolled in {row.campaign_key}, {row.arm} arm{left_alone}")
        if row.ended_at is not None:
            yield Entry(row.ended_at, subject, f"ended as {row.state}: {sentence(row.reason)}")
    outcomes = conn.execute(
        select(outcome.c.at, outcome.c.kind, outcome.c.enrolment_id, outcome.c.touch_id)
        .where(outcome.c.enrolment_id.in_([row.id for row in rows]))
        .order_by(outcome.c.id)
    )
    for row in outcomes:
        after = f", after touch {row.touch_id}" if row.touch_id is not None else ""
        what = "booked an appointment" if row.kind == "rebooked" else "came back for a visit"
        yield Entry(row.at, f"enrolment {row.enrolment_id}", what + after)


def _halts(conn: Connection, patient_id: int) -> Iterator[Entry]:
    """What people did to the campaigns of a patient while they were enrolled."""
    rows = conn.execute(
        select(campaign_event.c.at, campaign_event.c.campaign_key, campaign_event.c.what)
        .join(
            enrolment,
            and_(
                enrolment.c.organisation_id == campaign_event.c.organisation_id,
                enrolment.c.campaign_key == campaign_event.c.campaign_key,
                enrolment.c.enrolled_at <= campaign_event.c.at,
                or_(enrolment.c.ended_at.is_(None), enrolment.c.ended_at >= campaign_event.c.at),
            ),
        )
        .where(enrolment.c.patient_id == patient_id)
        .order_by(campaign_event.c.id)
    )
    for row in rows:
        yield Entry(row.at, f"campaign {row.campaign_key}", f"{row.what} by a person")


def _touches(conn: Connection, patient_id: int) -> Iterator[Entry]:
    # sends first: what is told at the same instant came of them
    attempts = conn.execute(
        select(attempt, touch.c.step)
        .join(touch, touch.c.id == attempt.c.touch_id)
        .where(touch.c.patient_id == patient_id, attempt.c.state.in_([state.value for state in _ATTEMPTS]))
        .order_by(attempt.c.id)
    )
    for row in attempts:
        yield Entry(row.called_at or row.claimed_at, _name(row.touch_id, row), _ATTEMPTS[AttemptState(row.state)])
    events = conn.execute(
        select(touch_event, touch.c.channel, touch.c.kind, touch.c.step)
        .join(touch, touch.c.id == touch_event.c.touch_id)
        # that a send was accepted is told by its attempt; the history adds only what it learned otherwise
        .where(
            touch.c.patient_id == patient_id, or_(touch_event.c.what != "accepted", touch_event.c.reason.is_not(None))
        )
        .order_by(touch_event.c.id)
    )
    for row in events:
        yield Entry(row.at, _name(row.touch_id, row), _event(row), row.until)


def _name(touch_id: int, row: AnyRow) -> str:
    step = f" {row.step}" if row.kind != TouchKind.ANSWER else ""
    return f"touch {touch_id} ({row.kind}{step}, {row.channel})"


def _event(row: AnyRow) -> str:
    why = sentence(row.reason) + (f" (rule {row.rule})" if row.rule else "")
    if row.what == TouchState.EXPIRED and row.reason in WAITS:
        return f"expired while it waited: {why}"
    return _EVENTS.get(row.what, f"{row.what}: {{why}}").format(why=why, code=row.reason or "none")


def _choices(conn: Connection, patient_id: int, points: Mapping[int, AnyRow]) -> Iterator[Entry]:
    rows = conn.execute(
        select(choice_event, reply.c.rule)
        .outerjoin(reply, reply.c.id == choice_event.c.reply_id)
        # what concerns a housemate at the same number is theirs
        .where(
            _concerns(choice_event, patient_id, points),
            func.coalesce(choice_event.c.patient_id, patient_id) == patient_id,
        )
        .order_by(choice_event.c.id)
    )
    for row in rows:
        why = sentence(row.reason) if row.kind in ("held", "released") else row.reason
        what = _CHOICES.get(row.kind, row.kind).format(point=row.contact_point_id, why=why)
        if row.kind in _OF_CHANNELS:
            what = f"{what} {row.channel or 'every channel'}{f' ({row.reason})' if row.reason else ''}"
        told_by = row.source if row.reply_id is None else f"{row.source} {row.reply_id}"
        if row.source == "person":
            told_by = f"a person, about reply {row.reply_id}"
        rule = f", rule {row.rule}" if row.rule and row.source == "reply" else ""
        subject = "patient" if row.patient_id is not None else f"contact point {row.contact_point_id}"
        yield Entry(row.at, subject, f"{what} (told by {told_by}{rule})".replace(": (", " ("))


def _replies(conn: Connection, points: Mapping[int, AnyRow]) -> Iterator[Entry]:
    rows: Sequence[AnyRow] = conn.execute(
        select(reply.c.id, reply.c.received_at, reply.c.channel, reply.c.intent, reply.c.state, reply.c.rule)
        .where(reply.c.contact_point_id.in_(list(points)))
        .order_by(reply.c.id)
    ).all()
    for row in rows:
        understood = row.intent or "not understood yet"
        rule = f" (rule {row.rule})" if row.rule else ""
        waiting = "; waits for a person" if row.state == "human" else ""
        yield Entry(row.received_at, f"reply {row.id} ({row.channel})", f"{understood}{rule}{waiting}")


def _ahead(conn: Connection, patient_id: int) -> Iterator[Entry]:
    rows = conn.execute(
        select(touch.c.id, touch.c.due_at, touch.c.kind, touch.c.step, touch.c.channel, touch.c.reason)
        .where(touch.c.patient_id == patient_id, touch.c.state == "planned")
        .order_by(touch.c.id)
    ).all()
    texts_held = held_ahead(conn, patient_id)
    campaign_held = halts.held(conn, [row.id for row in rows])
    for row in rows:
        why = halts.PAUSED if row.id in campaign_held else texts_held.get(row.id, row.reason)
        yield Entry(row.due_at, _name(row.id, row), f"waits: {sentence(why)}" if why else "due")
    reviews = conn.execute(
        select(enrolment.c.id, enrolment.c.review_at, enrolment.c.booked_at)
        .where(enrolment.c.patient_id == patient_id, enrolment.c.ended_at.is_(None))
        .order_by(enrolment.c.id)
    )
    for number, review_at, booked_at in reviews:
        if review_at is not None:
            held = "; held while an appointment is ahead" if booked_at is not None else ""
            yield Entry(review_at, f"enrolment {number}", f"reviewed: reminder or end{held}")


def _concerns(table: Any, patient_id: int, points: Mapping[int, AnyRow]) -> Any:
    return or_(table.c.patient_id == patient_id, table.c.contact_point_id.in_(list(points)))
