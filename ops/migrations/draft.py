"""Drafts the next migration from the tables in code; a person reads and tidies it before it counts."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from alembic import command

from domain.ledger.store import open_ledger
from ops.migrations.run import upgrade
from ops.migrations.steps import config_for


def draft(revision: str, message: str) -> Path:
    """Write the migration `revision` that leads from the newest one to the tables in code.

    Partial indexes come with the condition for both stores.
    """
    with tempfile.TemporaryDirectory() as directory:
        engine = open_ledger(f"sqlite:///{directory}/scratch.db")
        try:
            upgrade(engine)
            with engine.connect() as conn:
                written = command.revision(config_for(conn), message, rev_id=revision, autogenerate=True)
        finally:
            engine.dispose()
    if written is None or isinstance(written, list):
        raise RuntimeError("not exactly one migration was drafted")
    return Path(written.path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m ops.migrations.draft", description=__doc__)
    parser.add_argument("revision", help="number of the migration, e.g. 0002")
    parser.add_argument("message", help="what it does, e.g. 'Sites have opening hours'")
    asked = parser.parse_args()
    draft(asked.revision, asked.message)
