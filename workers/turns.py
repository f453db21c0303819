"""Turns: which messages of a batch the limits let go now, and when each of the others may try again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from channels.kit.contract import Channel, Outgoing
from domain.ledger.claimed import Claimed
from domain.ledger.finishes import Finish
from domain.rules.guard import may_answer_suppressed
from domain.rules.vocabulary import AttemptState, TouchKind
from ops.runtime import metrics
from ops.runtime.pacing import Ask, Cell, Pacer
from workers.providers import Providers
from workers.waiting_line import WaitingLine

#: Sustained and burst rate of one site on one channel: a guard against a site's own misconfiguration.
SITE_PER_SECOND, SITE_BURST = 100.0, 1000

#: Tokens that only answers may take from a provider's cell: they run it that far into debt when outreach has emptied
#: it, and outreach waits until the debt is paid. The sustained rate is the same for both.
ANSWER_RESERVE = 5

#: An answer that finds even the reserve empty is tried again this soon.
_ANSWER_WAIT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Message:
    """A claimed touch with its text."""

    claimed: Claimed
    outgoing: Outgoing
    cost: int

    @property
    def is_answer(self) -> bool:
        return self.claimed.kind == TouchKind.ANSWER

    @property
    def may_follow_an_opt_out(self) -> bool:
        """Whether it is one of the few answers that a person who opted out may still get."""
        return may_answer_suppressed(self.claimed.kind, self.claimed.answer)


class Turns:
    """One channel's turns in this process; `pace_by_clock` runs the limits on our clock instead of the pacer's own."""

    def __init__(self, channel: Channel, providers: Providers, pacer: Pacer, *, pace_by_clock: bool) -> None:
        self._channel = channel
        self._providers = providers
        self._pacer = pacer
        self._by_clock = pace_by_clock
        self._line = WaitingLine()

    def take(self, messages: Sequence[Message], now: datetime) -> tuple[list[Message], list[Finish]]:
        """Take tokens for all in one round trip; answers to patients have a reserve that outreach leaves them."""
        if not messages:
            return [], []
        grants = self._pacer.take(
            [Ask(self._cells(each, now), each.cost) for each in messages], now if self._by_clock else None
        )
        granted = [each for each, grant in zip(messages, grants, strict=True) if grant.granted]
        withheld = [
            Finish(
                each.claimed.touch_id,
                each.claimed.token,
                AttemptState.RELEASED,
                retry_at=self._next_turn(each, now, grant.retry_after),
                keeps_place=True,
            )
            for each, grant in zip(messages, grants, strict=True)
            if not grant.granted
        ]
        metrics.pacing_granted_total.labels(self._channel.name).inc(len(granted))
        metrics.pacing_withheld_total.labels(self._channel.name).inc(len(withheld))
        return granted, withheld

    def _next_turn(self, message: Message, now: datetime, retry_after: timedelta) -> datetime:
        if message.is_answer:
            return now + min(retry_after, _ANSWER_WAIT)
        return self._line.turn(now + retry_after, self._cells(message, now), message.cost)

    def _cells(self, message: Message, now: datetime) -> tuple[Cell, ...]:
        provider = message.claimed.provider
        rates = self._providers.rates(provider, message.outgoing.to, now)
        reserve = ANSWER_RESERVE if message.is_answer else 0
        cells = tuple(Cell(f"{provider}:{rate.key}", rate.per_second, rate.burst, reserve) for rate in rates)
        site = f"{self._channel.name}:site:{message.claimed.organisation_id}:{message.claimed.site}"
        return (*cells, Cell(site, SITE_PER_SECOND, SITE_BURST))
