"""The rules as they come, and as an organisation's own file changes them."""

from __future__ import annotations

from pathlib import Path

from domain.rules.quiet_hours import Hours
from domain.rules.rulebook import Rulebook
from producers.rule_files import read_rules

#: Nobody's own file: the tables alone.
STANDARD: Rulebook = read_rules()

#: Of a state without rows of its own.
DEFAULT_HOURS: Hours = STANDARD.in_force(None).hours


def rules_from(directory: Path, text: str) -> Rulebook:
    """The rules with this text as an organisation's own file."""
    path = directory / "rules.yaml"
    path.write_text(text)
    return read_rules(path)
