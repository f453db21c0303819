"""The reference: every environment variable there is, and every rule, as tables, from the code and data that know.

`python -m ops.reference` brings docs/operations.md and docs/rules.md up to date.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

from channels.kit.contract import Channel
from channels.kit.discovery import providers
from domain.rules.rulebook import Kind, Row
from ops.runtime.settings import Settings
from producers.rule_files import read_rules

_DOCS = Path(__file__).parent.parent / "docs"
PAGE = _DOCS / "operations.md"
BEGIN, END = "<!-- settings: made by `python -m ops.reference` -->", "<!-- end of settings -->"
RULES_PAGE = _DOCS / "rules.md"
RULES_BEGIN, RULES_END = "<!-- rules: made by `python -m ops.reference` -->", "<!-- end of rules -->"


def settings_table() -> str:
    """Markdown: one table for every process, and one for each provider of a channel."""
    parts = [_table("Every process", [_own(text) for text in _docstrings(Settings)])]
    for name, channel in providers().items():
        rows = [
            (each.name, each.help + (" (secret)" if each.secret else ""), each.default or "")
            for each in channel.settings
        ]
        parts.append(_table(_headed(name, channel), rows))
    return "\n\n".join(parts)


def _headed(name: str, channel: Channel) -> str:
    return f"Channel `{name}`" if name == channel.name else f"Channel `{channel.name}`, provider `{name}`"


def rules_table() -> str:
    """Markdown: the tables of rules, as they come with the system."""
    rulebook = read_rules()
    return "\n\n".join(_rules_of(kind, rulebook.rows(kind=kind)) for kind in Kind)


def with_table(page: str) -> str:
    """The page of settings with its table renewed."""
    return _between(page, BEGIN, settings_table(), END)


def with_rules(page: str) -> str:
    """The page of rules with its tables renewed."""
    return _between(page, RULES_BEGIN, rules_table(), RULES_END)


def _between(page: str, begin: str, made: str, end: str) -> str:
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def _rules_of(kind: Kind, rows: Sequence[Row]) -> str:
    lines = [
        f"### {kind.value.replace('_', ' ').capitalize()}",
        "",
        "| rule | limit | says | source | checked |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        checked = "recalled" if row.checked_on is None else row.checked_on.isoformat()
        counsel = ", counsel to verify" if row.counsel else ""
        known = "" if row.enforced else " (not acted on)"
        says = f"{row.says}{known}"
        lines.append(f"| `{row.id}` ({row.basis}) | {row.limit} | {says} | {row.source} | {checked}{counsel} |")
    return "\n".join(lines)


def _docstrings(kind: type) -> Iterator[str]:
    """The strings that stand below the attributes of a class and name a variable."""
    tree = ast.parse(inspect.getsource(kind))
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))) if text.startswith("REACTIVATE_"):
                yield text


def _own(text: str) -> tuple[str, str, str]:
    name, _, rest = text.partition(": ")
    meaning, _, default = rest.partition(" (default: ")
    return name, meaning, default.removesuffix(".").removesuffix(")")


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    lines = [f"### {title}", "", "| variable | meaning | default |", "|---|---|---|"]
    lines += [f"| `{name}` | {meaning.replace('|', ',')} | {default} |" for name, meaning, default in rows]
    return "\n".join(lines)


def main() -> None:
    """Write the pages."""
    for page, renewed in ((PAGE, with_table), (RULES_PAGE, with_rules)):
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
