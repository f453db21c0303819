"""The list of messages of a Twilio account: what the provider took for one number, page by page, the newest first.

Asked by recipient only: a day of sending, by which the list can be filtered as well, is what a message that still waits
does not have. https://www.twilio.com/docs/messaging/api/message-resource (recalled).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode

from channels.kit.contract import Listing, Taken
from channels.kit.http import HttpClient, NoAnswer
from channels.kit.twilio_codes import ERROR_CODE, SID, STATUSES, effect_of

#: Messages per page: of texts that our client reads in one answer (`http_connection.LARGEST_ANSWER`).
_PAGE_SIZE: Final = 20

#: Pages read for one question; a number with more messages than fit since the claim is not judged by its list.
_MOST_PAGES: Final = 10

_CONNECTIONS: Final = 4


class MessageList:
    """One account's list; see `Asker`."""

    def __init__(self, url: str, path: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        """Must be called from a coroutine. `path` is that of the account's messages, at `url`."""
        self._url = url
        self._path = path
        self._client = HttpClient(timeout_seconds=timeout_seconds, headers=headers, connections=_CONNECTIONS)

    async def taken(self, to: str, since: datetime) -> Listing | None:
        """What was taken for `to`; see `Asker.taken`."""
        found: list[Taken] = []
        path: str | None = f"{self._path}?{urlencode({'To': to, 'PageSize': _PAGE_SIZE})}"
        for _ in range(_MOST_PAGES):
            if path is None:
                break
            page = await self._page(path)
            if page is None:
                return None
            messages, path = page
            found += messages
            if messages and all(each.created_at < since for each in messages):
                path = None
        return Listing(found, is_whole=path is None)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _page(self, path: str) -> tuple[Sequence[Taken], str | None] | None:
        """The messages of one page, and the path of the next; None where it cannot be had or read."""
        answer = await self._client.get(self._url + path)
        if isinstance(answer, NoAnswer) or answer.status != 200:
            return None
        said = answer.json_object()
        messages, following = said.get("messages"), said.get("next_page_uri")
        if not isinstance(messages, list) or not self._is_ours(following):
            return None
        read = [_taken(each) for each in messages]
        # one that cannot be read may be the one that was asked for
        return None if None in read else ([each for each in read if each], following)  # type: ignore[return-value] # _is_ours

    def _is_ours(self, following: object) -> bool:
        """Whether the next page, if there is one, is of the same list: our token goes nowhere else."""
        return following is None or (isinstance(following, str) and following.startswith(f"{self._path}?"))


def _taken(message: Any) -> Taken | None:
    if not isinstance(message, dict):
        return None
    sid, body = message.get("sid"), message.get("body")
    status = STATUSES.get(str(message.get("status")))
    created_at = _instant(message.get("date_created"))
    if not isinstance(sid, str) or not SID.fullmatch(sid) or status is None or created_at is None:
        return None
    code = str(message.get("error_code") or "")
    known = code if ERROR_CODE.fullmatch(code) else None
    return Taken(
        provider_ref=sid,
        created_at=created_at,
        status=status.value,
        body=body if isinstance(body, str) else "",
        code=known,
        effect=effect_of(known) if known else None,
    )


def _instant(text: object) -> datetime | None:
    """A date of RFC 2822, in UTC; None where it is none."""
    try:
        found = parsedate_to_datetime(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
