"""Answered elsewhere: whether Twilio or a toll-free network answered a STOP, START or HELP before we could."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: Whole messages that Twilio's default opt-out handling answers (recalled); those that toll-free networks do.
_BY_DEFAULT: Final = frozenset(
    [
        *("stop", "unsubscribe", "end", "quit", "stopall", "revoke", "optout", "cancel"),
        *("start", "yes", "unstop", "help", "info"),
    ]
)
_BY_TOLL_FREE: Final = frozenset(["stop", "unstop"])
_TOLL_FREE: Final = re.compile(r"\+1(800|833|844|855|866|877|888)[0-9]{7}")


def is_answered_elsewhere(fields: Mapping[str, str], text: str, number: str, provider_answers: bool) -> bool:
    """Whether the message, sent to our `number`, has been answered.

    Under Advanced Opt-Out Twilio says so itself, in the webhook's `OptOutType`; `provider_answers` tells that its
    default handling is on. Only whole messages are answered anywhere.
    """
    word = text.strip().rstrip(".!").lower()
    return (
        bool(fields.get("OptOutType"))
        or (provider_answers and word in _BY_DEFAULT)
        or (word in _BY_TOLL_FREE and _TOLL_FREE.fullmatch(number) is not None)
    )
