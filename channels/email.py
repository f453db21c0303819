"""Email through an SMTP relay: how a message is built from its plain text, and what the relay's replies mean.

The relay signs (DKIM) and delivers; what the receiving host says later comes back as a bounce, not here.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import parseaddr

from channels.kit.contract import (
    LONGEST_TIMEOUT,
    ChannelSettingsError,
    InboundReceipt,
    InboundReply,
    Outcome,
    OutcomeKind,
    Outgoing,
    Rate,
    Sender,
    Setting,
    SideEffect,
    WebhookError,
    WebhookRequest,
)
from channels.kit.environment import Environment, is_loopback
from channels.kit.errors import WINDOW_CLOSED, ProviderError, table
from channels.kit.mail import build_mail
from channels.kit.smtp import Reply, SmtpPool, SmtpServer, Stage

SETTINGS = (
    Setting("REACTIVATE_SMTP_HOST", "Mail relay; unset: no email"),
    Setting("REACTIVATE_SMTP_PORT", "Default: 587 with starttls, 465 with tls, 25 with none", ""),
    Setting("REACTIVATE_SMTP_TLS", "starttls, tls (from the first byte) or none", "starttls"),
    Setting("REACTIVATE_SMTP_CA_FILE", "PEM file of a private certificate authority; default: the system's", ""),
    Setting("REACTIVATE_SMTP_USERNAME", "Account at the relay; unset: no AUTH"),
    Setting("REACTIVATE_SMTP_PASSWORD", "Its password", secret=True),
    Setting("REACTIVATE_SMTP_FROM", "Sender, e.g. Lakeside Health <care@example.org>; bounces go there"),
    Setting("REACTIVATE_SMTP_REPLY_TO", "Where answers go; default: the sender", ""),
    Setting("REACTIVATE_SMTP_DOMAIN", "Right side of Message-IDs, name in EHLO; default: the sender's domain", ""),
    Setting("REACTIVATE_SMTP_RATE_PER_SECOND", "Messages per second the relay takes", "10"),
    Setting("REACTIVATE_SMTP_BURST", "Messages at once", "10"),
    Setting("REACTIVATE_SMTP_CONNECTIONS", "Open connections, at most", "4"),
    Setting(
        "REACTIVATE_SMTP_TIMEOUT_SECONDS",
        f"For a whole delivery, at most {LONGEST_TIMEOUT}: less than half the lease",
        "20",
    ),
)

#: Enhanced status codes (RFC 3463), or their first two parts for a whole subject, of replies to RCPT and DATA.
#: 5.7 speaks of our reputation or standing, not of the address: every other message would fare alike, and this one
#: waits with them until a person has resumed the channel.
ERRORS = table(
    ProviderError("5.1.1", "no such mailbox", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("5.1.2", "no such domain", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("5.1.6", "mailbox has moved", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("5.1.10", "domain takes no mail (null MX)", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("5.2.1", "mailbox disabled", OutcomeKind.REJECTED, SideEffect.BAD_ADDRESS),
    ProviderError("4.2.2", "mailbox full", OutcomeKind.RETRY, retry_after=timedelta(hours=4)),
    ProviderError("5.2.2", "mailbox full", OutcomeKind.RETRY, retry_after=timedelta(hours=4)),
    ProviderError("4.7", "rate or greylisting", OutcomeKind.THROTTLED, retry_after=timedelta(minutes=5)),
    ProviderError("5.7", "policy or reputation", OutcomeKind.RETRY, SideEffect.PAUSE_CHANNEL),
)

#: "Service not available": at any stage the relay asks for a pause.
_UNAVAILABLE = ProviderError(
    "smtp_421", "service not available", OutcomeKind.THROTTLED, retry_after=timedelta(minutes=1)
)

_PORTS = {"starttls": "587", "tls": "465", "none": "25"}

#: Longest domain for which `<reference@domain>` fits where the ledger keeps provider references.
_LONGEST_DOMAIN = 90

# no quoted local parts: no relay needs them, and none of their characters can end a command or a header
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_ENHANCED_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")


@dataclass(frozen=True, slots=True)
class EmailConfig:
    """The settings of one sender at one relay."""

    server: SmtpServer
    sender_name: str
    """Empty: the message's organisation."""
    sender: str
    reply_to: str
    domain: str
    rate: float
    burst: int


class EmailSender:
    """Hands messages to the relay."""

    def __init__(self, config: EmailConfig) -> None:
        self._config = config
        self._pool = SmtpPool(config.server)

    async def send(self, message: Outgoing) -> Outcome:
        """Make one delivery; see `Sender.send`."""
        if message.valid_until <= message.now:
            return WINDOW_CLOSED
        recipient = _ascii_address(message.to)
        if recipient is None:
            return Outcome(OutcomeKind.REJECTED, code="malformed_address", effect=SideEffect.BAD_ADDRESS)
        message_id = f"{message.reference}@{self._config.domain}"
        content = self._mail(message, recipient, message_id)
        reply = await self._pool.deliver(self._config.sender, recipient, content)
        return _outcome(reply, message_id)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    def _mail(self, message: Outgoing, recipient: str, message_id: str) -> bytes:
        return build_mail(
            sender_name=self._config.sender_name or message.organisation,
            sender=self._config.sender,
            reply_to=self._config.reply_to,
            recipient=recipient,
            message_id=message_id,
            message=message,
        )


class EmailChannel:
    """Email."""

    name = "email"
    contact_system = "email"
    webhook_kinds: Sequence[str] = ()
    settings: Sequence[Setting] = SETTINGS

    def configure(self, environ: Mapping[str, str], public_url: str) -> EmailConfig | None:  # noqa: ARG002 - the contract's signature
        """Its settings, or None where REACTIVATE_SMTP_HOST is unset; see `Channel.configure`."""
        env = Environment(environ, SETTINGS)
        if not env.is_set_up("REACTIVATE_SMTP_HOST"):
            return None
        name, sender = _mailbox("REACTIVATE_SMTP_FROM", env.required("REACTIVATE_SMTP_FROM"))
        reply_to = env.text("REACTIVATE_SMTP_REPLY_TO")
        domain = _domain(env, sender)
        return EmailConfig(
            server=_server(env, domain),
            sender_name=name,
            sender=sender,
            reply_to=_mailbox("REACTIVATE_SMTP_REPLY_TO", reply_to)[1] if reply_to else "",
            domain=domain,
            rate=env.number("REACTIVATE_SMTP_RATE_PER_SECOND"),
            burst=env.whole("REACTIVATE_SMTP_BURST", at_least=1, at_most=1_000_000),
        )

    def provider_host(self, config: EmailConfig) -> str:
        """The relay."""
        return config.server.host

    def open(self, config: EmailConfig) -> Sender:
        """Open a sender; see `Channel.open`."""
        return EmailSender(config)

    def cost(self, body: str) -> int:  # noqa: ARG002 - the contract's signature
        """One message."""
        return 1

    def rates(self, config: EmailConfig, to: str) -> Sequence[Rate]:  # noqa: ARG002 - the contract's signature
        """One cell, in messages: what the relay takes from this sender."""
        return (Rate(f"{config.server.host}:{config.sender}", config.rate, config.burst),)

    def concurrency(self, config: EmailConfig) -> int:
        """As many as it has connections."""
        return config.server.connections

    def weight(self, config: EmailConfig) -> int:  # noqa: ARG002 - the contract's signature
        """There is one relay; see `Channel.weight`."""
        return 1

    def effect_of(self, code: str) -> SideEffect | None:
        """What an enhanced status code tells beyond its message; see `Channel.effect_of`."""
        known = _row_of(code)
        return known.effect if known else None

    def verify(self, config: EmailConfig, request: WebhookRequest) -> bool:  # noqa: ARG002 - the contract's signature
        """Never: SMTP relays call no webhook."""
        return False

    def parse(self, config: EmailConfig, kind: str, request: WebhookRequest) -> Sequence[InboundReply | InboundReceipt]:  # noqa: ARG002 - the contract's signature
        """Raises WebhookError: SMTP relays call no webhook."""
        raise WebhookError("kind")


CHANNEL = EmailChannel()


def _ascii_address(address: str) -> str | None:
    """The address as SMTP takes it, an international domain in its ASCII form; None where there is no such form."""
    local, _, domain = address.rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return f"{local}@{domain}" if _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(domain) else None


def _outcome(reply: Reply, message_id: str) -> Outcome:
    if reply.stage is Stage.DOT and 200 <= reply.code < 300:
        return Outcome(OutcomeKind.ACCEPTED, provider_ref=message_id)
    if not 400 <= reply.code < 600:
        return _without_refusal(reply)
    if reply.code == 421:
        return _UNAVAILABLE.outcome()
    code, error = _known(reply)
    if reply.code >= 500 and reply.stage not in {Stage.RCPT, Stage.DATA, Stage.DOT}:
        # nothing was said yet of this message or its recipient: the relay refuses us
        return Outcome(OutcomeKind.RETRY, code=code, effect=SideEffect.PAUSE_CHANNEL)
    if error is not None:
        return replace(error.outcome(), code=code)
    return Outcome(OutcomeKind.RETRY if reply.code < 500 else OutcomeKind.REJECTED, code=code)


def _without_refusal(reply: Reply) -> Outcome:
    code = reply.failure or f"smtp_{reply.code}"
    if reply.stage is Stage.DOT:
        return Outcome(OutcomeKind.UNCERTAIN, code=code)
    # neither a certificate nor a missing STARTTLS or AUTH gets better by itself
    effect = SideEffect.PAUSE_CHANNEL if code in {"tls_failed", "not_offered"} else None
    return Outcome(OutcomeKind.RETRY, code=code, effect=effect)


def _known(reply: Reply) -> tuple[str, ProviderError | None]:
    """The reply's code, and its row if it has one; an enhanced code of another class than the reply's is a mistake."""
    match = _ENHANCED_STATUS.match(reply.text)
    if match is None or int(match[1]) != reply.code // 100:
        return f"smtp_{reply.code}", None
    return match[0], _row_of(match[0])


def _row_of(code: str) -> ProviderError | None:
    """The row of an enhanced status code: its own, else its subject's."""
    return ERRORS.get(code) or ERRORS.get(code.rpartition(".")[0])


def _mailbox(variable: str, text: str) -> tuple[str, str]:
    name, address = parseaddr(text)
    ascii_address = _ascii_address(address)
    if ascii_address is None or not text.isprintable():
        raise ChannelSettingsError(f"{variable}: expected NAME <ADDRESS> or ADDRESS")
    return name, ascii_address


def _domain(env: Environment, sender: str) -> str:
    domain = env.text("REACTIVATE_SMTP_DOMAIN") or sender.rpartition("@")[2]
    if not _DOMAIN.fullmatch(domain) or len(domain) > _LONGEST_DOMAIN:
        raise ChannelSettingsError(f"REACTIVATE_SMTP_DOMAIN: expected a domain of at most {_LONGEST_DOMAIN} characters")
    return domain


def _server(env: Environment, domain: str) -> SmtpServer:
    tls = env.choice("REACTIVATE_SMTP_TLS", tuple(_PORTS))
    host = env.required("REACTIVATE_SMTP_HOST")
    username, password = env.text("REACTIVATE_SMTP_USERNAME"), env.text("REACTIVATE_SMTP_PASSWORD")
    if bool(username) != bool(password):
        raise ChannelSettingsError("REACTIVATE_SMTP_USERNAME and REACTIVATE_SMTP_PASSWORD must be given together")
    if username and tls == "none" and not is_loopback(host):
        raise ChannelSettingsError("REACTIVATE_SMTP_TLS: none would show the password to the network")
    has_port = bool(env.text("REACTIVATE_SMTP_PORT"))
    return SmtpServer(
        host=host,
        port=env.whole("REACTIVATE_SMTP_PORT", at_least=1, at_most=65535) if has_port else int(_PORTS[tls]),
        tls=tls,
        username=username,
        password=password,
        greeting=domain,
        timeout_seconds=env.number("REACTIVATE_SMTP_TIMEOUT_SECONDS", at_most=LONGEST_TIMEOUT),
        connections=env.whole("REACTIVATE_SMTP_CONNECTIONS", at_least=1, at_most=1000),
        context=None if tls == "none" else _tls_context(env.text("REACTIVATE_SMTP_CA_FILE")),
    )


def _tls_context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise ChannelSettingsError("REACTIVATE_SMTP_CA_FILE: expected a readable PEM file") from error
