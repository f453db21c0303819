"""The lint: what keeps a template from being sent, told with the rule, the words, the line and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.rules.template_lint import Finding, lint
from domain.rules.templates import Template
from producers.lexicon import lexicon

SMS = Template(channel="sms", language="en", body="{organisation}: book at {link}. Reply STOP to end.")
EMAIL = Template(channel="email", language="en", subject="Hello", body="{organisation}\n{link}\n{postal_address}")
PHONE = Template(
    channel="phone",
    language="en",
    body="Hello, this is {organisation}. If you prefer, we will not call you again.",
)
PUSH = Template(channel="push", language="en", subject="Hello", body="{organisation}: pick a time")
VOICEMAIL = Template(channel="voicemail", language="es", body="Le llama {organisation}. Nuestro teléfono es {phone}.")


def found(template: Template) -> list[Finding]:
    return lint(template, lexicon())


@pytest.mark.parametrize("template", [SMS, EMAIL, PHONE, PUSH, VOICEMAIL], ids=lambda each: each.channel)
def test_usable_templates_have_no_findings(template: Template) -> None:
    assert found(template) == []


@pytest.mark.parametrize(
    ("template", "rule", "words"),
    [
        (replace(SMS, body=SMS.body + " {first_name}"), "variable.unknown", "{first_name}"),
        (replace(SMS, body=SMS.body + " {organisation!r}"), "variable.unknown", "{organisation!r}"),
        (replace(SMS, body=SMS.body + " {}"), "variable.unknown", "{}"),
        (replace(SMS, body=SMS.body + " {link"), "variable.brace", ""),
        (replace(SMS, body=SMS.body + " link}"), "variable.brace", ""),
        (replace(SMS, body=SMS.body + " {postal_address}"), "variable.channel", "{postal_address}"),
        (replace(VOICEMAIL, body=VOICEMAIL.body + " {link}"), "variable.channel", "{link}"),
        (replace(PUSH, subject="Hello {phone}"), "variable.channel", "{phone}"),
        (replace(EMAIL, subject="Dear {patient}"), "variable.unknown", "{patient}"),
        (replace(SMS, body="We miss you! {link} Reply STOP to end."), "organisation.missing", ""),
        (replace(SMS, body="{organisation}: book at {link}."), "optout.missing", ""),
        (replace(SMS, body="{organisation}: book at {link}. Reply Stop to end."), "optout.missing", ""),
        (replace(PHONE, body="Hello, this is {organisation}."), "optout.missing", ""),
        (replace(EMAIL, body="{organisation} {link}"), "postal_address.missing", ""),
        (replace(EMAIL, subject=None), "subject.missing", ""),
        (replace(SMS, subject="Hello"), "subject.unwanted", "Hello"),
        (replace(PUSH, subject="x" * 51), "length.subject", "x" * 51),
        (replace(PUSH, body=PUSH.body + " now" * 40), "length.characters", ""),
        (replace(SMS, body=SMS.body + " more" * 50), "length.segments", ""),
        # an accent that GSM-7 does not have makes two segments of 134 units out of two of 306
        (replace(SMS, body=SMS.body + " más" * 20), "length.segments", ""),
        (replace(SMS, body=SMS.body + " Your diabetes"), "clinical.condition", "diabetes"),
        (replace(SMS, body=SMS.body + " Su diabetes"), "clinical.condition", "diabetes"),
        (replace(SMS, body=SMS.body + " Oncology"), "clinical.specialty", "Oncology"),
        (replace(SMS, body=SMS.body + " Our nurses"), "clinical.clinician", "nurses"),
        (replace(SMS, body=SMS.body + " Refills"), "clinical.medicine", "Refills"),
        (replace(SMS, body=SMS.body + " A mammogram"), "clinical.test", "mammogram"),
        (replace(SMS, body=SMS.body + " Knees"), "clinical.body", "Knees"),
        (replace(SMS, body=SMS.body + " Medicare"), "clinical.record", "Medicare"),
        (replace(SMS, body=SMS.body + " Due 3/4/2026"), "clinical.date", "3/4/2026"),
        (replace(SMS, body=SMS.body + " Do not wait"), "tone.pressure", "Do not wait"),
        (replace(SMS, body=SMS.body + " You missed it"), "tone.blame", "You missed"),
        (replace(SMS, body=SMS.body + " It is serious"), "tone.fear", "serious"),
        (replace(SMS, body=SMS.body + " A gift card"), "tone.bait", "gift card"),
        (replace(SMS, body=SMS.body + " COME BACK"), "tone.capitals", "COME"),
        (replace(SMS, body=SMS.body + " Hi! Hello!"), "tone.exclamation", "!!"),
        (replace(SMS, body=SMS.body + " https://evil.example/x"), "link.foreign", "https://evil.example/x"),
        (replace(SMS, body=SMS.body + " see example.com"), "link.foreign", "example.com"),
        (replace(SMS, body=SMS.body + " a@example.invalid"), "link.address", "a@example.invalid"),
        (replace(SMS, body=SMS.body + " 303 555 0100"), "number.foreign", "303 555 0100"),
        # a Cyrillic с
        (replace(SMS, body=SMS.body + " сancer"), "letters.foreign", "сancer"),
        (replace(SMS, channel="fax"), "channel.unknown", "fax"),
        (replace(SMS, language="fr"), "language.unknown", "fr"),
    ],
)
def test_each_rule_names_the_offending_words(template: Template, rule: str, words: str) -> None:
    told = found(template)

    assert rule in {each.rule for each in told}
    assert words in {each.words for each in told if each.rule == rule}
    assert all(each.advice for each in told)


def test_a_clinician_by_name_is_found_twice_over() -> None:
    assert [each.words for each in found(replace(EMAIL, subject="Dr. Alvarez misses you"))] == ["Dr", "Dr. Alvarez"]


def test_every_finding_is_told_at_once() -> None:
    told = found(replace(SMS, body="{name}, COME back to your dentist!!"))

    assert {each.rule for each in told} == {
        "variable.unknown",
        "organisation.missing",
        "optout.missing",
        "tone.exclamation",
        "tone.capitals",
        "clinical.specialty",
    }


def test_a_finding_tells_the_line_of_the_body_it_is_on() -> None:
    told = found(replace(EMAIL, body="{organisation}\n\nYour knee\nand SHOUTING\n{postal_address} 303 555 0100"))

    assert {each.rule: each.line for each in told} == {
        "clinical.body": 2,
        "tone.capitals": 3,
        "number.foreign": 4,
    }


def test_a_finding_in_the_subject_is_on_no_line() -> None:
    told = found(replace(EMAIL, subject="Your KNEE"))

    assert [(each.field, each.line) for each in told] == [("subject", None), ("subject", None)]


def test_a_word_of_care_is_found_in_every_language_of_the_text() -> None:
    spanish = replace(VOICEMAIL, body=VOICEMAIL.body + " Your flu. Su gripe.")

    assert [each.words for each in found(spanish)] == ["gripe", "flu"]


def test_smart_punctuation_costs_nothing_as_it_is_folded_before_it_is_counted() -> None:
    assert found(replace(SMS, body=SMS.body + " It’s fine…" * 10)) == []


def test_the_cause_of_short_segments_is_told() -> None:
    (told,) = found(replace(SMS, body=SMS.body + " más" * 20))

    assert "because of á" in told.advice


def test_a_value_of_a_variable_is_not_judged() -> None:
    # neither the sample's street number nor its link is a foreign one
    assert found(replace(EMAIL, body="{organisation} {phone} {link}\n{postal_address}")) == []
