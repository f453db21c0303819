"""The reference of settings: every environment variable there is, as a table, from the code that reads them.

`python -m ops.reference` brings docs/operations.md up to date.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from channels.kit.discovery import discover
from ops.runtime.settings import Settings

PAGE = Path(__file__).parent.parent / "docs" / "operations.md"
BEGIN, END = "<!-- settings: made by `python -m ops.reference` -->", "<!-- end of settings -->"


def settings_table() -> str:
    """Markdown: one table for every process, and one for each channel."""
    parts = [_table("Every process", [_own(text) for text in _docstrings(Settings)])]
    for name, channel in discover().items():
        rows = [
            (each.name, each.help + (" (secret)" if each.secret else ""), each.default or "")
            for each in channel.settings
        ]
        parts.append(_table(f"Channel `{name}`", rows))
    return "\n\n".join(parts)


def with_table(page: str) -> str:
    """The page with its table renewed."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{settings_table()}\n\n{END}{after}"


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
    """Write the page."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
