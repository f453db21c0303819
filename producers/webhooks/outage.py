"""Outages: whether it is the ledger that cannot take anything, or one arrival that nothing can be done with."""

from __future__ import annotations

from sqlalchemy import Engine, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.ledger.inbound import reply
from domain.ledger.organisations import organisation
from domain.ledger.senders import NoOrganisationError
from domain.ledger.transactions import transact

#: Errors of the store that the values of one row cause.
_OF_A_ROW = (DataError, IntegrityError, NotSupportedError)


def is_away(error: Exception) -> bool:
    """Whether the same arrival may well be stored later: the connection, a lock, the schema, time are to blame.

    A ledger without an organisation counts: somebody is about to import one.
    """
    if isinstance(error, _OF_A_ROW):
        return False
    return isinstance(error, (DBAPIError, PoolTimeoutError, NoOrganisationError, OSError))


def is_ready(engine: Engine) -> bool:
    """Whether the ledger can be written to and has what an arrival needs."""
    try:
        found = transact(
            engine,
            lambda conn: (
                # a standby that only reads refuses the lock
                conn.scalar(select(organisation.c.id).limit(1).with_for_update(read=True, key_share=True)),
                conn.scalar(select(reply.c.id).limit(1)),
            ),
        )
    except Exception as error:
        if is_away(error):
            return False
        raise
    return found[0] is not None
