"""A mail relay over real sockets that answers as a script wants, at each stage of the dialogue."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from channel_harness import Provider

#: What a relay does instead of answering.
HANG, DROP = "HANG", "DROP"


@dataclass
class Relay:
    """How the relay behaves: what it answers at a stage (greeting, MAIL, RCPT, DATA, dot) instead of the usual."""

    at: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    password: str = ""
    messages_per_connection: int = 1000


@dataclass(frozen=True)
class Mail:
    """One message the relay took or was offered."""

    sender: str
    recipients: list[str]
    content: EmailMessage
    raw: bytes
    tls: bool
    connection: int


class ScriptedRelay(SMTP):
    """aiosmtpd, answering as the script wants."""

    def __init__(self, relay: Relay, up: Provider, over: asyncio.Event) -> None:
        self._relay, self._up, self._over = relay, up, over
        self._taken, self._greeted = 0, False
        up.connections += 1
        self.number = up.connections
        super().__init__(
            _Mailbox(self),
            hostname="relay.example.org",
            tls_context=relay.tls,
            authenticator=self._knows_password if relay.password else None,
            auth_required=bool(relay.password),
        )

    async def push(self, status: Any) -> None:
        if not self._greeted:
            self._greeted = True
            if "greeting" in self._relay.at and not await self._is_usual("greeting"):
                return
        await super().push(status)

    async def smtp_MAIL(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if self._taken >= self._relay.messages_per_connection:
            self._up.received.append("421 at MAIL")
            await super().push("421 4.3.2 enough for one connection")
            self._drop()
        elif await self._is_usual("MAIL"):
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if self._relay.at.get("RCPT", "").startswith("251"):
            assert self.envelope is not None
            self.envelope.rcpt_tos.append(arg)
        if await self._is_usual("RCPT"):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if await self._is_usual("DATA"):
            await super().smtp_DATA(arg)

    async def take(self, session: Session, envelope: Envelope) -> str:
        """Keep the message and answer its final dot."""
        raw = envelope.content
        assert isinstance(raw, bytes)
        content = email.message_from_bytes(raw, policy=email.policy.SMTP)
        assert isinstance(content, EmailMessage)
        mail = Mail(str(envelope.mail_from), envelope.rcpt_tos, content, raw, session.ssl is not None, self.number)
        self._up.received.append(mail)
        self._taken += 1
        said = self._relay.at.get("dot", "250 2.0.0 queued as 1234")
        if said == HANG:
            await self._over.wait()
        if said == DROP:
            self._drop()
        return said

    async def _is_usual(self, stage: str) -> bool:
        said = self._relay.at.get(stage)
        if said is None:
            return True
        if said == HANG:
            await self._over.wait()
        elif said == DROP:
            self._drop()
        else:
            await super().push(said)
        return False

    def _drop(self) -> None:
        cast("asyncio.Transport", self.transport).abort()  # uvloop's is none by name

    def _knows_password(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=data.password.decode() == self._relay.password, handled=False)


class _Mailbox:
    """aiosmtpd's handler: only told of whole messages."""

    def __init__(self, scripted: ScriptedRelay) -> None:
        self._scripted = scripted

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        return await self._scripted.take(session, envelope)
