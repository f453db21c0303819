"""The grammar of replies: reads the data files, one for each language, and tells every mistake with its line.

`docs/replies.md` explains the files to who writes rules. Word classes of the same name are one class, whichever file
they stand in: so "no quiero texts" is understood with the messages of both languages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from domain.rules.replies.form import Courtesy
from domain.rules.replies.misspelt import Corrector, whole_word
from domain.rules.replies.normalise import collapse, fold
from domain.rules.replies.pattern import Classes, Pattern
from domain.rules.replies.rule import Rule
from domain.rules.replies.sheet import GrammarError, Sheet
from domain.rules.replies.strip import Stripper
from domain.rules.vocabulary import Intent

DATA: Final = Path(__file__).parent / "data"
#: Written words remembered with their meaning; names and rare words come back.
_REMEMBERED: Final = 65_536
#: Letters of a word whose last "in" may stand for "ing"; shorter ones are words of their own (thin, win).
_SHORTEST_PARTICIPLE: Final = 6


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
        if " " in words and (split := self.words.get(words.replace(" ", ""))) and split.intent is Intent.OPT_OUT:
            # "sto p", "un subscribe"
            return split
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
    sheets = [Sheet(path, number, mistakes) for number, path in enumerate(paths)]
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
    texts += [each.text for rule in rules for each in (*rule.patterns, *rule.guards, *rule.message_guards)]
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


def _stripper(sheets: Sequence[Sheet]) -> Stripper:
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
