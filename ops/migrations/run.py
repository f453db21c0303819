"""Brings a ledger to the newest schema while the fleet works, and says where it stands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from domain.ledger.schema_steps import Kind, Step
from domain.ledger.tables import metadata
from ops.migrations.fit import misfit
from ops.migrations.session import (
    PATIENCE,
    MigrationBlockedError,
    MigrationError,
    Patience,
    Tell,
    oldest_transaction,
    session,
)
from ops.migrations.steps import config_for, steps

#: How PostgreSQL says that a lock was not to be had in time, that two waited for each other, and that it took too long.
_LOCKED, _DEADLOCK, _TOO_LONG = "55P03", "40P01", "57014"


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What came of it."""

    revision: str
    """Where the ledger stands now."""
    done: Sequence[str]
    """The steps that were taken."""
    waiting: Step | None = None
    """The contract that waits to be asked for."""


def upgrade(
    ledger: Engine | str,
    *,
    contract: bool = False,
    to: str | None = None,
    patience: Patience = PATIENCE,
    tell: Tell = lambda _: None,
    beyond: Path | None = None,
) -> Upgraded:
    """Bring `ledger` (an engine or a URL) to the newest revision, step by step; each is whole or not there at all.

    Args:
        contract: whether to take contracts, too: no older code may run any more. A new ledger gets everything.
        to: the last step to take; None = the newest.
        beyond: a folder of further migrations.

    Raises:
        MigrationBlockedError: a lock was not to be had; what was done before is whole.
        MigrationError: it cannot be done while the fleet works, or the ledger is of another release.
    """
    with session(ledger, patience, tell) as conn:
        at, todo = _todo(conn, steps(beyond))
        is_new, done = at is None, list[str]()
        for step in todo:
            if step.kind == Kind.CONTRACT and not (contract or is_new):
                _must_end_here(step, todo)
                return Upgraded(at or "none", done, waiting=step)
            tell(f"revision {step.revision} ({step.kind}): {step.title}")
            _take(conn, step, patience, tell, beyond)
            at = step.revision
            done.append(at)
            if at == to:
                break
        return Upgraded(at or "none", done)


def downgrade(
    ledger: Engine | str,
    revision: str,
    *,
    lock_timeout: timedelta = PATIENCE.lock_timeout,
    beyond: Path | None = None,
) -> None:
    """Take `ledger` back to `revision` (`base` = empty, every row gone), for who develops a migration.

    Raises:
        sqlalchemy.exc.OperationalError: PostgreSQL did not give a lock within `lock_timeout`.
    """
    with session(ledger, replace(PATIENCE, lock_timeout=lock_timeout), lambda _: None) as conn:
        command.downgrade(config_for(conn, beyond), revision)


def current(conn: Connection) -> str | None:
    """The revision the ledger is at; None before the first migration."""
    return MigrationContext.configure(conn).get_current_revision()


def newest() -> str:
    """The revision this code expects. Raises as `steps` does."""
    return steps()[-1].revision


def differences(conn: Connection) -> list[Any]:
    """What the tables in code have that the migrated ledger has not, and the reverse; empty when they agree."""
    context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def _todo(conn: Connection, known: Sequence[Step]) -> tuple[str | None, Sequence[Step]]:
    """Where the ledger is, and the steps that follow; none on that of a newer release which we can run with."""
    at = current(conn)
    revisions = [step.revision for step in known]
    error = None if at is None or at in revisions else misfit(conn, known)
    conn.rollback()
    if error is not None:
        raise MigrationError(str(error))
    if at is None:
        return None, known
    return at, known[revisions.index(at) + 1 :] if at in revisions else ()


def _must_end_here(step: Step, todo: Sequence[Step]) -> None:
    """What follows a contract cannot be had without it."""
    behind = [each.revision for each in todo[todo.index(step) :] if each.kind == Kind.EXPAND]
    if behind:
        raise MigrationError(
            f"revision {step.revision} comes before {behind[0]}, which this release needs, and takes away what older "
            f"code uses: stop every process older than revision {step.needs}, then run `reactivate migrate --contract`"
        )


def _take(conn: Connection, step: Step, patience: Patience, tell: Tell, beyond: Path | None) -> None:
    for number in range(1, patience.tries + 1):
        began = time.monotonic()
        try:
            command.upgrade(config_for(conn, beyond), step.revision)
        except DBAPIError as error:
            conn.rollback()
            _raise_unless_blocked(error, step, patience)
        else:
            tell(f"revision {step.revision}: done in {time.monotonic() - began:.1f} s")
            return
        if number < patience.tries:
            tell(
                f"revision {step.revision}: no lock after {time.monotonic() - began:.1f} s, try {number} of "
                f"{patience.tries}; again in {patience.pause(number):.0f} s"
            )
            time.sleep(patience.pause(number))
    raise MigrationBlockedError(
        f"revision {step.revision} did not get its lock in {patience.tries} tries, and gave way to the fleet each "
        f"time: {oldest_transaction(conn)}. What was done before it is whole; run it again, at a quieter time or "
        "once that has ended"
    )


def _raise_unless_blocked(error: DBAPIError, step: Step, patience: Patience) -> None:
    state = getattr(error.orig, "sqlstate", None)
    if state == _TOO_LONG:
        raise MigrationError(
            f"revision {step.revision} took longer than {patience.statement.total_seconds():.0f} s under its locks, "
            "and was taken back: it cannot be done while the fleet works"
        ) from error
    if state not in (_LOCKED, _DEADLOCK):
        raise error
