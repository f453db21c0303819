"""The grammar of replies: reads the data files, one for each language, and tells every mistake with its line.

`docs/replies.md` explains the files to who writes rules. Word classes of the same name are one class, whichever file
they stand in: so "no quiero texts" is understood with the messages of both languages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import yaml

from domain.rules.replies.misspelt import Corrector, whole_word
from domain.rules.replies.normalise import collapse, fold
from domain.rules.replies.pattern import PLACES, Classes, Courtesy, Pattern, PatternError, compile_pattern
from domain.rules.replies.strip import Stripper
from domain.rules.vocabulary import Effect, Intent

DATA: Final = Path(__file__).parent / "data"
#: Written words remembered with their meaning; names and rare words come back.
_REMEMBERED: Final = 65_536
#: More lines than a file has; of equal rules in two files the first file's is named.
_MOST_LINES: Final = 1_000_000
#: Letters of a word whose last "in" may stand for "ing"; shorter ones are words of their own (thin, win).
_SHORTEST_PARTICIPLE: Final = 6
#: Letters in the ledger's column for the rule.
LONGEST_ID: Final = 48

_ROW_FIELDS: Final = frozenset(
    {"id", "intent", "language", "effects", "over", "word", "misspelt", "unless", "unless_message", "why",
     "examples", "not", *PLACES}
)  # fmt: skip
_FILE_FIELDS: Final = frozenset(
    {"language", "classes", "spellings", "correct", "ordinary_words", "reactions", "media", "quotes", "signatures",
     "closings", "guards", "rules"}
)  # fmt: skip


class GrammarError(ValueError):
    """The rules for replies cannot be used. The text has one `path:line: reason` per mistake."""


@dataclass(frozen=True)
class Rule:
    """One row of a data file."""

    id: str
    intent: Intent
    language: str | None
    """None where the words are asked for in every language (STOP, C): then the patient's own language counts."""
    where: str
    """`file:line`."""
    order: int
    """Of two rules of one intent the one that stands first is named."""
    effects: tuple[Effect, ...] | None
    """None: those of its intent."""
    over: frozenset[str]
    """Intents and rules that count for nothing where this one matches."""
    words: tuple[str, ...]
    """Whole messages, folded."""
    misspelt: dict[str, int]
    patterns: tuple[Pattern, ...]
    guards: tuple[Pattern, ...]
    message_guards: tuple[Pattern, ...]
    examples: tuple[str, ...]
    counter_examples: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """All that the data files say."""

    rules: tuple[Rule, ...]
    classes: Classes
    spellings: dict[str, str]
    meaning: Callable[[str], str]
    """What a written word stands for; nothing for an emoji nobody minds."""
    stripper: Stripper
    courtesy: Courtesy
    words: dict[str, Rule]
    """The rule of a whole message."""
    misspelt: dict[str, int]
    ordinary_words: frozenset[str]

    def keyword(self, words: str) -> Rule | None:
        """The rule of a whole message of these words, misspelt ones included where they can be no ordinary word."""
        if rule := self.words.get(words) or self.words.get(self.spellings.get(words, "")):
            return rule
        if " " in words or not 3 <= len(words) <= 16 or words in self.ordinary_words or words in self.spellings:
            return None
        meant = whole_word(words, self.misspelt)
        return self.words[meant] if meant is not None else None


@cache
def grammar() -> Grammar:
    """The grammar of the data files delivered with the project. Raises GrammarError."""
    return read_grammar(sorted(DATA.glob("*.yaml")))


def read_grammar(paths: Sequence[Path]) -> Grammar:
    """The grammar that these files make together. Raises GrammarError."""
    mistakes: list[str] = []
    sheets = [_Sheet(path, number, mistakes) for number, path in enumerate(paths)]
    entries: dict[str, list[str]] = {}
    spellings: dict[str, str] = {}
    for sheet in sheets:
        for name, words in sheet.lists_of("classes").items():
            entries.setdefault(name, []).extend(words)
        for written, meant in sheet.texts_of("spellings").items():
            spellings[fold(written) or written] = fold(meant)
    classes = Classes(entries, spellings)
    guards: dict[str, list[Pattern]] = {}
    for sheet in sheets:
        for intent, node in sheet.nodes_of("guards"):
            guards.setdefault(intent, []).extend(sheet.patterns(node, "anywhere", classes))
    rules = [rule for sheet in sheets for rule in sheet.rules(classes, guards)]
    known = _unique(rules, mistakes)
    if mistakes:
        raise GrammarError("\n".join(mistakes))
    ordinary = {fold(word) for sheet in sheets for word in sheet.texts("ordinary_words")}
    known_words = _words_known(entries, rules)
    return Grammar(
        rules=tuple(rules),
        classes=classes,
        spellings=spellings,
        meaning=_meaning(
            spellings,
            # a word of any rule is no misspelling: the Spanish contacten is not the English contacting
            Corrector((fold(word) for each in sheets for word in each.texts("correct")), ordinary | known_words),
            frozenset(word for word in known_words if word.endswith("ing")),
        ),
        courtesy=Courtesy(classes.node("courtesy").source),
        stripper=_stripper(sheets),
        words=known,
        misspelt={word: within for rule in rules for word, within in rule.misspelt.items()},
        ordinary_words=frozenset(ordinary),
    )


def _words_known(entries: dict[str, list[str]], rules: Sequence[Rule]) -> frozenset[str]:
    """Every word that a class or a pattern is written with."""
    texts = [text for listed in entries.values() for text in listed]
    texts += [pattern.text for rule in rules for pattern in rule.patterns]
    return frozenset(word for text in texts for word in fold(text).split())


def _meaning(spellings: dict[str, str], corrector: Corrector, participles: frozenset[str]) -> Callable[[str], str]:
    @lru_cache(_REMEMBERED)
    def meaning(written: str) -> str:
        if (meant := spellings.get(written)) is not None:
            return meant
        if not written[0].isalnum():
            return ""
        plain = collapse(written)
        if len(plain) >= _SHORTEST_PARTICIPLE and plain.endswith("in") and f"{plain}g" in participles:
            # blowin', textin'
            return f"{plain}g"
        return spellings.get(plain) or corrector.correct(plain)

    return meaning


def _stripper(sheets: Sequence[_Sheet]) -> Stripper:
    every = {
        name: [text for sheet in sheets for text in sheet.texts(name)]
        for name in ("media", "quotes", "signatures", "closings")
    }
    return Stripper({sheet.language: sheet.texts("reactions") for sheet in sheets}, **every)


def _unique(rules: Sequence[Rule], mistakes: list[str]) -> dict[str, Rule]:
    """The rule of each whole message; ids and words that stand twice, and names nobody knows, are noted."""
    words: dict[str, Rule] = {}
    ids: dict[str, Rule] = {}
    names = {rule.id for rule in rules} | set(Intent)
    for rule in rules:
        found = [f"`over` names {name}, which is no rule and no intent" for name in sorted(rule.over - names)]
        if rule.id in ids:
            found.append(f"rule {rule.id} stands at {ids[rule.id].where} already")
        found += [f"the word `{word}` stands in rule {words[word].id} already" for word in rule.words if word in words]
        strange = [word for word in rule.misspelt if word not in rule.words]
        found += [f"`{word}` can only be misspelt where it is one of the rule's words" for word in strange]
        mistakes += [f"{rule.where}: {reason}" for reason in found]
        ids[rule.id] = rule
        words |= dict.fromkeys(rule.words, rule)
    return words


@dataclass
class _Sheet:
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
        language = self._text(row.get("language")) or name.split(".")[1]
        return Rule(
            id=name,
            intent=intent,
            language=None if language == "any" else language,
            where=f"{self.path}:{_line(node)}",
            order=self.number * _MOST_LINES + _line(node),
            effects=tuple(map(Effect, self._texts(row["effects"]))) if "effects" in row else None,
            over=frozenset(self._texts(row.get("over"))),
            words=words,
            misspelt={word: int(within) for word, within in self._table(row.get("misspelt")).items()},
            patterns=tuple(patterns),
            guards=(*self.patterns(row.get("unless"), "anywhere", classes), *guards.get(intent, ())),
            message_guards=tuple(self.patterns(row.get("unless_message"), "anywhere", classes)),
            examples=tuple(self._texts(row["examples"])),
            counter_examples=tuple(self._texts(row.get("not"))),
        )

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
