"""Outages: whether it is the ledger that cannot take anything, or one arrival that nothing can be done with."""

from __future__ import annotations

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    PendingRollbackError,
    ResourceClosedError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.ledger.senders import NoOrganisationError

#: Errors of the store that the values of one row cause.
_OF_A_ROW = (DataError, IntegrityError, NotSupportedError)

#: Errors of the store; the two last come where a connection goes away amidst a transaction that was to go on.
_OF_THE_STORE = (DBAPIError, PendingRollbackError, ResourceClosedError)


def is_away(error: Exception) -> bool:
    """Whether the same arrival will be stored once the ledger is well: any error but of a row's values.

    The connection, a full disk, a standby that only reads, a table or a permission that is missing, a lock, a deadlock,
    a statement that took too long: none is the arrival's fault, even if the ledger takes others meanwhile. A ledger
    without an organisation counts: somebody is about to import one.
    """
    if isinstance(error, _OF_A_ROW):
        return False
    return isinstance(error, (*_OF_THE_STORE, PoolTimeoutError, NoOrganisationError, OSError))
