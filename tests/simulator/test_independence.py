"""The witness is independent: the simulator imports nothing of what it judges."""

from __future__ import annotations

import ast
from pathlib import Path

import ops.simulator

OURS = ("channels", "domain", "ops", "producers", "workers")
ALLOWED = {"domain.rules.vocabulary", "ops.runtime.clock"}


def imported(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names if node.module.count(".") < 2)
    return {name for name in found if name.split(".")[0] in OURS}


def test_the_simulator_imports_only_the_shared_nouns_and_the_clock() -> None:
    files = list(Path(ops.simulator.__path__[0]).glob("*.py"))

    foreign = {
        (path.name, name)
        for path in files
        for name in imported(path.read_text(encoding="utf-8"))
        if not name.startswith("ops.simulator") and name not in ALLOWED
    }

    assert len(files) > 20
    assert foreign == set()


def test_a_guard_imported_in_any_form_would_be_found() -> None:
    assert imported("from domain.rules.guard import decide") == {"domain.rules.guard"}
    assert imported("import channels.sms") == {"channels.sms"}
    assert "domain.rules" in imported("from domain.rules import quiet_hours")
