"""Phone numbers and addresses in their one form: against libphonenumber's own examples, never lost without a word."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.identity import Email, Phone, Problem, normalise_email, normalise_phone
from domain.rules.places import state_code, zone_of_state

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "identity"


def rows(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs shared/data/identity/{name} beside the project")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "written", ["+1 303 555 0101", "(303) 555-0101", "303.555.0101", "1-303-555-0101", "tel:+1-303-555-0101"]
)
def test_a_number_has_one_form_however_it_is_written(written: str) -> None:
    assert normalise_phone(written) == Phone("+13035550101", "valid", ("America/Denver",))


def test_a_number_of_the_right_length_in_no_known_range_is_kept_as_possible() -> None:
    assert normalise_phone("555-978-4581") == Phone("+15559784581", "possible", ())


def test_a_number_in_many_zones_says_nothing_of_where_its_owner_is() -> None:
    assert normalise_phone("+1 800 555 0100") == Phone("+18005550100", "valid", ())


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "not a phone number"),
        ("call me", "not a phone number"),
        ("555-0101", "lacks its area code"),
        ("911", "too short for a phone number"),
        ("+1 303 555 01011111", "too long for a phone number"),
        ("303 555 0101 x12", "has an extension: it reaches a switchboard, not the patient"),
        ("+1 900 234 5678", "a service number, not a person's"),
    ],
)
def test_an_unusable_number_is_refused_with_a_reason(written: str, reason: str) -> None:
    assert normalise_phone(written) == Problem(reason)


def test_the_examples_of_every_country_are_read_as_their_e164_form() -> None:
    people = {"MOBILE", "FIXED_LINE", "FIXED_LINE_OR_MOBILE", "PERSONAL_NUMBER", "VOIP", "TOLL_FREE"}

    wrong = [
        row["e164"]
        for row in rows("phone_examples_libphonenumber.csv")
        if row["type"] in people
        and (not isinstance(found := normalise_phone(row["international"]), Phone) or found.e164 != row["e164"])
    ]

    # an example of one type may be a service number by another country's plan of the same code
    assert len(wrong) <= 5, wrong


def test_area_codes_give_their_zones_where_these_are_few() -> None:
    for row in rows("nanpa_areacode_timezones.csv"):
        found = normalise_phone(row["e164"])
        zones = tuple(sorted(row["timezones"].split("|")))
        if not isinstance(found, Phone) or row["valid"] != "1":
            assert not isinstance(found, Phone) or found.zones == ()
        else:
            assert found.zones == (zones if len(zones) <= 2 else ())


def test_invalid_examples_are_never_called_valid() -> None:
    for row in rows("phone_invalid_examples.csv"):
        found = normalise_phone(row["input"])
        assert isinstance(found, Problem) or found.quality == "possible"


def test_naughty_strings_are_refused_or_read_but_never_an_error() -> None:
    path = DATA / "blns.json"
    if not path.exists():
        pytest.skip("needs shared/data/identity/blns.json beside the project")

    for text in json.loads(path.read_text(encoding="utf-8")):
        assert isinstance(normalise_phone(text), Phone | Problem)
        assert isinstance(normalise_email(text), Email | Problem)


@given(st.text(max_size=40))
def test_no_text_is_an_error(text: str) -> None:
    assert isinstance(normalise_phone(text), Phone | Problem)
    assert isinstance(normalise_email(text), Email | Problem)


def test_an_address_has_one_form() -> None:
    assert normalise_email("  Jane.Doe@Example.ORG ") == Email("jane.doe@example.org")
    assert normalise_email("jane@bücher.example.org") == normalise_email("jane@xn--bcher-kva.example.org")


@pytest.mark.parametrize("written", ["", "jane", "jane@", "jane@localhost", "jane@example", "a b@example.org"])
def test_what_is_no_address_is_refused_without_the_value(written: str) -> None:
    assert normalise_email(written) == Problem("not a mail address")


def test_states_are_known_by_code_and_name_and_some_keep_one_time() -> None:
    assert [state_code(text) for text in ("MA", "massachusetts", " District of Columbia ", "Bavaria", "")] == [
        "MA",
        "MA",
        "DC",
        None,
        None,
    ]
    assert zone_of_state("AZ") == "America/Phoenix"
    assert zone_of_state("TX") is None
