"""Whether this release may run on the ledger as it stands: an older, an equal or a newer schema."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, inspect

from domain.ledger import schema_steps
from domain.ledger.schema_steps import Kind, Step
from domain.ledger.store import reading
from ops.migrations.steps import steps


class UnfitLedgerError(Exception):
    """The sentence says why not, and what to do. `is_behind`: `reactivate migrate` mends it while we wait."""

    def __init__(self, sentence: str, *, is_behind: bool) -> None:
        super().__init__(sentence)
        self.is_behind = is_behind


def check_schema(engine: Engine) -> None:
    """Whether the ledger has what this release needs, and nothing that breaks it.

    Raises:
        UnfitLedgerError: it has not.
        DBAPIError: the ledger is away.
    """
    with reading(engine) as conn:
        error = misfit(conn)
    if error is not None:
        raise error


def misfit(conn: Connection, known: Sequence[Step] | None = None) -> UnfitLedgerError | None:
    """Why the code that knows these steps (default: this release) cannot run on the ledger; None = it can.

    Steps that only it knows must be contracts, whose time has not come yet; steps that only the ledger knows must be
    expansions, or contracts that spare this release.
    """
    known = steps() if known is None else known
    tables = inspect(conn)
    if not tables.has_table("touch"):
        return UnfitLedgerError("the ledger has no tables yet: run `reactivate migrate`", is_behind=True)
    if not tables.has_table("schema_step"):
        return UnfitLedgerError("the ledger was made before the first release: make a new one", is_behind=False)
    applied = schema_steps.applied(conn)
    there, ours = {step.revision for step in applied}, {step.revision for step in known}
    missing = [step.revision for step in known if step.revision not in there and step.kind == Kind.EXPAND]
    if missing:
        return UnfitLedgerError(
            f"the ledger's tables are older than this release, which needs revision {missing[-1]}: "
            "run `reactivate migrate`",
            is_behind=True,
        )
    strange = schema_steps.strange(applied, ours)
    if strange:
        return UnfitLedgerError(
            f"the ledger's tables are of a newer release: revision {strange[0].revision} took away what this one "
            f"uses; run the release that knows revision {strange[0].needs}, or a later one",
            is_behind=False,
        )
    return None
