"""Senders: which organisation's contact point an inbound message came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, String, and_, bindparam, func, select

from domain.ledger import store
from domain.ledger.attempts import MAY_HAVE_REACHED, attempt
from domain.ledger.columns import Id
from domain.ledger.organisations import organisation
from domain.ledger.patients import CONTACT_VALUE, contact_index, contact_point
from domain.ledger.vault import Vault
from domain.rules.identity import Problem, normalise_email, normalise_phone
from domain.rules.vocabulary import ContactSystem

_IS: Final = and_(
    contact_point.c.system == bindparam("system", type_=String),
    contact_point.c.value_index == bindparam("value_index", type_=contact_point.c.value_index.type),
)
_ORGANISATIONS: Final = select(organisation.c.id).order_by(organisation.c.id)
_LAST_WRITTEN: Final = (
    select(func.max(attempt.c.claimed_at))
    .where(attempt.c.contact_point_id == contact_point.c.id, MAY_HAVE_REACHED)
    .scalar_subquery()
)
_FIND: Final = (
    select(contact_point.c.organisation_id, contact_point.c.id)
    .where(contact_point.c.organisation_id.in_(bindparam("organisations", type_=Id, expanding=True)), _IS)
    .order_by(_LAST_WRITTEN.desc().nulls_last(), contact_point.c.id)
    .limit(1)
)


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
    organisations = conn.scalars(_ORGANISATIONS).all() if organisation_id is None else [organisation_id]
    if not organisations:
        raise NoOrganisationError
    if sender is not None:
        found = conn.execute(_FIND, {"organisations": organisations, **_key(vault, sender)}).first()
        if found is not None:
            return found.organisation_id, found.id
    return organisations[0], None


def meet(conn: Connection, vault: Vault, organisation_id: int, sender: Sender) -> int:
    """The contact point of a stranger, made unless somebody else just did."""
    key = _key(vault, sender)
    conn.execute(
        _meeting(conn.dialect.name),
        {
            "organisation_id": organisation_id,
            "value": vault.seal(sender.value, CONTACT_VALUE),
            "quality": sender.quality,
            "zones": sender.zones,
            **key,
        },
    )
    return int(conn.execute(_FIND, {"organisations": [organisation_id], **key}).one().id)


@cache
def _meeting(dialect: str) -> Any:
    return store.insert_on(dialect, contact_point).on_conflict_do_nothing()


def _key(vault: Vault, sender: Sender) -> dict[str, Any]:
    return {"system": sender.system, "value_index": contact_index(vault, sender.system, sender.value)}
