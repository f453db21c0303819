"""Twilio's wire format: its signature, its message resource and its errors, written from its public documents."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

API = "2010-04-01"

#: Whole messages by which Twilio itself blocks and unblocks a number, case and punctuation ignored.
STOP_WORDS = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})

#: Seconds a message may wait in Twilio's queue.
LONGEST_VALIDITY = 36_000

#: HTTP status and message of each refusal.
REFUSALS: Mapping[int, tuple[int, str]] = {
    20003: (401, "Authenticate"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    21211: (400, "Invalid 'To' Phone Number"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21609: (400, "Invalid 'StatusCallback' URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit."),
    21624: (400, "Invalid 'ValidityPeriod'"),
}


def sign(token: str, url: str, fields: Iterable[tuple[str, str]]) -> str:
    """X-Twilio-Signature: HMAC-SHA1 over the URL and the sorted distinct form fields, in base64."""
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    return b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()


def refusal(code: int) -> tuple[int, dict[str, Any]]:
    """HTTP status and body of a refusal."""
    status, message = REFUSALS[code]
    more = f"https://www.twilio.com/docs/errors/{code}"
    return status, {"code": code, "message": message, "more_info": more, "status": status}


def is_number(text: str) -> bool:
    """Whether a `To` is dialled at all: E.164, and by the North American plan where it begins with +1."""
    digits = text[1:]
    if not text.startswith("+") or not digits.isascii() or not digits.isdigit():
        return False
    if digits.startswith("1"):
        return len(digits) == 11 and digits[1] not in "01" and digits[4] not in "01"
    return 8 <= len(digits) <= 15 and digits[0] != "0"


def keyword(text: str) -> str:
    """The message as the carrier's opt-out filter reads it."""
    return "".join(character for character in text.upper() if character.isalnum())


def page(newest: Sequence[Message], path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of a list: `PageToken` names the message after which it begins, so that new ones move nothing."""
    size = min(max(int(query.get("PageSize", "50")), 1), 1000)
    number = int(query.get("Page", "0"))
    sids = [message.sid for message in newest]
    after = query.get("PageToken", "").removeprefix("PA")
    start = sids.index(after) + 1 if after in sids else 0
    shown = newest[start : start + size]

    def address(changes: Mapping[str, object]) -> str:
        return f"{path}?{urlencode({**query, 'PageSize': size, **changes})}"

    is_last = start + size >= len(newest)
    first = {name: value for name, value in query.items() if name not in ("Page", "PageToken")}
    return {
        "messages": [message.as_json() for message in shown],
        "page": number,
        "page_size": size,
        "start": number * size,
        "end": number * size + max(len(shown) - 1, 0),
        "uri": address({}),
        "first_page_uri": f"{path}?{urlencode({**first, 'PageSize': size, 'Page': 0})}",
        "next_page_uri": None if is_last else address({"Page": number + 1, "PageToken": f"PA{shown[-1].sid}"}),
        "previous_page_uri": None,
    }


@dataclass(slots=True)
class Message:
    """A message resource."""

    sid: str
    account: str
    to: str
    sender: str
    service: str | None
    body: str
    created_at: datetime
    status: str = "accepted"
    sent_at: datetime | None = None
    error: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The resource as the API shows it."""
        created = format_datetime(self.created_at)
        uri = f"/{API}/Accounts/{self.account}/Messages/{self.sid}"
        return {
            "account_sid": self.account,
            "api_version": API,
            "body": self.body,
            "date_created": created,
            "date_sent": format_datetime(self.sent_at) if self.sent_at else None,
            "date_updated": format_datetime(self.sent_at or self.created_at),
            "direction": "outbound-api",
            "error_code": self.error,
            "error_message": None,
            "from": self.sender or None,
            "messaging_service_sid": self.service,
            "num_media": "0",
            "num_segments": "1",
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }
