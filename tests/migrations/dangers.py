"""Dangers: what a migration's statements would do to a fleet at work, or to code one release behind."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from domain.ledger.schema_steps import Kind

_TABLE = r'(?:ONLY\s+)?"?(?P<table>\w+)"?'
#: Pattern, what is wrong, and whether a contract may; a pattern that names a table concerns those of before alone.
_RULES: Sequence[tuple[str, str, bool]] = (
    (
        rf"^CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY).* ON {_TABLE}",
        "builds an index under a lock: online.create_index",
        False,
    ),
    (r"^DROP INDEX (?!CONCURRENTLY)", "drops an index under a lock: online.drop_index", False),
    (r"^(?:REINDEX|CLUSTER|VACUUM|TRUNCATE|LOCK)\b", "locks a whole table", False),
    (
        rf"^ALTER TABLE {_TABLE} ADD COLUMN (?!.*\bDEFAULT\b).*\bNOT NULL\b",
        "adds a column that old code leaves out: allow NULL, or give it a server default",
        False,
    ),
    (
        rf"^ALTER TABLE {_TABLE} ADD COLUMN .*\bDEFAULT\b.*\b(?:random|gen_random_uuid|clock_timestamp|nextval)\(",
        "writes the whole table anew under a lock: add it without a default, then online.backfill",
        False,
    ),
    (rf"^ALTER TABLE {_TABLE} ADD COLUMN .*\b(?:SERIAL|BIGSERIAL|GENERATED)\b", "writes the whole table anew", False),
    (rf"^ALTER TABLE {_TABLE} ALTER COLUMN \S+ (?:SET DATA )?TYPE", "writes the whole table anew: add a column", False),
    (rf"^ALTER TABLE {_TABLE} ALTER COLUMN \S+ SET NOT NULL", "breaks code that leaves it out", True),
    (rf"^ALTER TABLE {_TABLE} ALTER COLUMN \S+ DROP DEFAULT", "breaks code that leaves it out", True),
    (
        rf"^ALTER TABLE {_TABLE} ADD (?:CONSTRAINT \S+ )?(?:FOREIGN KEY|CHECK)(?!.*NOT VALID)",
        "reads the whole table under a lock: NOT VALID, and VALIDATE CONSTRAINT in the next",
        False,
    ),
    (
        rf"^ALTER TABLE {_TABLE} ADD (?:CONSTRAINT \S+ )?(?:UNIQUE|PRIMARY KEY|EXCLUDE)(?!.*USING INDEX)",
        "builds an index under a lock: online.create_index, then USING INDEX",
        False,
    ),
    (rf"^ALTER TABLE {_TABLE} RENAME", "renames what old code uses", True),
    (rf"^ALTER TABLE {_TABLE} DROP", "takes away what old code uses", True),
    (rf"^DROP TABLE (?:IF EXISTS )?{_TABLE}", "takes away what old code uses", True),
    (
        rf"^(?:UPDATE|DELETE FROM) {_TABLE} (?!.*\bBETWEEN\b)",
        "holds the locks of all its rows until the end: online.backfill",
        False,
    ),
)
#: What the runner itself writes in every step.
_OWN = frozenset({"alembic_version", "schema_step"})
_ONLINE = re.compile(r"\bCONCURRENTLY\b|\bBETWEEN\b", re.IGNORECASE)
_WRITES = re.compile(r"^(?:CREATE|ALTER|DROP|UPDATE|INSERT|DELETE)\b", re.IGNORECASE)


def dangers(statements: Sequence[str], there: Collection[str], kind: Kind) -> list[str]:
    """What is wrong with them, a sentence each, on a ledger that had these tables before."""
    plain = [" ".join(each.split()) for each in statements]
    found = [f"{what}: {each}" for each in plain for what in _wrong(each, there, kind)]
    ours = [each for each in plain if _WRITES.match(each) and not any(name in each for name in _OWN)]
    online = [each for each in ours if _ONLINE.search(each)]
    if online and len(online) < len(ours):
        found.append(f"does more than one thing, and would be half done if it were cut off: {online[0]}")
    return found


def _wrong(statement: str, there: Collection[str], kind: Kind) -> list[str]:
    wrong = []
    for pattern, what, contract_may in _RULES:
        match = re.search(pattern, statement, re.IGNORECASE)
        if match is None or (contract_may and kind == Kind.CONTRACT):
            continue
        table = match.groupdict().get("table")
        if table is None or (table in there and table not in _OWN):
            wrong.append(what)
    return wrong
