"""The keyring: whether a vault is the one this ledger was filled with, told by one row of it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from domain.ledger.patients import CONTACT_VALUE, MRN, contact_index, contact_point, mrn_index, registration
from domain.ledger.vault import Vault, VaultError

#: By the primary key, so that the question costs the same in a large ledger.
_A_POINT = (
    select(contact_point.c.system, contact_point.c.value, contact_point.c.value_index)
    .order_by(contact_point.c.id)
    .limit(1)
)
_A_REGISTRATION = select(registration.c.mrn, registration.c.mrn_index).order_by(registration.c.id).limit(1)


def fits(conn: Connection, vault: Vault) -> bool:
    """Whether `vault` opens what is stored and finds it again; True for a ledger that holds nobody yet.

    With another index key every patient would be taken for a new one; with another vault key nobody could be reached.
    """
    try:
        if point := conn.execute(_A_POINT).one_or_none():
            index = contact_index(vault, point.system, vault.open(point.value, CONTACT_VALUE))
            return index == bytes(point.value_index)
        if found := conn.execute(_A_REGISTRATION).one_or_none():
            return mrn_index(vault, vault.open(found.mrn, MRN)) == bytes(found.mrn_index)
    except VaultError:
        return False
    return True
