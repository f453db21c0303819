"""Whether a phone number or mail address can be used, and in which one form it is stored and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType, ValidationResult, timezone

#: A number in more zones than this says nothing of where its owner is (toll-free numbers are in about forty).
INFORMATIVE_ZONES = 2

_NOT_A_PERSON = frozenset(
    {
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.PAGER,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    }
)


@dataclass(frozen=True, slots=True)
class Phone:
    """A usable number.

    `quality` is `valid`, or `possible` where its length is right and its range is in no published plan. Such numbers
    are used: the metadata lags behind new ranges, and a provider that refuses one marks it bad.
    """

    e164: str
    quality: Literal["valid", "possible"]
    zones: tuple[str, ...]
    """IANA zones the number may be in; empty where it says nothing, and then the address decides."""


@dataclass(frozen=True, slots=True)
class Email:
    """A usable address, in lower case."""

    address: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a value cannot be used, without the value."""

    reason: str


def normalise_phone(text: str, region: str = "US") -> Phone | Problem:
    """The number in E.164, read as dialled in `region` where it has no country code (libphonenumber's rules)."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return Problem("not a phone number")
    match phonenumbers.is_possible_number_with_reason(number):
        case ValidationResult.IS_POSSIBLE:
            pass
        case ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
            return Problem("lacks its area code")
        case ValidationResult.TOO_SHORT:
            return Problem("too short for a phone number")
        case ValidationResult.TOO_LONG:
            return Problem("too long for a phone number")
        case _:
            return Problem("not a possible phone number")
    if number.extension:
        return Problem("has an extension: it reaches a switchboard, not the patient")
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    kind = phonenumbers.number_type(number)
    if kind == PhoneNumberType.UNKNOWN:
        return Phone(e164, "possible", ())
    if kind in _NOT_A_PERSON:
        return Problem("a service number, not a person's")
    return Phone(e164, "valid", _informative_zones(number))


def normalise_email(text: str) -> Email | Problem:
    """The address in lower case with its domain in Unicode; the mailbox is not looked up."""
    try:
        checked = validate_email(text.strip(), check_deliverability=False)
    except EmailNotValidError:
        return Problem("not a mail address")
    return Email(checked.normalized.lower())


def _informative_zones(number: phonenumbers.PhoneNumber) -> tuple[str, ...]:
    zones = tuple(sorted(set(timezone.time_zones_for_number(number)) - {timezone.UNKNOWN_TIMEZONE}))
    return zones if len(zones) <= INFORMATIVE_ZONES else ()
