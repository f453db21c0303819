"""The contract of a channel: what it is given, what it answers, and how its provider's webhooks are read.

A channel is one module in `channels/` that defines `CHANNEL`, an instance of a class fulfilling `Channel`. Another
module whose `CHANNEL` has the same `name` is another provider of that channel, called as its module is.
It knows nothing of the ledger: it is given text and an address, and answers with an `Outcome`. docs/channels.md shows
how to write one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

#: The longest timeout, in seconds, that a channel may be set to: below half the lease of 60 s, so that a call which
#: waited for a whole one before it still ends while its claim holds.
LONGEST_TIMEOUT = 29


class ChannelSettingsError(Exception):
    """A channel's setting is missing or malformed; the message names the variable, never a secret's value."""


class OutcomeKind(StrEnum):
    """What became of one provider call."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """Permanent: this message to this address will not go. Never resent."""
    THROTTLED = "throttled"
    """Not processed, we were too fast: safe to send again after `retry_after`."""
    RETRY = "retry"
    """Surely not accepted, and worth a later try."""
    UNCERTAIN = "uncertain"
    """Nobody knows whether it was accepted. Never resent blindly."""


class SideEffect(StrEnum):
    """What a provider's answer tells the ledger beyond this one message."""

    OPTED_OUT = "opted_out"
    """The provider knows of an opt-out: it must enter our own ledger."""
    BAD_ADDRESS = "bad_address"
    """The address does not work on this channel; use another channel."""
    PAUSE_CHANNEL = "pause_channel"
    """Account, registration or reputation trouble: stop the channel and alert. Every other message would fare alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message, rendered and addressed. Keywords only: its two instants must not be swapped."""

    reference: str
    """The attempt's token; must travel with the send so that a receipt finds it."""
    to: str
    body: str
    valid_until: datetime
    """After this instant (UTC) the provider must not deliver it any more."""
    now: datetime
    """The instant of the call (UTC), by the caller's clock: a channel reads no clock of its own."""
    organisation: str
    subject: str | None = None
    language: str = "en"
    unsubscribe_url: str | None = None
    """RFC 8058 one-click address (email)."""
    is_answer: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the provider said to one call."""

    kind: OutcomeKind
    provider_ref: str | None = None
    code: str | None = None
    """The provider's code: a closed vocabulary, never its message text."""
    retry_after: timedelta | None = None
    """Not sooner than this; None where the provider names no time and the sender's own back-off is as good."""
    effect: SideEffect | None = None
    later_tries: int | None = None
    """With RETRY: at most this many more tries are worth making; None = as many as the sender allows."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One pacing cell: at most `per_second` sustained, `burst` at once, in units of `Channel.cost`.

    `key` need be unique within its channel only, and names no patient; the sender prepends the channel's name. `burst`
    is never below the largest cost, or a long message would wait for ever.
    """

    key: str
    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A provider's HTTP call to us, as it came."""

    method: str
    url: str
    """The full public URL, as the provider signed it."""
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes


@dataclass(frozen=True, slots=True)
class InboundReply:
    """A patient wrote back."""

    provider_id: str
    sender: str
    text: str
    answered_by_network: bool = False
    """The provider, or the carrier's network, answered it itself: a second answer would be one too many."""


@dataclass(frozen=True, slots=True)
class InboundReceipt:
    """A provider reports on a message we sent. `status` is a `Delivery` value."""

    provider_ref: str
    status: str
    reference: str = ""
    code: str | None = None
    effect: SideEffect | None = None


class WebhookError(Exception):
    """The webhook's content cannot be read; the message names the field, never its value."""


class Sender(Protocol):
    """An open connection pool to the channel's provider, used on one event loop by many tasks at once."""

    async def send(self, message: Outgoing) -> Outcome:
        """Make one provider call. Never raises for what a provider or network does: that is an Outcome.

        It ends within the channel's timeout setting, waiting for a free connection included. A message whose
        `valid_until` has come is not sent: RETRY with code `window_closed`, for the guard to find it a new window.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class Channel(Protocol):
    """What every channel module offers as `CHANNEL`."""

    name: str
    """Queue name, metric label and the value stored in touches; the name of its first provider's module."""
    contact_system: str
    """The ContactSystem it reaches: `phone` or `email`."""
    webhook_kinds: Sequence[str]
    """The webhooks it takes, e.g. `inbound`, `status`: routes `/webhooks/<provider>/<kind>`."""
    settings: Sequence[Setting]
    """Its environment variables, for help and validation."""

    def configure(self, environ: Mapping[str, str], public_url: str) -> Any:
        """Its own settings object, or None where the channel is not set up, so that a fleet can run without it.

        Not set up means that its address variable and all others without a default are unset or empty; half a
        configuration is an error, never a channel quietly missing.

        Raises:
            ChannelSettingsError: names the variable and what it should be.
        """
        ...

    def provider_host(self, config: Any) -> str:
        """The host its calls go to. Off this machine they reach real people, who must be able to follow our links."""
        ...

    def open(self, config: Any) -> Sender:
        """Open a sender; called from a coroutine of the event loop that will use it. Connects on first use."""
        ...

    def cost(self, body: str) -> int:
        """What one message takes from the pacing cells (SMS: segments); at least 1."""
        ...

    def rates(self, config: Any, to: str) -> Sequence[Rate]:
        """The provider-side pacing cells one message to `to` passes, widest first (the site's cell is added)."""
        ...

    def concurrency(self, config: Any) -> int:
        """Calls of one process that can be under way at once without waiting for a connection; at least 1."""
        ...

    def weight(self, config: Any) -> int:
        """Its share of the contact points, beside the weights of the channel's other providers; 0 = a mere stand-by."""
        ...

    def effect_of(self, code: str) -> SideEffect | None:
        """What a provider's error code tells beyond its one message; None = nothing, or the code is not known.

        Asked for codes that come by other ways than the channel's own calls and webhooks: a gateway's receipt event.
        """
        ...

    def verify(self, config: Any, request: WebhookRequest) -> bool:
        """Whether the request was really signed by the provider. Never raises; nothing unverified is parsed."""
        ...

    def parse(self, config: Any, kind: str, request: WebhookRequest) -> Sequence[InboundReply | InboundReceipt]:
        """What a verified request says. Raises WebhookError."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """One message that a provider says it took, as its list has it now."""

    provider_ref: str
    created_at: datetime
    """By the provider's clock (UTC)."""
    status: str
    """A `Delivery` value."""
    body: str = field(repr=False)
    """Health information: held in memory for the comparison, and never written anywhere."""
    code: str | None = None
    effect: SideEffect | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A provider's answer to the question what it took for one number."""

    messages: Sequence[Taken]
    is_whole: bool
    """Whether no message created since the instant asked for is missing."""


class Asker(Protocol):
    """An open connection to ask a provider by, used on one event loop."""

    async def taken(self, to: str, since: datetime) -> Listing | None:
        """What the provider took for `to` since then (UTC), and perhaps more; None where it did not answer.

        Never raises for what a provider or network does. It may take several calls, each within the channel's timeout.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


@runtime_checkable
class Asking(Protocol):
    """What a channel may offer besides `Channel`: its provider can be asked what it took."""

    def open_asker(self, config: Any) -> Asker:
        """Open one; called from a coroutine of the event loop that will use it. Its connections are not the sends'."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable of a channel."""

    name: str
    help: str
    default: str | None = None
    """What is used where it is unset; None = nothing, it belongs to setting the channel up."""
    secret: bool = field(default=False)
