"""What is wrong with a value of a file, said in words of the house: what was expected, and what to write instead.

The checks are pydantic's; its own sentences speak of inputs, dictionaries and tuples, which nobody wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

#: Forms a text may have, by their regular expression. A form without words here fails a test.
FORMS: Final = {
    r"^[a-z]{2}$": "a language in two small letters, such as en",
    r"^[a-z0-9][a-z0-9-]{1,62}$": "2 to 63 small letters, digits and -, such as spring-walk",
    r"^[a-z][a-z0-9-]{1,62}$": "2 to 63 small letters, digits and -, a letter first, such as welcome-back",
    r"^[a-z0-9][a-z0-9-]{1,62}@[0-9]{1,4}$": "a template as KEY@VERSION, such as spring-walk@1",
    r"^[a-z0-9][a-z0-9_-]*$": "small letters, digits, - and _, such as north",
    r"^https?://\S+$": "an address that begins with https://, without spaces",
    r"^(clinical|tone)\.[a-z]+$": "clinical. or tone. and a word in small letters, such as tone.pressure",
    r"^[a-z_]+(\.[a-z0-9-]+)+$": "names in small letters with dots between them, such as hours.us-fl",
}

_FIELDS: Final = "fields, one `name: value` a line"
_LIST: Final = "a list, as in [a, b] or with `- ` before each entry"

#: What was expected, by the type of the error.
_EXPECTED: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "model_type": lambda _: _FIELDS,
    "dict_type": lambda _: _FIELDS,
    "dataclass_type": lambda _: _FIELDS,
    "tuple_type": lambda _: _LIST,
    "list_type": lambda _: _LIST,
    "string_type": lambda _: "a text",
    "string_unicode": lambda _: "a text",
    "path_type": lambda _: "the path of a file or folder",
    "is_instance_of": lambda _: "the path of a file or folder",
    "int_type": lambda _: "a whole number, such as 7",
    "int_parsing": lambda _: "a whole number, such as 7",
    "int_from_float": lambda _: "a whole number, such as 7",
    "int_parsing_size": lambda _: "a whole number with fewer digits",
    "float_type": lambda _: "a number, such as 0.1",
    "float_parsing": lambda _: "a number, such as 0.1",
    "finite_number": lambda _: "a number, such as 0.1",
    "bool_type": lambda _: "true or false",
    "bool_parsing": lambda _: "true or false",
    "date_type": lambda _: "a date, such as 2026-03-08",
    "date_parsing": lambda _: "a date, such as 2026-03-08",
    "date_from_datetime_parsing": lambda _: "a date, such as 2026-03-08",
    "date_from_datetime_inexact": lambda _: "a date without a time of day, such as 2026-03-08",
    "time_type": lambda _: "a time of day in quotes, such as '10:30'",
    "time_parsing": lambda _: "a time of day in quotes, such as '10:30'",
    "datetime_type": lambda _: "an instant with its offset, such as 2026-03-08T01:30Z",
    "datetime_parsing": lambda _: "an instant with its offset, such as 2026-03-08T01:30Z",
    "datetime_from_date_parsing": lambda _: "an instant with its offset, such as 2026-03-08T01:30Z",
    "timezone_aware": lambda _: "an instant with its offset, such as 2026-03-08T01:30Z",
    "greater_than": lambda ctx: f"more than {_number(ctx['gt'])}",
    "greater_than_equal": lambda ctx: f"{_number(ctx['ge'])} or more",
    "less_than": lambda ctx: f"less than {_number(ctx['lt'])}",
    "less_than_equal": lambda ctx: f"{_number(ctx['le'])} or less",
    "string_too_short": lambda ctx: f"{_many(ctx['min_length'], 'character')} or more",
    "string_too_long": lambda ctx: f"{_many(ctx['max_length'], 'character')} or fewer",
    "too_short": lambda ctx: f"{_many(ctx['min_length'], 'entry')} or more; there are {ctx['actual_length']}",
    "too_long": lambda ctx: f"{_many(ctx['max_length'], 'entry')} or fewer; there are {_longer(ctx)}",
    "string_pattern_mismatch": lambda ctx: FORMS.get(ctx["pattern"], f"a text of the form {ctx['pattern']}"),
    "enum": lambda ctx: str(ctx["expected"]),
    "literal_error": lambda ctx: str(ctx["expected"]),
    "union_tag_invalid": lambda ctx: f"one of {ctx['expected_tags']}",
}

#: What is said whole, without "expected".
_SAID: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "missing": lambda _: "required, but not there",
    "union_tag_not_found": lambda _: "required, but not there",
    "extra_forbidden": lambda _: "unknown field",
    "unexpected_keyword_argument": lambda _: "unknown field",
    "missing_argument": lambda _: "required, but not there",
    "value_error": lambda ctx: str(ctx["error"]),
    "assertion_error": lambda ctx: str(ctx["error"]),
}

#: Every type of error that has words.
WORDED: Final = frozenset(_EXPECTED) | frozenset(_SAID)


def reason_for(kind: str, ctx: Mapping[str, Any]) -> str:
    """What is wrong, by the type of pydantic's error and what it tells about it.

    A type without words (a test looks for one in every model of a file) is told as a value that does not fit.
    """
    if kind in _SAID:
        return _SAID[kind](ctx)
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind](ctx)}"
    return "the value does not fit here: look the field up in docs/"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _many(count: int, what: str) -> str:
    plural = "entries" if what == "entry" else f"{what}s"
    return f"{count} {what if count == 1 else plural}"


def _longer(ctx: Mapping[str, Any]) -> str:
    # pydantic stops counting where there are too many of what it reads one by one
    actual = ctx["actual_length"]
    return "more" if actual is None else str(actual)
