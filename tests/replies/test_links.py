"""Signed links: short, bound to their purpose, and not to be made up."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules import links

_KEY = b"a-link-key-of-the-tests-32-bytes"
_NUMBERS = st.integers(min_value=1, max_value=2**63 - 1)


@given(_NUMBERS)
def test_a_token_gives_back_its_number_and_stays_short(number: int) -> None:
    token = links.make_token(_KEY, links.BOOK, number)

    assert links.read_token(_KEY, links.BOOK, token) == number
    assert len(token) <= 22
    assert set(token) <= set(string.ascii_letters + string.digits)


@given(_NUMBERS, st.integers(min_value=0, max_value=21), st.sampled_from(string.ascii_letters + string.digits))
def test_a_token_changed_in_any_place_is_refused(number: int, place: int, digit: str) -> None:
    token = links.make_token(_KEY, links.BOOK, number)
    changed = token[: place % len(token)] + digit + token[place % len(token) + 1 :]

    assert (links.read_token(_KEY, links.BOOK, changed) is None) == (changed != token)


def test_a_booking_link_does_not_unsubscribe() -> None:
    token = links.make_token(_KEY, links.BOOK, 7)

    assert links.read_token(_KEY, links.UNSUBSCRIBE, token) is None


def test_another_key_opens_nothing() -> None:
    token = links.make_token(_KEY, links.BOOK, 7)

    assert links.read_token(b"x" * 32, links.BOOK, token) is None


@pytest.mark.parametrize(
    "token", ["", "0", "7", "A" * 22, "z" * 22, "A" * 23, "é", "../../x", "0" + "A" * 14, "%00", "１２３"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert links.read_token(_KEY, links.BOOK, token) is None


@pytest.mark.parametrize("number", [0, -1, 2**63])
def test_a_number_out_of_range_is_an_error(number: int) -> None:
    with pytest.raises(ValueError, match="63-bit"):
        links.make_token(_KEY, links.BOOK, number)


def test_tokens_in_messages_already_sent_stay_valid() -> None:
    # a change of the scheme would silence the unsubscribe links in patients' mailboxes
    assert links.make_token(_KEY, links.UNSUBSCRIBE, 123456) == "BNsmI10cmjvbHI"
