"""Providers of one channel: who delivers to whom, who is not asked because it fails, and what answers say of each.

A contact point keeps to one provider, so that a patient sees one number; another serves it only while the breaker of
its own is open. An answer comes from the number that was written to, while that one's provider can. What was sent and
may have been accepted is never claimed again, so nothing is sent by two.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from channels.kit.contract import Channel, Outcome, OutcomeKind, Rate, Sender
from channels.kit.health import Health, health_of
from domain.ledger.claimed import Claimed, Route
from domain.ledger.finishes import Finish
from domain.rules.guard import RULES
from domain.rules.vocabulary import AttemptState, Wait
from ops.runtime import metrics
from ops.runtime.breakers import Breakers, Tally

#: Why a touch waits that nobody can deliver now.
DOWN: Final = "provider_down"

#: A touch is looked at again no sooner: trials that another process makes take about a call's time.
_SOONEST: Final = timedelta(seconds=5)


class Providers:
    """One channel's providers in one process; safe to share between its threads."""

    def __init__(self, members: Mapping[str, tuple[Channel, Any]], breakers: Breakers) -> None:
        """The providers by name, each with its configuration; `open` them before the first call."""
        self._members = dict(members)
        self._breakers = breakers
        self._weights = {name: channel.weight(config) for name, (channel, config) in members.items()}
        self._senders: dict[str, Sender] = {}

    @property
    def are_several(self) -> bool:
        """Whether another may serve where one fails."""
        return len(self._members) > 1

    async def open(self) -> None:
        """Open a sender for each, on the event loop that will use them."""
        self._senders = {name: channel.open(config) for name, (channel, config) in self._members.items()}

    async def aclose(self) -> None:
        """Close every sender's connections."""
        for sender in self._senders.values():
            await sender.aclose()

    def close(self) -> None:
        """Close what the breakers are kept in."""
        self._breakers.close()

    def sender(self, provider: str) -> Sender:
        """The open sender of this provider."""
        return self._senders[provider]

    def concurrency(self) -> int:
        """Calls that can be under way at once, whichever provider they all should go to."""
        return min(channel.concurrency(config) for channel, config in self._members.values())

    def rates(self, provider: str, to: str, now: datetime) -> Sequence[Rate]:
        """The provider's pacing cells; a part of them while it comes back from a failure."""
        channel, config = self._members[provider]
        rates, part = channel.rates(config, to), self._breakers.part(provider, now)
        return rates if part == 1.0 else [_part(rate, part) for rate in rates]

    def choice(self, now: datetime) -> Choice:
        """Who may deliver now, for one claim. It may have taken trials: what is not claimed for them is given back."""
        self._breakers.look(now)
        trials = self._breakers.take_trials(now)
        asked = {name for name in self._members if self._breakers.is_closed(name)}
        waits = [self._breakers.wait(name, now) for name in self._members]
        return Choice(self._weights, asked, trials, now + max(min(waits), _SOONEST))

    def claimed(self, choice: Choice, claimed: Iterable[Claimed], now: datetime) -> None:
        """What came of a choice: count whom another than their own provider serves, and give unused trials back."""
        used = Counter(each.provider for each in claimed)
        self._breakers.give_back([name for name in choice.trials if not used[name]], now)
        if self.are_several:
            for each in claimed:
                own = _in_order(each.contact_point_id, each.came_by, choice.weights)[0]
                if own != each.provider:
                    metrics.provider_failovers_total.labels(each.channel, own).inc()

    def down(self, claimed: Sequence[Claimed], choice: Choice) -> set[str]:
        """Tokens of those whose provider has been found to fail since they were claimed."""
        return {
            each.token
            for each in claimed
            if each.provider not in choice.trials and not self._breakers.is_closed(each.provider)
        }

    def report(self, wave: Sequence[Claimed], outcomes: Sequence[Outcome], now: datetime) -> None:
        """Tell the breakers what these calls said of their providers."""
        said: dict[str, Tally] = {}
        for each, outcome in zip(wave, outcomes, strict=True):
            health = health_of(outcome)
            tally = said.setdefault(each.provider, Tally())
            tally.good += health is Health.WELL
            tally.bad += health is Health.ILL or health is Health.REFUSING
            # with one provider the channel is paused, and a person resumes it
            tally.is_in_trouble |= health is Health.REFUSING and self.are_several
        self._breakers.report(said, now)

    def elsewhere(self, claimed: Claimed, outcome: Outcome, end: Finish) -> Finish:
        """The attempt's end; due at once where it surely was not accepted and another provider is asked by now."""
        is_down = not self._breakers.is_closed(claimed.provider)
        others = any(self._breakers.is_closed(name) for name in self._members if name != claimed.provider)
        is_back = end.state in {AttemptState.RETRY, AttemptState.THROTTLED} and outcome.kind is OutcomeKind.RETRY
        if not (is_down and others and is_back and health_of(outcome) in {Health.ILL, Health.REFUSING}):
            return end
        return replace(end, retry_at=end.called_at)


class Choice:
    """Who may deliver in one claim."""

    def __init__(self, weights: Mapping[str, int], asked: set[str], trials: Mapping[str, int], until: datetime) -> None:
        """`asked`: whose breakers are closed; `trials`: how many may go to the others; `until`: when to look again."""
        self.weights = weights
        self.trials = trials
        self._asked = asked
        self._wait = Wait(until, DOWN, RULES[DOWN])

    def route(self) -> Route:
        """A claim's route; a fresh one each time a claim is begun anew, since it counts the trials."""
        left = Counter(self.trials)

        def to(contact_point_id: int, came_by: str | None) -> str | Wait:
            for name in _in_order(contact_point_id, came_by, self.weights):
                if name in self._asked:
                    return name
                if left[name] > 0:
                    left[name] -= 1
                    return name
            return self._wait

        return to


def _in_order(contact_point_id: int, came_by: str | None, weights: Mapping[str, int]) -> Sequence[str]:
    """Who serves it, the first that can: before all others the provider whose number received what is answered."""
    ranked = _ranked(contact_point_id, weights)
    if came_by is None or came_by not in weights:
        return ranked
    return (came_by, *(name for name in ranked if name != came_by))


def _ranked(contact_point_id: int, weights: Mapping[str, int]) -> Sequence[str]:
    return tuple(weights) if len(weights) == 1 else _by_weight(contact_point_id, tuple(sorted(weights.items())))


@lru_cache(maxsize=65_536)
def _by_weight(contact_point_id: int, weights: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Providers in the order in which they serve this contact point.

    Weighted rendezvous hashing (Thaler and Ravishankar, 1998): the first is each in proportion to its weight, and a
    provider that comes, goes or gets another weight moves only as many contact points as it must.
    """
    return tuple(
        sorted((name for name, _ in weights), key=lambda name: _score(contact_point_id, name, dict(weights)[name]))
    )


def _score(contact_point_id: int, name: str, weight: int) -> tuple[bool, float]:
    digest = hashlib.blake2b(f"{name}:{contact_point_id}".encode(), digest_size=8).digest()
    drawn = -math.log((int.from_bytes(digest) + 0.5) / 2**64)
    return (weight == 0, drawn / (weight or 1))


def _part(rate: Rate, part: float) -> Rate:
    return replace(rate, per_second=rate.per_second * part, burst=max(1, int(rate.burst * part)))
