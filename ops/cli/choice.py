"""Commands for choices that patients tell to staff: what they want, who wrote it down, when, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
from sqlalchemy import Connection, select

from channels.kit.discovery import discover
from domain.ledger import choices, confidential, consents, patient_choices, senders
from domain.ledger.choice_history import DO_NOT_CONTACT, OPTED_OUT, WHY, Note
from domain.ledger.organisations import organisation as organisations
from domain.ledger.patients import contact_point, patient_contact
from domain.ledger.transactions import transact
from domain.rules.identity import Email, Phone
from ops.assembly import Parts
from ops.cli.base import ORGANISATION, fail, parts_of
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
    """How far a choice reaches; without a channel, everything."""

    channel: str | None
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
    ref = _one(patient)

    def write(conn: Connection, parts: Parts) -> bool:
        change = patient_choices.go_on if lift else patient_choices.stop
        told = _told(parts, by, why, at)
        return change(conn, existing(conn, ref).id, DO_NOT_CONTACT, told.note, told.at, told.now)

    did = _write(context, write)
    if lift:
        click.echo(
            f"{ref.upper()} may be contacted" if did else f"{ref.upper()} may still not be contacted: said later"
        )
    else:
        click.echo(f"{ref.upper()} is not contacted any more" if did else "kept on record: that changes nothing")


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
    ref = _one(patient)
    wanted = [each for each in (phone, email) if each is not None]
    if lift == bool(wanted):
        fail("give --phone, --email or both, or --lift alone")

    def write(conn: Connection, parts: Parts) -> bool:
        told, who = _told(parts, by, why, at), existing(conn, ref).id
        owner = _organisation(conn, ref)
        points = [_point(conn, parts, owner, each) for each in wanted]
        return confidential.ask(conn, who, points, told.note, told.at, told.now)

    if not _write(context, write):
        click.echo("kept on record: the patient asked for something else later")
    elif lift:
        click.echo(f"{ref.upper()} is reached wherever they can be reached")
    else:
        click.echo(f"{ref.upper()} is reached there and nowhere else")


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

    def write(conn: Connection, parts: Parts) -> bool:
        told = _told(parts, by, why, at)
        if references:
            return _choose_for_patient(conn, references[0], scope, told, is_stop=is_stop)
        owner = _owner(conn, organisation)
        return _choose_at(conn, owner, [_point(conn, parts, owner, values[0])], scope, told, is_stop=is_stop)

    click.echo(_outcome(is_stop, _write(context, write), scope.channel))


def _outcome(is_stop: bool, did: bool, channel: str | None) -> str:
    if channel is not None:
        return f"consent to {channel} is {'revoked' if is_stop else 'given'}, unless another choice was made later"
    if is_stop:
        return "opted out" if did else "kept on record: it was in force, or taken back later"
    if did:
        return "opted in"
    return "still opted out: by a later word, or at another number or address, which --phone or --email must name"


def _choose_for_patient(conn: Connection, ref: str, scope: _Scope, told: _Told, *, is_stop: bool) -> bool:
    who = existing(conn, ref)
    if who.merged_into is not None:
        who = existing(conn, who.merged_into)
    if scope.channel is not None:
        system = discover()[scope.channel].contact_system
        points = conn.scalars(
            select(contact_point.c.id)
            .join(patient_contact, patient_contact.c.contact_point_id == contact_point.c.id)
            .where(
                patient_contact.c.patient_id == who.id,
                patient_contact.c.detached_at.is_(None),
                contact_point.c.system == system,
            )
            .order_by(contact_point.c.id)
        ).all()
        if not points:
            fail(f"the patient has no {system} for {scope.channel}")
        return _choose_at(conn, _organisation(conn, ref), points, scope, told, is_stop=is_stop)
    change = patient_choices.stop if is_stop else patient_choices.go_on
    return change(conn, who.id, OPTED_OUT, told.note, told.at, told.now)


def _choose_at(
    conn: Connection, owner: int, points: Sequence[int], scope: _Scope, told: _Told, *, is_stop: bool
) -> bool:
    common: dict[str, Any] = {"organisation_id": owner, "source": _SOURCE, "at": told.at, "now": told.now}
    common["note"] = told.note
    choices.lock(conn, points)
    if scope.channel is not None:
        for point in points:
            consents.record(
                conn,
                contact_point_id=point,
                channel=scope.channel,
                purpose=scope.purpose,
                is_granted=not is_stop,
                **common,
            )
        return True
    (point,) = points
    choose = choices.opt_out if is_stop else choices.opt_in
    return choose(conn, contact_point_id=point, **common)


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


def _scope(channel: str | None, purpose: str | None) -> _Scope:
    if purpose is not None and channel is None:
        fail("--purpose goes with --channel")
    if channel is not None and channel not in discover():
        fail(f"--channel: there is none of this name (there are: {', '.join(sorted(discover()))})")
    word = purpose or "outreach"
    if not (word.isascii() and word.replace("_", "a").isalpha() and word.islower() and len(word) <= 32):
        fail("--purpose: expected one word in small letters, such as outreach")
    return _Scope(channel, word)


def _one(references: tuple[str, ...]) -> str:
    found = references_given(references)
    if not found:
        fail("name the PATIENT; `reactivate find --phone`, `--email` and `--mrn` find the reference")
    return found[0]


def _point(conn: Connection, parts: Parts, owner: int, value: Phone | Email) -> int:
    """The contact point of a number or address; a stranger's is made: it may be imported tomorrow."""
    system, text = ("phone", value.e164) if isinstance(value, Phone) else ("email", value.address)
    sender = senders.known_as(system, text)
    if sender is None:
        fail(f"--{system}: it cannot be used for messages")
    return senders.meet(conn, parts.vault, owner, sender)


def _organisation(conn: Connection, ref: str) -> int:
    return _owner(conn, existing(conn, ref).organisation)


def _owner(conn: Connection, key: str | None) -> int:
    found = {row.key: int(row.id) for row in conn.execute(select(organisations.c.key, organisations.c.id))}
    if not found:
        fail("there is no organisation yet: import one first")
    if key is None and len(found) > 1:
        fail(f"--organisation: there are several ({', '.join(sorted(found))}), name one")
    if key is not None and key not in found:
        fail(f"--organisation: none has this key (there are: {', '.join(sorted(found))})")
    return found[key] if key is not None else next(iter(found.values()))
