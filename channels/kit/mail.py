"""Builds the mail of one message: its plain text, the same as simple HTML, and the headers bulk mail must carry."""

from __future__ import annotations

import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime
from html import escape

from channels.kit.contract import Outgoing

_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"]*[^\s<>\".,;:!?)\]'’]")


def build_mail(
    *, sender_name: str, sender: str, reply_to: str, recipient: str, message_id: str, message: Outgoing
) -> EmailMessage:
    """The message as it goes out: plain text and the same as simple HTML, with the headers bulk mail must carry.

    Sources: RFC 8058 (one-click unsubscribe), RFC 3834 (Auto-Submitted). The postal address is the template's matter.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = Address(_one_line(sender_name), addr_spec=sender)
    mail["To"] = recipient
    if reply_to:
        mail["Reply-To"] = reply_to
    mail["Subject"] = _one_line(message.subject or message.organisation)
    mail["Date"] = format_datetime(message.now)
    mail["Message-ID"] = f"<{message_id}>"
    if message.unsubscribe_url:
        mail["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if message.is_answer:
        mail["Auto-Submitted"] = "auto-replied"
    # what no encoding can carry (a lone surrogate) becomes a question mark
    body = message.body.encode(errors="replace").decode()
    mail.set_content(body)
    mail.add_alternative(_html(body, message.language), subtype="html")
    return mail


class _MailPolicy(EmailPolicy):
    """SMTP's policy, but machine-read headers are written as they are.

    The standard policy turns an address without spaces that is longer than a line into RFC 2047 encoded words, which no
    receiver decodes in a List-Unsubscribe.
    """

    _verbatim = frozenset({"to", "message-id", "list-unsubscribe", "list-unsubscribe-post"})

    def fold(self, name: str, value: str) -> str:
        return f"{name}: {value}{self.linesep}" if name.lower() in self._verbatim else super().fold(name, value)

    def fold_binary(self, name: str, value: str) -> bytes:
        if name.lower() in self._verbatim:
            return self.fold(name, value).encode("ascii")
        return super().fold_binary(name, value)


_POLICY = _MailPolicy(linesep="\r\n", cte_type="7bit")


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
