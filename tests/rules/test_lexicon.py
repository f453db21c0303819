"""The lexicon: every rule finds its examples and spares its counter-examples, inflections and accents included."""

from __future__ import annotations

import re

import pytest

from domain.rules import neutral_text
from domain.rules.template_lint import lint
from domain.rules.templates import Template
from domain.rules.wording import Text, WordRule
from producers.lexicon import RuleEntry, lexicon, word_files, word_rule

ENTRIES = [(each.language, entry) for each in word_files() for entry in each.rules]
EXAMPLES = [(language, entry, text) for language, entry in ENTRIES for text in entry.examples]
COUNTER_EXAMPLES = [(language, entry, text) for language, entry in ENTRIES for text in entry.counter_examples]


def named(case: tuple[str, RuleEntry, str]) -> str:
    language, entry, text = case
    return f"{entry.id}-{language}-{text}"


@pytest.mark.parametrize("case", EXAMPLES, ids=named)
def test_every_rule_finds_its_examples(case: tuple[str, RuleEntry, str]) -> None:
    language, entry, text = case

    assert list(word_rule(entry, language).matches(Text(text)))


@pytest.mark.parametrize("case", COUNTER_EXAMPLES, ids=named)
def test_every_rule_and_every_other_spares_its_counter_examples(case: tuple[str, RuleEntry, str]) -> None:
    language, _, text = case

    assert [(rule.id, each) for rule in lexicon().rules_for(language) for each in rule.matches(Text(text))] == []


@pytest.mark.parametrize(("language", "entry"), ENTRIES, ids=lambda each: getattr(each, "id", each))
def test_every_term_of_every_rule_is_found(language: str, entry: RuleEntry) -> None:
    rule = word_rule(entry, language)

    assert [term for term in entry.terms if not list(rule.matches(Text(re.sub("[*=]", "", term))))] == []


@pytest.mark.parametrize("language", ["en", "es"])
def test_each_language_has_every_rule_and_every_rule_its_sources(language: str) -> None:
    rules = {entry.id for each, entry in ENTRIES if each == language}

    assert rules == {entry.id for _, entry in ENTRIES}
    assert {f"clinical.{each}" for each in ("condition", "specialty", "clinician", "medicine", "test")} <= rules
    assert all(entry.sources for _, entry in ENTRIES)


@pytest.mark.parametrize(
    ("language", "terms", "text", "found"),
    [
        ("en", ["diabet*"], "DIABETES, Diabetic; diabètes", ["DIABETES", "Diabetic", "diabètes"]),
        ("en", ["allergy"], "allergy allergies allergen", ["allergy", "allergies"]),
        ("en", ["test"], "test tests attest testes contest", ["test", "tests", "testes"]),
        ("en", ["=dose"], "dose doses", ["dose"]),
        ("en", ["blood pressure"], "blood  pressures, blood-pressure", ["blood pressures", "blood-pressure"]),
        ("en", ["don t wait"], "Don’t wait. don't wait", ["Don’t wait", "don't wait"]),
        ("es", ["médico"], "médico médica medicos MÉDICAS", ["médico", "médica", "medicos", "MÉDICAS"]),
        ("es", ["doctor"], "doctor doctora doctores", ["doctor", "doctora", "doctores"]),
        ("es", ["lápiz"], "lápiz lápices", ["lápiz", "lápices"]),
        # what hides a word from a reader of bytes hides it from no reader of words
        ("en", ["cancer"], "can\u200bcer can\u00adcer ｃａｎｃｅｒ", ["cancer", "cancer", "cancer"]),
        ("es", ["anemia"], "ane\u0301mia", ["anémia"]),
    ],
)
def test_terms_are_found_in_their_inflections(language: str, terms: list[str], text: str, found: list[str]) -> None:
    rule = WordRule("tone.test", language, "tests", "do not", terms)

    assert [each.words for each in rule.matches(Text(text))] == found


def test_a_turn_of_phrase_that_means_something_else_is_spared_and_the_word_beside_it_is_not() -> None:
    rule = WordRule("clinical.body", "en", "names", "do not", ["heart"], ["with all our heart"])

    assert [each.words for each in rule.matches(Text("With all our heart: your heart!"))] == ["heart"]


def test_a_match_tells_its_line() -> None:
    rule = WordRule("clinical.body", "en", "names", "do not", ["knee"])

    assert [each.line for each in rule.matches(Text("Hello,\n\nyour knee\nand knees"))] == [2, 3]


def test_what_the_audit_judges_by_is_in_the_lexicon_too() -> None:
    rules = [rule for rule in lexicon().rules if rule.is_about_care]
    # its French words stand alone: a text in French is not accepted at all
    french = {"grossesse", "ordonnance", "medecin"}
    audited = {*neutral_text._STEMS.split(), *neutral_text._WHOLE.split()} - french

    missing = sorted(each for each in audited if not any(list(rule.matches(Text(each))) for rule in rules))

    assert missing == []


def test_a_new_channel_is_judged_by_a_strict_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.lexicon.discover", lambda: {"pigeon": object(), "sms": object()})

    made = lexicon.__wrapped__()

    told = lint(Template(channel="pigeon", language="en", body="{organisation}: coo"), made)
    assert [each.rule for each in told] == ["phone.missing"]
    assert made.forms["sms"] == lexicon().forms["sms"]


def test_another_lexicon_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.lexicon.word_files", lambda: word_files()[1:])

    other = lexicon.__wrapped__()

    assert re.fullmatch("[0-9a-f]{12}", lexicon().version)
    assert other.version != lexicon().version
