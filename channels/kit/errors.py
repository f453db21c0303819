"""Provider errors as data: each code a provider documents, what it means, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from channels.kit.contract import Outcome, OutcomeKind, SideEffect


@dataclass(frozen=True, slots=True)
class ProviderError:
    """One row of a channel's error table."""

    code: str
    meaning: str
    kind: OutcomeKind
    effect: SideEffect | None = None
    retry_after: timedelta | None = None
    """How long to wait where the provider's answer names no time."""
    later_tries: int | None = None

    def outcome(self, retry_after: timedelta | None = None) -> Outcome:
        """The outcome of a call answered so; `retry_after` is what the provider named."""
        return Outcome(
            kind=self.kind,
            code=self.code,
            retry_after=retry_after or self.retry_after,
            effect=self.effect,
            later_tries=self.later_tries,
        )


def table(*rows: ProviderError) -> Mapping[str, ProviderError]:
    """The rows by their code.

    Raises:
        ValueError: a code is listed twice.
    """
    by_code = {row.code: row for row in rows}
    if len(by_code) != len(rows):
        raise ValueError("an error code is listed twice")
    return MappingProxyType(by_code)


#: The window of a message closed before the call: nothing was sent, the guard finds it a new instant.
WINDOW_CLOSED = Outcome(OutcomeKind.RETRY, code="window_closed")

#: Codes of calls that ended before the provider had the message; with RETRY, which says that surely nothing was sent.
_NEVER_ARRIVED = frozenset(
    {
        "window_closed",
        "connect_failed",
        "connect_timeout",
        "connection_lost",
        "timeout",
        "tls_failed",
        "not_offered",
        "unreadable",
    }
)


def says_something_of_the_message(outcome: Outcome) -> bool:
    """Whether the provider judged this message, so that trying it again and again would be in vain.

    It did not where we were too fast, where the call did not get through, and where our own standing is in question
    (PAUSE_CHANNEL): the message waits then, for as long as it is worth sending.
    """
    if outcome.kind is OutcomeKind.RETRY:
        return outcome.effect is not SideEffect.PAUSE_CHANNEL and outcome.code not in _NEVER_ARRIVED
    return outcome.kind is not OutcomeKind.THROTTLED
