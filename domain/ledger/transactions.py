"""Transactions that are worth running again: the store said that only their timing was wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

_TRIES: Final = 3
#: SQLSTATE of serialization_failure and deadlock_detected.
_BAD_TIMING: Final = frozenset({"40001", "40P01"})


def transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run `work` in a transaction and commit; again, up to three times in all, after a deadlock.

    The order of locks makes deadlocks rare, foreign keys and set-based updates keep them from being impossible. A
    provider's webhook comes only once, so it must not be lost to one.

    Raises:
        DBAPIError: the store cannot be reached, or refused for another reason.
    """
    for left in reversed(range(_TRIES)):
        try:
            with engine.begin() as conn:
                return work(conn)
        except DBAPIError as error:
            if not left or not _is_bad_timing(error):
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def _is_bad_timing(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _BAD_TIMING
