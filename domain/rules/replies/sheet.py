"""Sheet: one data file of rules, read field by field; what is wrong with it is told with its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from domain.rules.replies.normalise import fold
from domain.rules.replies.pattern import PLACES, Classes, Pattern, PatternError, compile_pattern
from domain.rules.replies.rule import Rule
from domain.rules.vocabulary import Effect, Intent

#: More lines than a file has; of equal rules in two files the first file's is named.
_MOST_LINES: Final = 1_000_000
#: Letters in the ledger's column for the rule.
LONGEST_ID: Final = 48
_ROW_FIELDS: Final = frozenset(
    {"id", "guards", "intent", "language", "effects", "alone", "over", "word", "misspelt", "unless", "unless_message",
     "why", "examples", "not", *PLACES}
)  # fmt: skip
_FILE_FIELDS: Final = frozenset(
    {"language", "classes", "spellings", "correct", "ordinary_words", "reactions", "media", "quotes", "signatures",
     "closings", "guards", "rules"}
)  # fmt: skip


class GrammarError(ValueError):
    """The rules for replies cannot be used. The text has one `path:line: reason` per mistake."""


@dataclass
class Sheet:
    """One data file: its nodes, and what is wrong with them."""

    path: Path
    number: int
    mistakes: list[str]
    language: str = ""
    _nodes: dict[str, yaml.Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            root = yaml.compose(self.path.read_text(encoding="utf-8"), Loader=loader)
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise GrammarError(f"{self.path}:{_line_of(error)}: it cannot be read: {error}") from None
        self._nodes = self._fields(root, _FILE_FIELDS) if root is not None else {}
        self.language = self._text(self._nodes.get("language"))
        if not self.language:
            self.mistakes.append(f"{self.path}:1: it does not say its `language`")

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty where there is none."""
        return self._texts(self._nodes.get(name))

    def texts_of(self, name: str) -> dict[str, str]:
        """A table of texts."""
        return {key: self._text(node) for key, node in self.nodes_of(name)}

    def lists_of(self, name: str) -> dict[str, list[str]]:
        """A table of lists of texts."""
        return {key: self._texts(node) for key, node in self.nodes_of(name)}

    def nodes_of(self, name: str) -> Iterator[tuple[str, yaml.Node]]:
        """The entries of a table."""
        node = self._nodes.get(name)
        if node is not None:
            yield from self._fields(node, None).items()

    def patterns(self, node: yaml.Node | None, place: str, classes: Classes) -> list[Pattern]:
        """A list of patterns; those that cannot be read are noted."""
        found: list[Pattern] = []
        for item in self._items(node):
            try:
                found.append(compile_pattern(self._text(item), place, classes))
            except PatternError as error:
                self._mistake(item, str(error))
        return found

    def rules(self, classes: Classes, guards: dict[str, list[Pattern]]) -> Iterator[Rule]:
        """The file's rows."""
        for node in self._items(self._nodes.get("rules")):
            row = self._fields(node, _ROW_FIELDS)
            try:
                yield self._rule(node, row, classes, guards)
            except ValueError as error:
                self._mistake(node, str(error))

    def _rule(
        self, node: yaml.Node, row: dict[str, yaml.Node], classes: Classes, guards: dict[str, list[Pattern]]
    ) -> Rule:
        name, intent = self._text(row.get("id")), Intent(self._text(row.get("intent")))
        if not 0 < len(name) <= LONGEST_ID or name.count(".") != 2:
            raise ValueError(f"`id` is to be group.language.name in at most {LONGEST_ID} letters")
        if not row.get("examples"):
            raise ValueError(f"rule {name} has no `examples`")
        patterns = [each for place in PLACES for each in self.patterns(row.get(place), place, classes)]
        words = tuple(fold(word) for word in self._texts(row.get("word")))
        if not patterns and not words:
            raise ValueError(f"rule {name} matches nothing: it needs `word` or one of {', '.join(PLACES)}")
        held = self._is(row.get("guards"), default=True)
        language = self._text(row.get("language")) or name.split(".")[1]
        return Rule(
            id=name,
            intent=intent,
            language=None if language == "any" else language,
            where=f"{self.path}:{_line(node)}",
            order=self.number * _MOST_LINES + _line(node),
            effects=tuple(map(Effect, self._texts(row["effects"]))) if "effects" in row else None,
            alone=self._is(row.get("alone"), default=False),
            over=frozenset(self._texts(row.get("over"))),
            words=words,
            misspelt={word: int(within) for word, within in self._table(row.get("misspelt")).items()},
            patterns=tuple(patterns),
            guards=(
                *self.patterns(row.get("unless"), "anywhere", classes),
                *(guards.get(intent, ()) if held else ()),
            ),
            message_guards=tuple(self.patterns(row.get("unless_message"), "anywhere", classes)),
            examples=tuple(self._texts(row["examples"])),
            counter_examples=tuple(self._texts(row.get("not"))),
        )

    def _is(self, node: yaml.Node | None, *, default: bool) -> bool:
        said = self._text(node)
        if said not in ("", "yes", "no"):
            raise ValueError(f"`{said}` is neither yes nor no")
        return said == "yes" if said else default

    def _table(self, node: yaml.Node | None) -> dict[str, str]:
        return {key: self._text(value) for key, value in self._fields(node, None).items()} if node is not None else {}

    def _fields(self, node: yaml.Node, allowed: frozenset[str] | None) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._mistake(node, "here should be `name: value` lines")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._text(key)
            if name in found:
                self._mistake(key, f"`{name}` stands twice")
            if allowed is not None and name not in allowed:
                self._mistake(key, f"unknown field `{name}`; there are {', '.join(sorted(allowed))}")
            found[name] = value
        return found

    def _items(self, node: yaml.Node | None) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._mistake(node, "here should be a list")
            return []
        return list(node.value)

    def _texts(self, node: yaml.Node | None) -> list[str]:
        return [self._text(item) for item in self._items(node)]

    def _text(self, node: Any) -> str:
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self._mistake(node, "here should be a text (quote it if it holds `[`, `{`, `: ` or ` #`)")
            return ""
        return str(node.value)

    def _mistake(self, node: yaml.Node, reason: str) -> None:
        self.mistakes.append(f"{self.path}:{_line(node)}: {reason}")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _line_of(error: Exception) -> int:
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark is not None else 1
