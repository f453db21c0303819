"""Every example of the data files is understood as its rule says, and every counter-example is not."""

from __future__ import annotations

import pytest

from domain.rules.replies.grammar import grammar
from domain.rules.replies.index import Index
from domain.rules.replies.intent import EFFECTS, PRECEDENCE, understand
from domain.rules.replies.normalise import normalise
from domain.rules.replies.rule import Rule
from domain.rules.replies.sheet import LONGEST_ID
from domain.rules.vocabulary import Effect, Intent

_RULES = grammar().rules


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule.id)
def test_its_examples_are_understood_as_it_says(rule: Rule) -> None:
    missed = {text: found.rule for text in rule.examples if (found := understand(text)).intent is not rule.intent}

    assert missed == {}


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule.id)
def test_its_counter_examples_are_not(rule: Rule) -> None:
    mistaken = {text for text in rule.counter_examples if understand(text).intent is rule.intent}

    assert mistaken == set()


@pytest.mark.parametrize("rule", [rule for rule in _RULES if rule.words], ids=lambda rule: rule.id)
def test_its_words_alone_name_it_however_they_are_written(rule: Rule) -> None:
    for word in rule.words:
        found = understand(f"  {word.upper()}! ")

        assert (found.rule, found.is_keyword) == (rule.id, True), word


def test_every_rule_fits_its_column_and_every_intent_has_its_place_and_effects() -> None:
    assert max(len(rule.id) for rule in _RULES) <= LONGEST_ID
    assert set(PRECEDENCE) == set(EFFECTS) == set(Intent)
    assert all(effects and (Effect.NONE not in effects or len(effects) == 1) for effects in EFFECTS.values())


@pytest.mark.parametrize("rule", [rule for rule in _RULES if rule.effects], ids=lambda rule: rule.id)
def test_a_rule_that_opts_out_says_so_in_its_effects(rule: Rule) -> None:
    assert (rule.intent is Intent.OPT_OUT) == (Effect.OPT_OUT in (rule.effects or ()))


def test_of_a_thousand_patterns_a_handful_is_tried_on_a_message() -> None:
    texts = [text for rule in _RULES for text in (*rule.examples, *rule.counter_examples)]
    index = Index(_RULES)

    tried = [len(index.look_up(normalise(text, grammar().meaning).split())[1]) for text in texts]

    assert sum(len(rule.patterns) for rule in _RULES) > 900
    # the promise of ten thousand replies a second rests on this
    assert sum(tried) < 15 * len(texts)
