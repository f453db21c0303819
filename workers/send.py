"""Sends a batch of touches on one channel: claim, pace, call, finish. The send protocol, in that order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import dramatiq
import structlog
from dramatiq import Actor, Broker
from sqlalchemy import Engine

from channels.kit.contract import Channel, Outcome, OutcomeKind, Outgoing, Sender, SideEffect
from domain import jobs
from domain.ledger import choices, claims, finishes, pauses
from domain.ledger.claims import Claim, Claimed
from domain.ledger.dispatching import HINT
from domain.ledger.finishes import MOST_ATTEMPTS, Finish
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from domain.rules.vocabulary import AttemptState
from ops.runtime import metrics
from ops.runtime.clock import Clock
from ops.runtime.loop import LoopThread
from ops.runtime.pacing import Ask, Cell, Pacer
from workers.rendering import Renderer, Unrenderable

log = structlog.get_logger(__name__)

#: Provider calls under way at once in one process.
CONCURRENT = 32

#: A claim older than this is checked again for opt-outs right before its call (promise 3).
FRESH = timedelta(seconds=1)

#: First wait of a send that surely did not reach the provider; doubles with every try.
_FIRST_RETRY = timedelta(minutes=5)

#: Sustained and burst rate of one site on one channel: a guard against a site's own misconfiguration.
SITE_PER_SECOND, SITE_BURST = 100.0, 1000


@dataclass(frozen=True, slots=True)
class _Message:
    """A claimed touch with its text."""

    claimed: Claimed
    outgoing: Outgoing
    cost: int


class SendWorker:
    """Serves one channel's queues; an instance per process, safe for its worker threads."""

    def __init__(
        self,
        *,
        engine: Engine,
        vault: Vault,
        clock: Clock,
        channel: Channel,
        config: Any,
        systems: dict[str, str],
        pacer: Pacer,
        renderer: Renderer,
        loop: LoopThread,
        pace_by_clock: bool,
    ) -> None:
        self._engine = engine
        self._vault = vault
        self._clock = clock
        self._channel = channel
        self._config = config
        self._systems = systems
        self._pacer = pacer
        self._renderer = renderer
        self._loop = loop
        self._pace_by_clock = pace_by_clock
        self._sender: Sender = loop.run(self._open())

    def send(self, ids: Sequence[int]) -> None:
        """Send those of the touches that may go now. Running twice, or dying anywhere, sends nothing twice."""
        claimed_at = time.monotonic()
        claim = self._claim(ids)
        messages, unrenderable = self._render(claim.claimed)
        granted, withheld = self._pace(messages)
        self._finish([*unrenderable, *withheld])
        for start in range(0, len(granted), CONCURRENT):
            wave = granted[start : start + CONCURRENT]
            age = timedelta(seconds=time.monotonic() - claimed_at)
            if age > claims.LEASE / 2:
                # what is left could outlive its lease: give it back untouched
                self._finish(self._released(granted[start:], "lease_short", self._clock.now()))
                return
            wave, stopped = self._recheck(wave) if age > FRESH else (wave, [])
            self._finish([*stopped, *self._call(wave)])

    def close(self) -> None:
        """Close the provider's connections."""
        self._loop.run(self._sender.aclose())

    async def _open(self) -> Sender:
        return self._channel.open(self._config)

    def _claim(self, ids: Sequence[int]) -> Claim:
        now = self._clock.now()
        with self._engine.begin() as conn:
            claim = claims.claim(
                conn,
                ids,
                channel=self._channel.name,
                system=self._channel.contact_system,
                systems=self._systems,
                now=now,
            )
        for _, wait in claim.waits:
            metrics.guard_waits_total.labels(wait.why).inc()
        for _, why in claim.nevers:
            metrics.guard_nevers_total.labels(why).inc()
            metrics.touches_total.labels(self._channel.name, "expired" if why == "expired" else "suppressed").inc()
        for each in claim.claimed:
            metrics.touch_due_age_seconds.labels(self._channel.name).observe((now - each.due_at).total_seconds())
            if each.dispatched_until is not None:
                waited = now - (each.dispatched_until - HINT)
                metrics.queue_handoff_seconds.labels(self._channel.name).observe(waited.total_seconds())
        return claim

    def _render(self, claimed: Iterable[Claimed]) -> tuple[list[_Message], list[Finish]]:
        messages: list[_Message] = []
        failed: list[Finish] = []
        for each in claimed:
            try:
                outgoing = self._renderer.render(each, self._clock.now())
            except Unrenderable as error:
                log.warning("touch_unrenderable", touch_id=each.touch_id, reason=error.reason)
                failed.append(Finish(each.touch_id, each.token, AttemptState.REJECTED, reason=error.reason))
                continue
            messages.append(_Message(each, outgoing, self._channel.cost(outgoing.body)))
        return messages, failed

    def _pace(self, messages: Sequence[_Message]) -> tuple[list[_Message], list[Finish]]:
        """Take tokens for all in one round trip; answers to patients are not held back by outreach's limits."""
        if not messages:
            return [], []
        now = self._clock.now()
        grants = self._pacer.take(
            [Ask(self._cells(each), each.cost) for each in messages], now if self._pace_by_clock else None
        )
        granted = [each for each, grant in zip(messages, grants, strict=True) if grant.granted]
        withheld = [
            Finish(
                each.claimed.touch_id,
                each.claimed.token,
                AttemptState.RELEASED,
                retry_at=now + grant.retry_after,
            )
            for each, grant in zip(messages, grants, strict=True)
            if not grant.granted
        ]
        metrics.pacing_granted_total.labels(self._channel.name).inc(len(granted))
        metrics.pacing_withheld_total.labels(self._channel.name).inc(len(withheld))
        return granted, withheld

    def _cells(self, message: _Message) -> tuple[Cell, ...]:
        rates = self._channel.rates(self._config, message.outgoing.to)
        cells = tuple(Cell(f"{self._channel.name}:{rate.key}", rate.per_second, rate.burst) for rate in rates)
        site = f"{self._channel.name}:site:{message.claimed.organisation_id}:{message.claimed.site}"
        return (*cells, Cell(site, SITE_PER_SECOND, SITE_BURST))

    def _recheck(self, wave: Sequence[_Message]) -> tuple[list[_Message], list[Finish]]:
        with reading(self._engine) as conn:
            stopped = claims.still_suppressed(conn, [each.claimed for each in wave])
        kept = [each for each in wave if each.claimed.touch_id not in stopped]
        now = self._clock.now()
        # back to planned, due now: the next claim ends it with the reason it finds
        return kept, self._released([each for each in wave if each.claimed.touch_id in stopped], "opted_out", now)

    @staticmethod
    def _released(messages: Iterable[_Message], reason: str, at: datetime) -> list[Finish]:
        return [
            Finish(each.claimed.touch_id, each.claimed.token, AttemptState.RELEASED, reason=reason, retry_at=at)
            for each in messages
        ]

    def _call(self, wave: Sequence[_Message]) -> list[Finish]:
        """Call the provider for all of a wave at once, with no transaction open."""
        if not wave:
            return []
        called_at = self._clock.now()
        outcomes = self._loop.run(self._call_all([replace(each.outgoing, now=called_at) for each in wave]))
        self._take_effects(wave, outcomes)
        return [self._finish_of(message, outcome, called_at) for message, outcome in zip(wave, outcomes, strict=True)]

    async def _call_all(self, outgoing: Sequence[Outgoing]) -> list[Outcome]:
        return list(await asyncio.gather(*(self._call_one(each) for each in outgoing)))

    async def _call_one(self, outgoing: Outgoing) -> Outcome:
        started = time.perf_counter()
        try:
            outcome = await self._sender.send(outgoing)
        except Exception:
            # a channel's bug must not hide that the provider may have accepted
            log.exception("channel_raised", channel=self._channel.name)
            outcome = Outcome(OutcomeKind.UNCERTAIN, code="channel_error")
        elapsed = time.perf_counter() - started
        metrics.provider_call_seconds.labels(self._channel.name, outcome.kind.value).observe(elapsed)
        return outcome

    def _finish_of(self, message: _Message, outcome: Outcome, called_at: datetime) -> Finish:
        claimed = message.claimed
        state = AttemptState(outcome.kind.value)
        reason = None if state == AttemptState.ACCEPTED else (outcome.code or state.value)
        retry_at = None
        if state in {AttemptState.THROTTLED, AttemptState.RETRY}:
            tries = MOST_ATTEMPTS if outcome.later_tries is None else min(MOST_ATTEMPTS, 1 + outcome.later_tries)
            if claimed.attempts >= tries:
                state, reason = AttemptState.REJECTED, "attempts_exhausted"
            else:
                after = outcome.retry_after or _FIRST_RETRY * 2 ** (claimed.attempts - 1)
                retry_at = called_at + after
                reason = "throttled" if state == AttemptState.THROTTLED else "provider_retry"
        return Finish(
            claimed.touch_id,
            claimed.token,
            state,
            reason=reason,
            provider_ref=outcome.provider_ref,
            error_code=outcome.code,
            called_at=called_at,
            retry_at=retry_at,
            segments=message.cost,
        )

    def _take_effects(self, wave: Sequence[_Message], outcomes: Sequence[Outcome]) -> None:
        """What answers say beyond their message; committed before the finish, so that a crash loses no opt-out."""
        effects = [(each, out) for each, out in zip(wave, outcomes, strict=True) if out.effect is not None]
        for message, outcome in effects:
            now = self._clock.now()
            claimed = message.claimed
            with self._engine.begin() as conn:
                if outcome.effect == SideEffect.OPTED_OUT:
                    choices.opt_out(
                        conn,
                        organisation_id=claimed.organisation_id,
                        contact_point_id=claimed.contact_point_id,
                        source="provider",
                        at=now,
                        now=now,
                    )
                elif outcome.effect == SideEffect.BAD_ADDRESS:
                    choices.mark_bad(conn, claimed.contact_point_id, "provider", now)
                elif outcome.effect == SideEffect.PAUSE_CHANNEL:
                    pauses.pause(conn, self._channel.name, outcome.code or "provider", now)
                    log.error("channel_paused", channel=self._channel.name, code=outcome.code)

    def _finish(self, ends: Sequence[Finish]) -> None:
        if not ends:
            return
        with self._engine.begin() as conn:
            written = finishes.finish(conn, ends, self._clock.now())
        for end in ends:
            metrics.touches_total.labels(self._channel.name, end.state.value).inc()
        log.info("batch_finished", channel=self._channel.name, touches=len(ends), written=written)


def register(broker: Broker, worker: SendWorker, channel: str) -> tuple[Actor[..., None], Actor[..., None]]:
    """The channel's two actors: outreach, and answers on a queue of their own."""

    def serve(job: jobs.Job, run: Callable[[Sequence[int]], None]) -> Actor[..., None]:
        def handle(ids: list[int]) -> None:
            run(ids)

        return dramatiq.actor(actor_name=job.actor, queue_name=job.queue, broker=broker)(handle)

    return serve(jobs.send_touches(channel, ()), worker.send), serve(jobs.send_answers(channel, ()), worker.send)
