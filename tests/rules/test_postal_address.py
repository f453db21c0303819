"""Addresses mail can be delivered to, and what is said of the others."""

from __future__ import annotations

import pytest

from domain.rules.places import state_code
from domain.rules.postal_address import PostalAddress, is_deliverable, judge, parse

STATES = (
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR "
    "PA RI SC SD TN TX UT VT VA WA WV WI WY AS GU MP PR VI"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 Example Street, Boston, MA 02101", ("1 Example Street", "Boston", "MA", "02101")),
        (
            "1 Example Street, Suite 5, Boston, MA 02101-1234",
            ("1 Example Street, Suite 5", "Boston", "MA", "02101-1234"),
        ),
        ("1 Example Street, Boston MA 02101, USA", ("1 Example Street", "Boston", "MA", "02101")),
        ("1 Example Street\nSt. Paul\nMinnesota 55101", ("1 Example Street", "St. Paul", "Minnesota", "55101")),
        ("1 Example Street, Boston", ("1 Example Street", "Boston", "", "")),
        ("1 Example Street, Boston, MA", ("1 Example Street", "Boston", "MA", "")),
        ("1 Example Street, New York, New York 10001", ("1 Example Street", "New York", "New York", "10001")),
        ("PO Box 12, Boston, MA 02101", ("PO Box 12", "Boston", "MA", "02101")),
        ("1 Road", ("1 Road", "", "", "")),
        ("", ("", "", "", "")),
    ],
)
def test_a_line_is_taken_apart(text: str, expected: tuple[str, str, str, str]) -> None:
    assert parse(text) == PostalAddress(*expected)


@pytest.mark.parametrize(
    "text",
    [
        "1 Example Street, Boston, MA 02101",
        "1 Example Street, Boston, Massachusetts 02101-1234",
        "PO Box 12, Boston, MA 02101",
        "PSC 3 Box 12, APO, AE 09012",
        "Unit 5, DPO, AP 96521",
        "Urb. Las Gladiolas, 150 Calle A, San Juan, PR 00926",
        "1 Example Street, Pago Pago, AS 96799",
    ],
)
def test_nothing_is_said_of_what_can_be_delivered(text: str) -> None:
    assert judge(parse(text)) == []


@pytest.mark.parametrize(
    ("address", "field"),
    [
        (PostalAddress("", "Boston", "MA", "02101"), "street"),
        (PostalAddress("1 Example Street", " ", "MA", "02101"), "city"),
        (PostalAddress("1 Example Street", "Boston", "", "02101"), "state"),
        (PostalAddress("1 Example Street", "Boston", "MA", ""), "postal_code"),
        (PostalAddress("1 Example Street", "Boston", "XX", "02101"), "state"),
        (PostalAddress("1 Example Street", "Boston", "MA", "2101"), "postal_code"),
        (PostalAddress("1 Example Street", "Boston", "MA", "02101-12"), "postal_code"),
        (PostalAddress("PSC 3 Box 12", "APO", "MA", "02101"), "city"),
        (PostalAddress("PSC 3 Box 12", "Boston", "AE", "09012"), "city"),
    ],
)
def test_each_flaw_that_hinders_delivery_is_told_by_its_field(address: PostalAddress, field: str) -> None:
    assert [flaw.field for flaw in judge(address)] == [field]
    assert not is_deliverable(address)


def test_a_zip_code_of_another_state_is_only_a_warning() -> None:
    address = PostalAddress("1 Example Street", "Boston", "MA", "90210")

    assert [(flaw.field, flaw.is_fatal) for flaw in judge(address)] == [("postal_code", False)]
    assert is_deliverable(address)


@pytest.mark.parametrize("state", STATES.split())
def test_every_state_has_zip_codes(state: str) -> None:
    assert state_code(state) == state
    fitting = [prefix for prefix in range(1000) if is_in(state, prefix)]

    assert fitting


def is_in(state: str, prefix: int) -> bool:
    """Whether a code with this prefix looks like one of the state."""
    return judge(PostalAddress("1 Example Street", "Example", state, f"{prefix:03}01")) == []
