"""Text messages through a Twilio-compatible provider: what is posted, what its errors mean, what its webhooks say.

One such provider is one module of `channels/`, which names its settings; all of them serve the channel `sms`.

What became of a message whose call was not answered is told by its status callback, whose address carries the
reference, and by the account's list of messages (`twilio_list`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from channels.kit import twilio_signature
from channels.kit.answered_elsewhere import is_answered_elsewhere
from channels.kit.contract import (
    LONGEST_TIMEOUT,
    Asker,
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
from channels.kit.environment import Environment
from channels.kit.errors import WINDOW_CLOSED
from channels.kit.http import Answer, HttpClient, NoAnswer, outcome_of_code, outcome_of_status, outcome_without_answer
from channels.kit.twilio_codes import ERROR_CODE, ERRORS, SID, STATUSES, effect_of
from channels.kit.twilio_list import MessageList
from domain.rules.sms_text import fold, segments

#: Twilio takes 1,600 characters, which is 24 segments where every one is sent in UCS-2; longer texts it refuses.
LONGEST = 24

#: Seconds a message may wait in Twilio's queue; its own bounds.
_SHORTEST_VALIDITY, _LONGEST_VALIDITY = 1, 36_000

#: Calls of one thread under way at once; the client keeps up to 100 connections.
_CONCURRENCY = 32

_REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class SmsConfig:
    """The settings of one sender at one account."""

    url: str
    account_sid: str
    auth_token: str = field(repr=False)
    sender_field: str
    """`From` or `MessagingServiceSid`."""
    sender: str
    provider_answers: bool
    """Whether the provider answers STOP, START and HELP itself."""
    public_url: str
    callback_path: str
    """Where its webhooks come in: `/webhooks/<provider>`."""
    weight: int
    """Its share of the contact points, beside the other providers' weights; 0 = where no other can."""
    rate: float
    account_rate: float
    destination_rate: float
    burst: int
    timeout_seconds: float

    @property
    def messages_path(self) -> str:
        """Of the account's Messages resource."""
        return f"/2010-04-01/Accounts/{self.account_sid}/Messages.json"

    def headers(self) -> dict[str, str]:
        """Of every call: who we are."""
        credentials = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
        return {"Authorization": f"Basic {credentials}", "Accept": "application/json"}


class SmsSender:
    """Posts messages to the account's Messages resource."""

    def __init__(self, config: SmsConfig) -> None:
        self._config = config
        self._messages = config.url + config.messages_path
        self._client = HttpClient(timeout_seconds=config.timeout_seconds, headers=config.headers())

    async def send(self, message: Outgoing) -> Outcome:
        """Make one provider call; see `Sender.send`."""
        validity = int((message.valid_until - message.now).total_seconds())
        if validity < _SHORTEST_VALIDITY:
            return WINDOW_CLOSED
        answer = await self._client.post_form(self._messages, self._fields(message, validity))
        if isinstance(answer, NoAnswer):
            return outcome_without_answer(answer)
        return _outcome(answer, message)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def _fields(self, message: Outgoing, validity: int) -> dict[str, str]:
        reference = quote(message.reference, safe="")
        return {
            "To": message.to,
            self._config.sender_field: self._config.sender,
            "Body": fold(message.body),
            "ValidityPeriod": str(min(validity, _LONGEST_VALIDITY)),
            "StatusCallback": f"{self._config.public_url}{self._config.callback_path}/status?ref={reference}",
        }


class SmsChannel:
    """Text messages by one provider."""

    name = "sms"
    contact_system = "phone"
    webhook_kinds: Sequence[str] = ("inbound", "status")

    def __init__(self, provider: str, settings: Sequence[Setting]) -> None:
        """A provider of the module `provider`, whose variables are called `REACTIVATE_<PROVIDER>_…`."""
        self.settings = settings
        self._provider = provider

    def configure(self, environ: Mapping[str, str], public_url: str) -> SmsConfig | None:
        """Its settings, or None where its address is unset; see `Channel.configure`."""
        env = Environment(environ, self.settings)
        if not env.is_set_up(self._named("URL")):
            return None
        rate = env.number(self._named("RATE_PER_SECOND"))
        account_rate = env.number(self._named("ACCOUNT_RATE_PER_SECOND"), otherwise=rate)
        sender_field, sender = self._sender(env)
        return SmsConfig(
            url=env.base_url(self._named("URL")),
            account_sid=self._account(env),
            auth_token=env.required(self._named("AUTH_TOKEN")),
            sender_field=sender_field,
            sender=sender,
            provider_answers=env.choice(self._named("PROVIDER_ANSWERS"), ("no", "yes")) == "yes",
            public_url=public_url.rstrip("/"),
            callback_path=f"/webhooks/{self._provider}",
            weight=env.whole(self._named("WEIGHT"), at_least=0, at_most=1000),
            rate=rate,
            account_rate=account_rate,
            destination_rate=env.number(self._named("DESTINATION_RATE_PER_SECOND"), otherwise=account_rate),
            burst=env.whole(self._named("BURST"), at_least=LONGEST, at_most=1_000_000),
            timeout_seconds=env.number(self._named("TIMEOUT_SECONDS"), at_most=LONGEST_TIMEOUT),
        )

    def provider_host(self, config: SmsConfig) -> str:
        """The API's."""
        return urlsplit(config.url).hostname or ""

    def open(self, config: SmsConfig) -> Sender:
        """Open a sender; see `Channel.open`."""
        return SmsSender(config)

    def open_asker(self, config: SmsConfig) -> Asker:
        """Open the account's list of messages; see `Asking.open_asker`."""
        return MessageList(config.url, config.messages_path, config.headers(), config.timeout_seconds)

    def cost(self, body: str) -> int:
        """Segments of the text as it is sent. More than the provider takes counts as `LONGEST`: it will be refused."""
        return min(segments(fold(body)).segments, LONGEST)

    def rates(self, config: SmsConfig, to: str) -> Sequence[Rate]:
        """Cells in segments: the account, its class of destinations, the sender."""
        account = config.account_sid
        destination = "1" if to.startswith("+1") else "other"
        return (
            Rate(account, config.account_rate, config.burst),
            Rate(f"{account}:to:{destination}", config.destination_rate, config.burst),
            Rate(f"{account}:from:{config.sender}", config.rate, config.burst),
        )

    def concurrency(self, config: SmsConfig) -> int:  # noqa: ARG002 - the contract's signature
        """Well below the connections of one client, so that a few threads never wait for one."""
        return _CONCURRENCY

    def effect_of(self, code: str) -> SideEffect | None:
        """What one of Twilio's codes tells beyond its message; see `Channel.effect_of`."""
        return effect_of(code)

    def weight(self, config: SmsConfig) -> int:
        """As set; see `Channel.weight`."""
        return config.weight

    def verify(self, config: SmsConfig, request: WebhookRequest) -> bool:
        """Whether the account's token signed the request."""
        return twilio_signature.is_valid(config.auth_token, request)

    def parse(self, config: SmsConfig, kind: str, request: WebhookRequest) -> Sequence[InboundReply | InboundReceipt]:
        """The one reply (`inbound`) or receipt (`status`) a verified request holds."""
        fields = dict(twilio_signature.form_fields(request.body) or ())
        if kind == "inbound":
            return (_reply(config, fields),)
        if kind == "status":
            return (_receipt(fields, request.url),)
        raise WebhookError("kind")

    def _named(self, what: str) -> str:
        return f"REACTIVATE_{self._provider.upper()}_{what}"

    def _account(self, env: Environment) -> str:
        sid = env.required(self._named("ACCOUNT_SID"))
        if not SID.fullmatch(sid):
            raise ChannelSettingsError(f"{self._named('ACCOUNT_SID')}: expected letters and digits only")
        return sid

    def _sender(self, env: Environment) -> tuple[str, str]:
        number, service = env.text(self._named("FROM")), env.text(self._named("MESSAGING_SERVICE_SID"))
        if bool(number) == bool(service):
            other = self._named("MESSAGING_SERVICE_SID")
            raise ChannelSettingsError(f"{self._named('FROM')}: give either this or {other}")
        return ("From", number) if number else ("MessagingServiceSid", service)


def _outcome(answer: Answer, message: Outgoing) -> Outcome:
    said = answer.json_object()
    if 200 <= answer.status < 300:
        sid = said.get("sid")
        if isinstance(sid, str) and SID.fullmatch(sid):
            return Outcome(OutcomeKind.ACCEPTED, provider_ref=sid)
        return Outcome(OutcomeKind.UNCERTAIN, code="no_sid")
    code = str(said.get("code", ""))
    if not 400 <= answer.status < 500 or not ERROR_CODE.fullmatch(code):
        return outcome_of_status(answer, message.now)
    return outcome_of_code(answer, message.now, code, ERRORS)


def _field(fields: Mapping[str, str], name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name, "")
    if not pattern.fullmatch(value):
        raise WebhookError(name)
    return value


def _reply(config: SmsConfig, fields: Mapping[str, str]) -> InboundReply:
    sender, text = fields.get("From", ""), fields.get("Body")
    if not sender:
        raise WebhookError("From")
    if text is None:
        raise WebhookError("Body")
    # a messaging service may have numbers of several kinds: what counts is the one written to
    is_answered = is_answered_elsewhere(fields, text, fields.get("To") or config.sender, config.provider_answers)
    sid = _field(fields, "MessageSid", SID)
    return InboundReply(provider_id=sid, sender=sender, text=text, answered_by_network=is_answered)


def _receipt(fields: Mapping[str, str], url: str) -> InboundReceipt:
    status = STATUSES.get(fields.get("MessageStatus", ""))
    if status is None:
        raise WebhookError("MessageStatus")
    reference = twilio_signature.query_value(url, "ref")
    if reference and not _REFERENCE.fullmatch(reference):
        raise WebhookError("ref")
    code = None if fields.get("ErrorCode", "") in {"", "0"} else _field(fields, "ErrorCode", ERROR_CODE)
    return InboundReceipt(
        provider_ref=_field(fields, "MessageSid", SID),
        status=status.value,
        reference=reference,
        code=code,
        effect=effect_of(code) if code else None,
    )
