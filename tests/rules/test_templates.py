"""Templates: which one a touch gets, and how it is filled in; and the automatic answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.answers import ANSWERS, answer_template
from domain.rules.sms_text import Encoding, segments
from domain.rules.template_lint import variables
from domain.rules.templates import VARIABLES, Template, TemplateError, VariableKind, choose, render
from domain.rules.vocabulary import TouchKind

SMS = Template(channel="sms", language="en", body="{organisation}: book at {link}. Reply STOP to end.")
EMAIL = Template(channel="email", language="en", subject="Hello", body="{organisation}\n{link}\n{postal_address}")
VALUES = {
    "organisation": "Northstar Health",
    "phone": "+1 303 555 0100",
    "postal_address": "1 Main St, Denver, CO 80014",
    "link": "https://reach.example.org/b/AAAAAAAAAAAAAAAAAAAAAA",
}


ANY = replace(SMS, body="any")
OF_SEGMENT = replace(ANY, segment="6_12_months", body="segment")
OF_KIND = replace(ANY, step_kind=TouchKind.REMINDER, body="kind")
OF_BOTH = replace(OF_SEGMENT, step_kind=TouchKind.REMINDER, body="both")
OF_STEP = replace(ANY, step=3, body="step")
SPANISH = replace(ANY, language="es", body="es")
FRENCH = replace(ANY, language="fr", body="fr")
EVERY = (ANY, OF_SEGMENT, OF_KIND, OF_BOTH, OF_STEP, SPANISH, FRENCH, replace(EMAIL, body="email"))


@pytest.mark.parametrize(
    ("wanted", "body"),
    [
        ({"segment": "never_rebooked"}, "any"),
        ({}, "segment"),
        ({"segment": "never_rebooked", "step_kind": "reminder"}, "kind"),
        ({"segment": "never_rebooked", "step": 3}, "step"),
        # a segment is more to the point than a step
        ({"step": 3}, "segment"),
        ({"step_kind": "reminder"}, "both"),
        # a text in the patient's language is worth more than one that is more to the point
        ({"language": "es", "step_kind": "reminder"}, "es"),
        ({"language": "de", "step_kind": "reminder"}, "both"),
        ({"channel": "email"}, "email"),
    ],
)
def test_the_most_specific_text_is_chosen_whatever_the_order(wanted: dict[str, Any], body: str) -> None:
    touch = {"channel": "sms", "language": "en", "segment": "6_12_months", "step_kind": "outreach", "step": 0} | wanted

    assert {choose(order, **touch).body for order in list(permutations(EVERY))[::997]} == {body}


def test_a_channel_without_a_text_is_an_error_that_names_it() -> None:
    with pytest.raises(TemplateError, match="no voice template"):
        choose(EVERY, channel="voice", language="en", segment="", step_kind="outreach", step=0)


def test_another_language_than_english_never_stands_in() -> None:
    with pytest.raises(TemplateError):
        choose([FRENCH], channel="sms", language="es", segment="", step_kind="outreach", step=0)


def test_values_are_filled_in_where_their_names_stand() -> None:
    assert render("{organisation}, {phone} {phone}", VALUES) == "Northstar Health, +1 303 555 0100 +1 303 555 0100"


@pytest.mark.parametrize("text", ["{name}", "{postal_address}", "{}"])
def test_a_variable_without_a_value_is_an_error(text: str) -> None:
    with pytest.raises(TemplateError, match="no value"):
        render(text, {"organisation": "x", "name": "Jane"})


@given(values=st.fixed_dictionaries(dict.fromkeys(sorted(VARIABLES), st.text())))
def test_a_value_is_never_read_as_a_template(values: dict[str, str]) -> None:
    assert render("{organisation}|{link}", values) == f"{values['organisation']}|{values['link']}"


@pytest.mark.parametrize("language", ["en", "es", "fr", "pt"])
@pytest.mark.parametrize("answer", sorted(ANSWERS))
def test_every_answer_names_the_organisation_and_uses_no_variable_but_the_listed(answer: str, language: str) -> None:
    assert list(variables(answer_template(answer, language, "sms"))) == []


def test_every_variable_has_a_type_and_says_nothing_about_a_patient() -> None:
    assert {each.kind for each in VARIABLES.values()} == set(VariableKind)
    assert not any("patient" in each.says for each in VARIABLES.values())


@pytest.mark.parametrize("language", ["en", "es", "fr", "pt"])
@pytest.mark.parametrize(
    ("answer", "most"),
    [
        ("opt_out_confirmation", 1),
        ("opt_out_confirmation_asking", 1),
        ("opt_out_confirmation_limited", 1),
        ("opt_in_confirmation", 1),
        ("help", 1),
        ("booking_link", 2),
        ("emergency", 1),
    ],
)
def test_an_answer_fits_one_segment_or_two_with_a_link_however_long_the_organisations_name(
    answer: str, most: int, language: str
) -> None:
    values = VALUES | {"organisation": "Northern Plains Community Health Network"}

    counted = segments(render(answer_template(answer, language, "sms").body, values))

    assert counted.encoding == Encoding.GSM_7
    assert counted.segments <= most


def test_the_segments_of_every_answer_are_counted() -> None:
    confirmations = {"opt_out_confirmation", "opt_out_confirmation_asking", "opt_out_confirmation_limited"}

    assert confirmations | {"opt_in_confirmation", "help", "booking_link", "emergency"} == ANSWERS


@pytest.mark.parametrize("language", ["en", "es", "fr", "pt"])
def test_an_answer_with_a_link_fits_one_segment_at_an_organisation_with_a_short_name(language: str) -> None:
    text = render(answer_template("booking_link", language, "sms").body, VALUES | {"link": VALUES["link"][:-6]})

    assert segments(text).segments == 1


@pytest.mark.parametrize(("language", "used"), [("es", "baja"), ("fr", "désabonnement"), ("de", "unsubscribed")])
def test_an_answer_is_in_the_patients_language_or_else_in_english(language: str, used: str) -> None:
    assert used in answer_template("opt_out_confirmation", language, "sms").body


@pytest.mark.parametrize("language", ["en", "es", "fr", "pt"])
def test_the_emergency_text_names_both_numbers_in_every_language(language: str) -> None:
    text = answer_template("emergency", language, "sms").body

    assert "911" in text
    assert "988" in text


def test_an_answer_by_mail_has_a_subject_and_one_by_text_none() -> None:
    assert answer_template("help", "en", "email").subject == "{organisation}"
    assert answer_template("help", "en", "sms").subject is None


def test_there_is_no_answer_of_an_unknown_name() -> None:
    with pytest.raises(KeyError):
        answer_template("joke", "en", "sms")
