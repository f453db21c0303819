"""Two transactions in an order of the test's choosing, on PostgreSQL: the second is seen to wait for the first.

No test needs luck or speed this way: what it shows is what happens whenever the two meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine, text
from waiting import DEADLINE, wait_until

from domain.ledger.store import open_ledger, reading

T = TypeVar("T")


#: Sessions of this database that wait for a lock of the given one, each with how long, in seconds.
_WAITING_FOR = text(
    "SELECT extract(epoch FROM clock_timestamp() - query_start)::float FROM pg_stat_activity"
    " WHERE datname = current_database() AND :pid = ANY (pg_blocking_pids(pid))"
)


@contextmanager
def unhurried(url: str) -> Iterator[Engine]:
    """The ledger, with nobody losing patience while the test looks on."""
    engine = open_ledger(f"{url}?options=-c%20lock_timeout%3D0")
    yield engine
    engine.dispose()


@contextmanager
def behind(
    engine: Engine, first: Connection, work: Callable[[], T], *, for_seconds: float = 0.0
) -> Iterator[Future[T]]:
    """Start `work` in a thread, and enter once it has waited for `first` that long; leave when it is done.

    Commit `first` inside, or what waits for it waits in vain.
    """
    pid = first.scalar(text("SELECT pg_backend_pid()"))
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(work)
        try:
            wait_until(lambda: late.done() or _longest_wait(engine, pid) > for_seconds)
            assert not late.done() or late.exception(), "it did not wait for the first"
            yield late
        finally:
            if first.in_transaction():
                first.rollback()
            late.exception(timeout=DEADLINE)


def _longest_wait(engine: Engine, pid: int | None) -> float:
    """Seconds; below zero while nobody waits."""
    with reading(engine) as conn:
        return max(conn.scalars(_WAITING_FOR, {"pid": pid}), default=-1.0)
