"""Senders: which organisation's contact point an inbound message came from."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, func, select

from domain.ledger import store
from domain.ledger.organisations import organisation
from domain.ledger.patients import CONTACT_VALUE, contact_index, contact_point
from domain.ledger.touches import MAY_HAVE_REACHED, attempt
from domain.ledger.vault import Vault
from domain.rules.identity import Problem, normalise_email, normalise_phone
from domain.rules.vocabulary import ContactSystem


class NoOrganisationError(Exception):
    """No organisation is set up yet, so nobody's message can be stored: import one first."""

    def __str__(self) -> str:
        return str(self.__doc__)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who wrote, in the form contact points are stored in."""

    system: str
    value: str = field(repr=False)
    quality: str
    zones: str


def known_as(system: str, sender: str) -> Sender | None:
    """None: nobody can be found, suppressed or answered under this sender (a short code, a name)."""
    if system == ContactSystem.PHONE:
        phone = normalise_phone(sender)
        if isinstance(phone, Problem):
            return None
        return Sender(system, phone.e164, phone.quality, ",".join(phone.zones))
    email = normalise_email(sender)
    return None if isinstance(email, Problem) else Sender(system, email.address, "valid", "")


def find(
    conn: Connection, vault: Vault, sender: Sender | None, organisation_id: int | None = None
) -> tuple[int, int | None]:
    """The organisation a message is for, and the contact point it came from (None: nobody knows the sender).

    Unless `organisation_id` says whose message it is: where several organisations know the sender, it answers the one
    that wrote last; a stranger's message goes to the organisation that was there first.

    Raises:
        NoOrganisationError: there is none yet.
    """
    known = select(organisation.c.id).order_by(organisation.c.id)
    organisations = conn.scalars(known).all() if organisation_id is None else [organisation_id]
    if not organisations:
        raise NoOrganisationError
    if sender is not None:
        last_written = (
            select(func.max(attempt.c.claimed_at))
            .where(attempt.c.contact_point_id == contact_point.c.id, MAY_HAVE_REACHED)
            .scalar_subquery()
        )
        found = conn.execute(
            select(contact_point.c.organisation_id, contact_point.c.id)
            .where(contact_point.c.organisation_id.in_(organisations), _is(vault, sender))
            .order_by(last_written.desc().nulls_last(), contact_point.c.id)
            .limit(1)
        ).first()
        if found is not None:
            return found.organisation_id, found.id
    return organisations[0], None


def meet(conn: Connection, vault: Vault, organisation_id: int, sender: Sender) -> int:
    """The contact point of a stranger, made unless somebody else just did."""
    conn.execute(
        store.insert(conn, contact_point)
        .values(
            organisation_id=organisation_id,
            system=sender.system,
            value=vault.seal(sender.value, CONTACT_VALUE),
            value_index=contact_index(vault, sender.system, sender.value),
            quality=sender.quality,
            zones=sender.zones,
        )
        .on_conflict_do_nothing()
    )
    made = select(contact_point.c.id).where(contact_point.c.organisation_id == organisation_id, _is(vault, sender))
    return int(conn.execute(made).scalar_one())


def _is(vault: Vault, sender: Sender) -> ColumnElement[bool]:
    index = contact_index(vault, sender.system, sender.value)
    return and_(contact_point.c.system == sender.system, contact_point.c.value_index == index)
