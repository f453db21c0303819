"""What a choice came to: which stops were in force before and after, what is said of it, and with which exit code.

Exit code 1 says that nothing was done of what was asked: what was to stop goes on, or what was to be lifted was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click
from sqlalchemy import Connection, select

from domain.ledger import choices, patients
from domain.ledger.choice_history import OPTED_OUT, Subject, in_force
from domain.ledger.patients import patient_contact
from ops.cli.base import Exit, fail

_OVERTAKEN: Final = "kept on record, and changes nothing"


@dataclass(frozen=True, slots=True)
class Effect:
    """Whether a choice is the last word, and the stops in force before and after it: id -> channel (None = every)."""

    is_last_word: bool
    before: Mapping[int, str | None]
    after: Mapping[int, str | None]

    @property
    def has_lifted(self) -> bool:
        """Whether a stop that was in force is not any more."""
        return bool(self.before.keys() - self.after.keys())

    @property
    def is_stopped(self) -> bool:
        """Whether everything is stopped now."""
        return None in self.after.values()


def watch(conn: Connection, subjects: Sequence[Subject], reason: str, choose: Callable[[], bool]) -> Effect:
    """Make a choice, and see what it changes for these subjects."""
    before = in_force(conn, subjects, reason)
    is_last_word = choose()
    return Effect(is_last_word, before, in_force(conn, subjects, reason))


def of_patient(conn: Connection, patient_id: int, *, is_stop: bool, reason: str = OPTED_OUT) -> list[Subject]:
    """Whose stops tell what became of a choice of this patient, who is locked; of an opt-in, their numbers', too."""
    who = patients.standing(conn, patient_id).id
    own: list[Subject] = [("patient_id", who)]
    if is_stop or reason != OPTED_OUT:
        return own
    links = select(patient_contact.c.contact_point_id).where(
        patient_contact.c.patient_id == who, patient_contact.c.detached_at.is_(None)
    )
    return own + [("contact_point_id", point) for point in conn.scalars(links)]


def of_point(conn: Connection, point: int, *, is_stop: bool) -> list[Subject]:
    """The same of a choice at this contact point; an opt-in there frees those who share it."""
    subjects = choices.lock(conn, [point])[point]
    own: list[Subject] = [("contact_point_id", point)]
    return own if is_stop else own + [("patient_id", each) for each in subjects.patient_ids]


def tell_opt_out(effect: Effect) -> None:
    """Say what became of an opt-out."""
    if effect.is_last_word:
        click.echo("opted out")
    elif effect.is_stopped:
        click.echo("kept on record: the opt-out was in force already")
    else:
        fail(f"{_OVERTAKEN}: it was taken back later, by an opt-in that stays in force", Exit.BREACH)


def tell_opt_in(effect: Effect) -> None:
    """Say what became of an opt-in."""
    if effect.is_last_word and effect.has_lifted:
        click.echo("opted in")
    elif not effect.before:
        fail(f"{_OVERTAKEN}: no opt-out was in force that it could take back", Exit.BREACH)
    else:
        where = "by a later word, or at another number or address, which --phone or --email must name"
        fail(f"still opted out: {where}", Exit.BREACH)


def tell_do_not_contact(ref: str, effect: Effect) -> None:
    """Say what became of the wish that nobody contacts a patient."""
    if effect.is_last_word:
        click.echo(f"{ref} is not contacted any more")
    elif effect.is_stopped:
        click.echo(f"kept on record: {ref} was not to be contacted already")
    else:
        fail(f"{_OVERTAKEN}: it was lifted later, so {ref} may be contacted", Exit.BREACH)


def tell_lifted(ref: str, effect: Effect) -> None:
    """Say what became of its end."""
    if effect.has_lifted:
        click.echo(f"{ref} may be contacted")
    elif not effect.before:
        fail(
            f"nothing to lift: no do-not-contact of {ref} is in force; `choice opt-in` takes opt-outs back", Exit.BREACH
        )
    else:
        fail(f"{ref} may still not be contacted: that was said later", Exit.BREACH)


def tell_consent(channel: str, *, is_stop: bool, is_last_word: bool) -> None:
    """Say what became of a choice about one channel."""
    if not is_last_word:
        fail(f"{_OVERTAKEN}: another choice about {channel} was made later", Exit.BREACH)
    click.echo(f"consent to {channel} is {'revoked' if is_stop else 'given'}")
