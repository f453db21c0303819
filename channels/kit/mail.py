"""Builds the mail of one message: its plain text, the same as simple HTML, and the headers bulk mail must carry.

The standard library's message objects parse and fold every header; for headers whose form is known beforehand, and for
thousands of mails alike, that is most of a send's cost. So only free text (sender's name, subject) goes through them.
"""

from __future__ import annotations

import binascii
import re
from email.headerregistry import Address
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from html import escape

from channels.kit.contract import Outgoing

_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"]*[^\s<>\".,;:!?)\]'’]")
_POLICY = SMTP.clone(cte_type="7bit")

#: "=_" begins nothing in quoted-printable, so no text can hold it (RFC 2045, 6.7). The same in every mail: parsers keep
#: what they compile of it.
_BOUNDARY = "=_reactivation"


def build_mail(
    *, sender_name: str, sender: str, reply_to: str, recipient: str, message_id: str, message: Outgoing
) -> bytes:
    """The message as it goes out, in ASCII and with CRLF: plain text and the same as simple HTML.

    Sources: RFC 8058 (one-click unsubscribe), RFC 3834 (Auto-Submitted). The postal address is the template's matter.

    Raises:
        ValueError: an address, id or URL is not printable ASCII.
    """
    # what no encoding can carry (a lone surrogate) becomes a question mark
    body = message.body.encode(errors="replace").decode()
    headers = [
        _sender(_one_line(sender_name), sender),
        _exactly("To", recipient),
        _exactly("Reply-To", reply_to) if reply_to else b"",
        _subject(_one_line(message.subject or message.organisation)),
        _exactly("Date", format_datetime(message.now)),
        _exactly("Message-ID", f"<{message_id}>"),
        _unsubscribing(message.unsubscribe_url) if message.unsubscribe_url else b"",
        _exactly("Auto-Submitted", "auto-replied") if message.is_answer else b"",
        _exactly("MIME-Version", "1.0"),
        _exactly("Content-Type", f'multipart/alternative; boundary="{_BOUNDARY}"'),
    ]
    between = f"\r\n--{_BOUNDARY}".encode()
    parts = (_part("plain", body), _part("html", _html(body, message.language)))
    return b"".join(headers) + b"".join(between + b"\r\n" + part for part in parts) + between + b"--\r\n"


@lru_cache(maxsize=256)
def _sender(name: str, address: str) -> bytes:
    return _folded("From", Address(name, addr_spec=address))


@lru_cache(maxsize=256)
def _subject(text: str) -> bytes:
    return _folded("Subject", text)


def _folded(name: str, value: str | Address) -> bytes:
    """A header with free text: encoded (RFC 2047) and folded where it must be."""
    return _POLICY.fold_binary(*_POLICY.header_store_parse(name, value))


def _exactly(name: str, value: str) -> bytes:
    """A header that machines read, as it is: never encoded and never folded, however long.

    RFC 2047 encoded words, which the standard policy makes of an address longer than a line, are decoded by no receiver
    in a List-Unsubscribe.
    """
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} is not printable ASCII")
    return f"{name}: {value}\r\n".encode()


def _unsubscribing(url: str) -> bytes:
    return _exactly("List-Unsubscribe", f"<{url}>") + _exactly("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")


def _part(subtype: str, text: str) -> bytes:
    # lines end in CRLF before they are encoded: b2a_qp breaks long ones by the first line's example
    lines = b"".join(line + b"\r\n" for line in text.encode().splitlines()) or b"\r\n"
    return (
        _exactly("Content-Type", f'text/{subtype}; charset="utf-8"')
        + _exactly("Content-Transfer-Encoding", "quoted-printable")
        + b"\r\n"
        + binascii.b2a_qp(lines)
    )


def _one_line(text: str) -> str:
    # a line break in a header would begin another header
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def _html(body: str, language: str) -> str:
    paragraphs = re.split(r"\n\s*\n", body.strip())
    inner = "\n".join(f"<p>{_linked(paragraph)}</p>" for paragraph in paragraphs)
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}">\n<head><meta charset="utf-8"></head>\n'
        f"<body>\n{inner}\n</body>\n</html>\n"
    )


def _linked(paragraph: str) -> str:
    parts, end = [], 0
    for match in _WEB_ADDRESS.finditer(paragraph):
        address = escape(match[0])
        parts += [escape(paragraph[end : match.start()]), f'<a href="{address}">{address}</a>']
        end = match.end()
    return "".join([*parts, escape(paragraph[end:])]).replace("\n", "<br>\n")
