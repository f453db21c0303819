"""A mail provider: SMTP with STARTTLS and AUTH, mailboxes that exist or not, and what it took on."""

from __future__ import annotations

import asyncio
import html
import logging
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from ops.simulator.agenda import Agenda, Kind
from ops.simulator.draws import Draws
from ops.simulator.witness import Accepted, Witness

# aiosmtpd reports a deprecated attribute of its own at every login
logging.getLogger("mail.log").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class SmtpFaults:
    """How often what goes wrong: per mailbox, and per delivery to a mailbox."""

    unknown_mailbox: float = 0.015
    later: float = 0.01

    @classmethod
    def none(cls) -> SmtpFaults:
        """Every mailbox exists, every delivery is taken."""
        return cls(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Mail:
    """One accepted message as its reader sees it."""

    to: str
    text: str
    unsubscribe_url: str | None
    """The https or http address of List-Unsubscribe, where one click is offered (RFC 8058)."""


#: Told of every message that reached a mailbox.
MailReached = Callable[[Mail], None]


class SmtpProvider:
    """aiosmtpd's handler, and the server around it."""

    def __init__(
        self,
        user: str,
        password: str,
        *,
        draws: Draws,
        now: Callable[[], datetime],
        agenda: Agenda,
        witness: Witness,
        reached: MailReached,
        faults: SmtpFaults,
    ) -> None:
        self._login = LoginPassword(user.encode(), password.encode())
        self._draws = draws
        self._now = now
        self._agenda = agenda
        self._witness = witness
        self._reached = reached
        self._faults = faults
        self._deliveries: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """Refusals by enhanced status code."""

    async def listen(self, context: ssl.SSLContext, port: int = 0) -> asyncio.Server:
        """Listen on 127.0.0.1; port 0 takes a free one."""
        loop = asyncio.get_running_loop()

        def session() -> Any:
            return SMTP(
                self,
                hostname="mail.example.org",
                tls_context=context,
                require_starttls=True,
                auth_required=True,
                authenticator=self._authenticate,
                loop=loop,
            )

        return await loop.create_server(session, "127.0.0.1", port)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: Any,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Refuse mailboxes that do not exist."""
        if self._draws.happens(self._faults.unknown_mailbox, "unknown mailbox", address):
            self.refused["5.1.1"] += 1
            return "550 5.1.1 mailbox unavailable: user unknown"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self,
        _server: Any,
        _session: Session,
        envelope: Envelope,
    ) -> str:
        """Take the message on, unless this delivery is put off."""
        arrived = time.monotonic()
        to = envelope.rcpt_tos[0]
        self._deliveries[to] += 1
        if self._draws.happens(self._faults.later, "later", to, self._deliveries[to]):
            self.refused["4.3.0"] += 1
            return "451 4.3.0 local error in processing, try again later"
        content = envelope.content
        if not isinstance(content, bytes):
            return "554 5.6.0 no content"
        message = message_from_bytes(content)  # the modern policy parses ten times slower
        reference = str(message["Message-ID"] or "").strip().strip("<>").partition("@")[0]
        for recipient in envelope.rcpt_tos:
            self._take_on(message, recipient, reference, arrived)
        return "250 2.0.0 OK"

    def _take_on(self, message: Message, to: str, reference: str, arrived: float) -> None:
        text = readable_text(message)
        self._witness.accept(Accepted(self._now(), "email", to, reference, text, arrived))
        mail = Mail(to, text, one_click_url(message))

        async def read() -> None:
            self._reached(mail)

        self._agenda.add(self._now(), Kind.RECEIPT, to, read)

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, auth_data: Any) -> AuthResult:  # noqa: ARG002
        is_known = isinstance(auth_data, LoginPassword) and auth_data == self._login
        return AuthResult(success=is_known, handled=False)


def readable_text(message: Message) -> str:
    """Subject, plain text and the words of the HTML, as a reader or a filter would see them."""
    parts = [str(make_header(decode_header(str(message["Subject"] or ""))))]
    for part in message.walk():
        if part.get_content_type() == "text/plain":
            parts.append(_content(part))
        elif part.get_content_type() == "text/html":
            parts.append(_words_of_html(_content(part)))
    return "\n".join(parts)


def one_click_url(message: Message) -> str | None:
    """The address that unsubscribes with one POST, if the message offers it as RFC 8058 asks."""
    if str(message["List-Unsubscribe-Post"] or "").strip() != "List-Unsubscribe=One-Click":
        return None
    found = re.search(r"<\s*(https?://[^>\s]+)\s*>", "".join(str(message["List-Unsubscribe"] or "").split()))
    return found.group(1) if found else None


def _content(part: Message) -> str:
    payload = part.get_payload(decode=True)
    return payload.decode(part.get_content_charset("utf-8"), "replace") if isinstance(payload, bytes) else ""


def _words_of_html(source: str) -> str:
    visible = re.sub(r"(?is)<(style|script|head)\b.*?</\1>", " ", source)
    return html.unescape(re.sub(r"<[^>]+>", " ", visible))
