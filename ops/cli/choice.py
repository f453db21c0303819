"""Commands for choices that patients tell to staff: what they want, who wrote it down, when, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
from sqlalchemy import Connection

from channels.kit.discovery import discover
from domain.ledger import choices, confidential, consents, patient_choices
from domain.ledger.choice_history import DO_NOT_CONTACT, OPTED_OUT, WHY, Note
from domain.ledger.transactions import transact
from domain.rules.identity import Email, Phone
from ops.assembly import Parts
from ops.cli import choice_effect, choice_subjects
from ops.cli.base import ORGANISATION, Exit, fail, parts_of
from ops.cli.choice_effect import Effect, watch
from ops.cli.desk import LONGEST, LONGEST_NAME, email_given, existing, phone_given, references_given, tidy

_SOURCE: Final = "staff"

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Told:
    """A choice as it was told, ready to be written."""

    note: Note
    at: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class _Scope:
    """The channel whose consent a choice is about, and for what."""

    channel: str
    purpose: str


def _options(*names: str) -> Callable[[F], F]:
    """The options the commands of this group share, in one order."""
    known = {
        "patient": click.argument("patient", nargs=-1, metavar="[PATIENT]"),
        "phone": click.option("--phone", callback=phone_given, metavar="NUMBER", help="Phone number; - reads it."),
        "email": click.option("--email", callback=email_given, metavar="ADDRESS", help="Mail address; - reads it."),
        "organisation": ORGANISATION,
        "channel": click.option("--channel", metavar="NAME", help="Only this channel (default: every one)."),
        "purpose": click.option("--purpose", metavar="WORD", help="With --channel: only this purpose."),
        "by": click.option("--by", required=True, metavar="NAME", help="Who writes it down."),
        "why": click.option("--why", required=True, metavar="TEXT", help="What was said, and how."),
        "at": click.option("--at", metavar="INSTANT", help="When it was said, as 2026-03-04T17:00Z (default: now)."),
    }

    def decorate(function: F) -> F:
        for name in reversed(names):
            function = known[name](function)
        return function

    return decorate


_ABOUT: Final = ("patient", "phone", "email", "organisation", "channel", "purpose", "by", "why", "at")


@click.group()
def choice() -> None:
    """Write down what patients choose: opting out and in, no contact at all, or contact at one place only."""


@choice.command(
    name="opt-out", epilog="Example: reactivate choice opt-out PEONAQ5EJMULLOM4L --by Maya --why 'called us'"
)
@_options(*_ABOUT)
@click.pass_context
def opt_out(context: click.Context, /, **given: Any) -> None:
    """Stop outreach to a PATIENT, or to a number or address and all who share it.

    Without --channel everything stops. With it, consent to that channel is revoked, at the number or address, or at
    all of the PATIENT's. An opt-in that was said later stays in force, whichever is written down first.
    """
    _choose(context, is_stop=True, **given)


@choice.command(
    name="opt-in", epilog="Example: reactivate choice opt-in --phone '+1 303 555 0100' --by Maya --why 'form'"
)
@_options(*_ABOUT)
@click.pass_context
def opt_in(context: click.Context, /, **given: Any) -> None:
    """Take an opt-out back, as the patient's START does.

    A PATIENT who opted out at a number or address is freed there: give it with --phone or --email. With --channel,
    consent to that channel is given; that lifts no opt-out from everything.
    """
    _choose(context, is_stop=False, **given)


@choice.command(
    name="do-not-contact",
    epilog="Example: reactivate choice do-not-contact PEONAQ5EJMULLOM4L --by Maya --why 'asked by letter'",
)
@click.option("--lift", is_flag=True, help="Take it back.")
@_options("patient", "by", "why", "at")
@click.pass_context
def do_not_contact(
    context: click.Context, patient: tuple[str, ...], by: str, why: str, at: str | None, lift: bool
) -> None:
    """Contact a PATIENT no more, on any channel, whatever they text: no START lifts it, only --lift."""
    ref = choice_subjects.one(patient)

    def write(conn: Connection, parts: Parts) -> Effect:
        change = patient_choices.go_on if lift else patient_choices.stop
        told, who = _told(parts, by, why, at), existing(conn, ref).id
        subjects = choice_effect.of_patient(conn, who, is_stop=not lift, reason=DO_NOT_CONTACT)
        return watch(
            conn, subjects, DO_NOT_CONTACT, lambda: change(conn, who, DO_NOT_CONTACT, told.note, told.at, told.now)
        )

    tell = choice_effect.tell_lifted if lift else choice_effect.tell_do_not_contact
    tell(ref.upper(), _write(context, write))


@choice.command(
    name="confidential",
    epilog="Example: reactivate choice confidential PEONAQ5EJMULLOM4L --phone '+1 303 555 0100' --by Maya --why 'form'",
)
@click.option("--lift", is_flag=True, help="Reach the patient wherever they can be reached, as before.")
@_options("patient", "phone", "email", "by", "why", "at")
@click.pass_context
def reach_only_at(
    context: click.Context,
    patient: tuple[str, ...],
    phone: Phone | None,
    email: Email | None,
    by: str,
    why: str,
    at: str | None,
    lift: bool,
) -> None:
    """Reach a PATIENT at this number, or address, or both, and nowhere else (45 CFR 164.522(b)).

    It replaces what they asked for before, and outlasts every import. If it does not work, the patient is not reached.
    """
    ref = choice_subjects.one(patient)
    wanted = [each for each in (phone, email) if each is not None]
    if lift == bool(wanted):
        fail("give --phone, --email or both, or --lift alone")

    def write(conn: Connection, parts: Parts) -> tuple[bool, bool]:
        told, who = _told(parts, by, why, at), existing(conn, ref).id
        owner = choice_subjects.organisation_of(conn, ref)
        points = [choice_subjects.point_of(conn, parts, owner, each) for each in wanted]
        had_asked = confidential.has_asked(conn, who)
        return had_asked, confidential.ask(conn, who, points, told.note, told.at, told.now)

    had_asked, is_last_word = _write(context, write)
    if lift and not had_asked:
        fail(f"nothing to lift: {ref.upper()} did not ask to be reached at one place only", Exit.BREACH)
    if not is_last_word:
        fail("kept on record, and changes nothing: the patient asked for something else later", Exit.BREACH)
    where = "wherever they can be reached" if lift else "there and nowhere else"
    click.echo(f"{ref.upper()} is reached {where}")


def _choose(
    context: click.Context,
    *,
    is_stop: bool,
    patient: tuple[str, ...],
    phone: Phone | None,
    email: Email | None,
    organisation: str | None,
    channel: str | None,
    purpose: str | None,
    by: str,
    why: str,
    at: str | None,
) -> None:
    values: list[Phone | Email] = [each for each in (phone, email) if each is not None]
    references = references_given(patient)
    if len(references) + len(values) != 1:
        fail("give one of PATIENT, --phone and --email")
    if references and organisation is not None:
        fail("--organisation goes with --phone and --email: a PATIENT belongs to one anyway")
    scope = _scope(channel, purpose)

    if scope is not None:

        def consent(conn: Connection, parts: Parts) -> bool:
            told = _told(parts, by, why, at)
            if references:
                owner, points = choice_subjects.reached_by(conn, references[0], scope.channel)
            else:
                owner = choice_subjects.owner(conn, organisation)
                points = [choice_subjects.point_of(conn, parts, owner, values[0])]
            return _consent(conn, owner, points, scope, told, is_stop=is_stop)

        is_last_word = _write(context, consent)
        choice_effect.tell_consent(scope.channel, is_stop=is_stop, is_last_word=is_last_word)
        return

    def everything(conn: Connection, parts: Parts) -> Effect:
        told = _told(parts, by, why, at)
        if references:
            return _choose_for_patient(conn, existing(conn, references[0]).id, told, is_stop=is_stop)
        owner = choice_subjects.owner(conn, organisation)
        return _choose_at(conn, owner, choice_subjects.point_of(conn, parts, owner, values[0]), told, is_stop=is_stop)

    tell = choice_effect.tell_opt_out if is_stop else choice_effect.tell_opt_in
    tell(_write(context, everything))


def _choose_for_patient(conn: Connection, patient_id: int, told: _Told, *, is_stop: bool) -> Effect:
    change = patient_choices.stop if is_stop else patient_choices.go_on
    subjects = choice_effect.of_patient(conn, patient_id, is_stop=is_stop)
    return watch(conn, subjects, OPTED_OUT, lambda: change(conn, patient_id, OPTED_OUT, told.note, told.at, told.now))


def _choose_at(conn: Connection, owner: int, point: int, told: _Told, *, is_stop: bool) -> Effect:
    choose = choices.opt_out if is_stop else choices.opt_in
    common: dict[str, Any] = {"organisation_id": owner, "source": _SOURCE, "at": told.at, "now": told.now}
    subjects = choice_effect.of_point(conn, point, is_stop=is_stop)
    return watch(conn, subjects, OPTED_OUT, lambda: choose(conn, contact_point_id=point, note=told.note, **common))


def _consent(conn: Connection, owner: int, points: Sequence[int], scope: _Scope, told: _Told, *, is_stop: bool) -> bool:
    """Whether it is the last word about the channel, at one of these contact points at least."""
    choices.lock(conn, points)
    is_last_word = [
        consents.record(
            conn,
            organisation_id=owner,
            contact_point_id=point,
            channel=scope.channel,
            purpose=scope.purpose,
            is_granted=not is_stop,
            source=_SOURCE,
            at=told.at,
            now=told.now,
            note=told.note,
        )
        for point in points
    ]
    return any(is_last_word)


def _write(context: click.Context, write: Callable[[Connection, Parts], T]) -> T:
    with parts_of(context) as parts:
        return transact(parts.engine, lambda conn: write(conn, parts))


def _told(parts: Parts, by: str, why: str, at: str | None) -> _Told:
    now = parts.clock.now()
    sealed = parts.vault.seal(tidy("--why", why, LONGEST), WHY)
    return _Told(Note(tidy("--by", by, LONGEST_NAME), sealed), now if at is None else _instant(at, now), now)


def _instant(text: str, now: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        fail("--at: expected an instant with an offset, such as 2026-03-08T01:30Z")
    if not datetime(1900, 1, 2, tzinfo=UTC) <= found <= now:
        fail("--at: expected an instant that has passed")
    return found.astimezone(UTC)


def _scope(channel: str | None, purpose: str | None) -> _Scope | None:
    """What --channel and --purpose say; none = everything."""
    if channel is None:
        if purpose is not None:
            fail("--purpose goes with --channel")
        return None
    if channel not in discover():
        fail(f"--channel: there is none of this name (there are: {', '.join(sorted(discover()))})")
    word = purpose or "outreach"
    if not (word.isascii() and word.replace("_", "a").isalpha() and word.islower() and len(word) <= 32):
        fail("--purpose: expected one word in small letters, such as outreach")
    return _Scope(channel, word)
