"""Signed links: which touch a short token stands for, and that nobody else could have made it.

A token is base62 (no character that mail and SMS clients cut off the end of a link) of the touch's number followed by
64 bits of HMAC-SHA256 over purpose and number. Whoever guesses must ask us, so 64 bits are plenty: 2^63 requests on
average. Tokens do not expire: an old unsubscribe link has to work.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

#: Leads to the site's booking page.
BOOK: Final = "book"
#: RFC 8058 one-click unsubscribing.
UNSUBSCRIBE: Final = "unsubscribe"

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_MAC_BYTES = 8
_MAC_BITS = 8 * _MAC_BYTES
#: Ids are 63-bit; 63 + 64 bits fit 22 base62 digits.
_LONGEST = 22


def make_token(key: bytes, purpose: str, number: int) -> str:
    """The token for `number` (1 … 2^63 - 1), valid for `purpose` only; 12 to 22 characters.

    Raises:
        ValueError: the number is out of range.
    """
    if not 0 < number < 1 << 63:
        raise ValueError("only a positive 63-bit number can be put in a link")
    return _encode(number << _MAC_BITS | int.from_bytes(_mac(key, purpose, number)))


def read_token(key: bytes, purpose: str, token: str) -> int | None:
    """The number in `token`, or None if it was not made by `make_token` with this key for this purpose."""
    value = _decode(token)
    if value is None:
        return None
    number, mac = value >> _MAC_BITS, value & (1 << _MAC_BITS) - 1
    if not 0 < number < 1 << 63:
        return None
    return number if hmac.compare_digest(mac.to_bytes(_MAC_BYTES), _mac(key, purpose, number)) else None


def _mac(key: bytes, purpose: str, number: int) -> bytes:
    # the prefix keeps links apart from blind indexes, which may be made with the same key
    return hmac.digest(key, f"reactivate link\0{purpose}\0{number}".encode(), hashlib.sha256)[:_MAC_BYTES]


def _encode(value: int) -> str:
    digits = []
    while value:
        value, digit = divmod(value, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _decode(token: str) -> int | None:
    if not 0 < len(token) <= _LONGEST or token.startswith("0"):
        return None
    value = 0
    for digit in token:
        step = _VALUES.get(digit)
        if step is None:
            return None
        value = value * 62 + step
    return value
