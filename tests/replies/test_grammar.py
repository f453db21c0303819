"""The data files: a mistake is told with its file and line, and patterns mean what docs/replies.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.rules.replies.grammar import read_grammar
from domain.rules.replies.intent import Reader
from domain.rules.replies.sheet import GrammarError
from domain.rules.vocabulary import Effect, Intent

_HEAD = """language: en
classes:
  courtesy: [please, thank you]
  colour: [red, dark blue]
spellings: {u: you, "dont": do not, "🛑": stop}
correct: [message, stop]
ordinary_words: [massage, step]
"""
_ROW = "rules:\n- id: optout.en.x\n  intent: opt_out\n  examples: [x]\n"


def _reader(tmp_path: Path, row: str) -> Reader:
    path = tmp_path / "en.yaml"
    path.write_text(f"{_HEAD}{_ROW}{row}", encoding="utf-8")
    return Reader(read_grammar([path]))


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("green tea", ["Green tea!", "i like green tea a lot", "GREEN, tea"], ["green", "tea green", "evergreen tea", "green. tea"]),
        ("(green|black) tea", ["green tea", "black tea"], ["red tea"]),
        ("green [hot] tea", ["green tea", "green hot tea"], ["green cold tea"]),
        ("<colour> tea", ["red tea", "dark blue tea"], ["dark tea"]),
        ("green .. tea", ["green tea", "green one two tea"], ["green one two three tea", "green a. tea"]),
        ("green ... tea", ["green one two three four five tea"], ["green one two three four five six tea"]),
        ("green _ tea", ["green hot tea"], ["green tea", "green one two tea"]),
        ("green* tea", ["green tea", "greenish tea"], ["gree tea"]),
        ("green *ing", ["green evening"], ["green evenings", "green"]),
        ("green <digits>", ["green 12", "green 3pm"], ["green three"]),
        ("tea & green", ["green or tea", "tea? no. tea is green"], ["tea. green"]),
        ("green ?", ["so green?", "green ??"], ["green", "green tea?"]),
        ("don't", ["i don't", "I DONT", "i do not"], ["do it"]),
        ("you stop", ["u 🛑", "you stop"], ["stop"]),
        ("one message", ["one mesage", "one messagee"], ["one massage", "one mess"]),
        ("one stop", ["one stpo", "one stoo"], ["one step", "one st"]),
        ("one boiling", ["one boilin", "one boilin'"], ["one boil"]),
        ("(one message|un messaje)", ["one mesage", "un messaje"], ["un message"]),
    ],
)  # fmt: skip
def test_a_pattern_matches_anywhere(tmp_path: Path, pattern: str, matching: list[str], others: list[str]) -> None:
    quoted = pattern.replace("'", "''")
    reader = _reader(tmp_path, f"  anywhere: ['{quoted}']\n")

    assert {text for text in matching if reader.understand(text).intent is not Intent.OPT_OUT} == set()
    assert {text for text in others if reader.understand(text).intent is Intent.OPT_OUT} == set()


@pytest.mark.parametrize(
    ("place", "matching", "others"),
    [
        ("whole", ["green tea", "please, green tea! thank you", "green. tea"], ["hot green tea", "green tea. now"]),
        ("sentence", ["green tea", "no. please green tea thank you. ok"], ["hot green tea", "green tea now"]),
        ("start", ["green tea now", "no. please green tea"], ["hot green tea"]),
        ("end", ["hot green tea", "hot green tea please. ok"], ["green tea now"]),
    ],
)
def test_a_pattern_stands_in_its_place(tmp_path: Path, place: str, matching: list[str], others: list[str]) -> None:
    reader = _reader(tmp_path, f"  {place}: [green tea]\n")

    assert {text for text in matching if reader.understand(text).intent is not Intent.OPT_OUT} == set()
    assert {text for text in others if reader.understand(text).intent is Intent.OPT_OUT} == set()


def test_a_guard_counts_in_its_sentence_and_a_guard_of_the_message_everywhere(tmp_path: Path) -> None:
    reader = _reader(tmp_path, "  anywhere: [green tea]\n  unless: [never]\n  unless_message: [joke]\n")

    said = {text: reader.understand(text).intent is Intent.OPT_OUT for text in
            ("never green tea", "never. green tea", "green tea. joke", "never green tea. green tea")}  # fmt: skip

    assert said == {
        "never green tea": False,
        "never. green tea": True,
        "green tea. joke": False,
        "never green tea. green tea": True,
    }


# ruff: noqa: E501 - a row and what is said of it stand on one line
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("  anywhere: [green (tea]\n", "en.yaml:12: `(` is never closed"),
        ("  anywhere: [<tea>]\n", "en.yaml:12: there is no word class <tea>"),
        ("  anywhere: [green-tea]\n", "en.yaml:12: `green-tea` is no word"),
        ("  anywhere: ['[green]']\n", "en.yaml:12: it has no word that must be there"),
        ("  start: [a & b]\n", "en.yaml:12: `&` is for patterns that may stand anywhere"),
        ("  anywhere: green\n", "en.yaml:12: here should be a list"),
        ("  colour: red\n", "en.yaml:12: unknown field `colour`"),
        ("  why: because\n", "en.yaml:9: rule optout.en.x matches nothing"),
        ("  word: [a]\n- {id: help.en.y, intent: help, word: [a], examples: [a]}\n", "en.yaml:13: the word `a` stands in rule optout.en.x already"),
        ("  word: [a]\n- {id: optout.en.x, intent: help, word: [b], examples: [b]}\n", "en.yaml:13: rule optout.en.x stands at"),
        ("  word: [a]\n- {id: help.en.y, intent: halp, word: [b], examples: [b]}\n", "en.yaml:13: 'halp' is not a valid Intent"),
        ("  word: [a]\n- {id: help.en.y, intent: help, word: [b]}\n", "en.yaml:13: rule help.en.y has no `examples`"),
        ("  word: [a]\n  effects: [tea]\n", "en.yaml:9: 'tea' is not a valid Effect"),
        ("  word: [a]\n  misspelt: {b: 1}\n", "en.yaml:9: `b` can only be misspelt where it is one of the rule's words"),
        ("  word: [a]\n  over: [nobody.en.knows]\n", "en.yaml:9: `over` names nobody.en.knows, which is no rule and no intent"),
        ("  word: [a\n", "en.yaml:"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(GrammarError) as raised:
        _reader(tmp_path, row)

    assert said in str(raised.value)


def test_a_class_that_contains_itself_is_told(tmp_path: Path) -> None:
    path = tmp_path / "en.yaml"
    path.write_text(f"language: en\nclasses: {{courtesy: [a], b: [<c>], c: [<b>]}}\n{_ROW}  anywhere: [<b>]\n")

    with pytest.raises(GrammarError, match="the word class <b> contains itself"):
        read_grammar([path])


def test_what_opens_the_message_is_not_looked_for_in_a_later_sentence(tmp_path: Path) -> None:
    reader = _reader(tmp_path, "  opens: [green tea]\n")

    assert reader.understand("please, green tea is fine. thank you").intent is Intent.OPT_OUT
    assert reader.understand("thank you. green tea is fine").intent is Intent.OTHER


def test_a_refusal_may_be_a_clause_of_a_sentence(tmp_path: Path) -> None:
    reader = _reader(tmp_path, "  sentence: [green tea]\n  unless: [cold]\n")

    refusing = ["it is late, green tea", "it is late - green tea", "it is late but green tea", "green tea, it is late?"]
    assert {text for text in refusing if reader.understand(text).intent is not Intent.OPT_OUT} == set()
    assert reader.understand("it is cold, green tea").intent is Intent.OTHER, (
        "what holds it back may be in another clause"
    )
    assert reader.understand("it is late for green tea").intent is Intent.OTHER


def test_the_guards_of_an_intent_hold_back_only_rules_that_do_not_refuse_them(tmp_path: Path) -> None:
    guards = "guards: {opt_out: [cold]}\n"
    held = _reader(tmp_path, f"  anywhere: [green tea]\n{guards}").understand("cold green tea")
    free = _reader(tmp_path, f"  anywhere: [green tea]\n  guards: no\n{guards}").understand("cold green tea")

    assert (held.intent, free.intent) == (Intent.OTHER, Intent.OPT_OUT)


def test_a_rule_that_stands_alone_adds_nothing_beside_an_earlier_intent(tmp_path: Path) -> None:
    grumble = "- id: complaint.en.x\n  intent: complaint\n  anywhere: [black tea]\n  examples: [x]\n"
    beside = _reader(tmp_path, f"  anywhere: [green tea]\n{grumble}").understand("green tea and black tea")
    reader = _reader(tmp_path, f"  anywhere: [green tea]\n{grumble}  alone: yes\n")

    assert beside.effects == (Effect.OPT_OUT, Effect.PAUSE, Effect.HUMAN)
    assert reader.understand("green tea and black tea").effects == (Effect.OPT_OUT,)
    assert reader.understand("black tea").intent is Intent.COMPLAINT


def test_yes_and_no_are_the_only_answers_to_a_yes_or_no(tmp_path: Path) -> None:
    with pytest.raises(GrammarError, match="`perhaps` is neither yes nor no"):
        _reader(tmp_path, "  anywhere: [green tea]\n  alone: perhaps\n")


_BESIDE = """  anywhere: [tea]
- id: optout.en.later
  intent: opt_out
  anywhere: [tea]
  examples: [x]
- id: optout.en.threat
  intent: opt_out
  effects: [opt_out, pause]
  anywhere: [tea]
  examples: [x]
"""


def test_a_rule_behind_one_that_says_it_all_is_spared_but_not_what_it_has_beside(tmp_path: Path) -> None:
    understood = _reader(tmp_path, _BESIDE).understand("green tea, please")

    assert understood.rule == "optout.en.x"
    assert understood.effects == (Effect.OPT_OUT, Effect.PAUSE)


def test_a_rule_that_another_passes_over_spares_none(tmp_path: Path) -> None:
    passing = "- id: question.en.y\n  intent: question\n  over: [optout.en.x]\n  anywhere: [tea]\n  examples: [x]\n"

    understood = _reader(tmp_path, _BESIDE + passing).understand("green tea, please")

    assert understood.rule == "optout.en.later"
