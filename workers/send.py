"""Sends a batch of touches on one channel: claim, pace, call, finish. The send protocol, in that order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import dramatiq
import structlog
from dramatiq import Actor, Broker
from sqlalchemy import Engine

from channels.kit.contract import Channel, Outcome, OutcomeKind, Outgoing, SideEffect
from domain import jobs
from domain.ledger import claim_recheck, claims, finishes, halts, listeners, pauses
from domain.ledger.claimed import Claim, Claimed
from domain.ledger.dispatching import HINT
from domain.ledger.finishes import Finish
from domain.ledger.store import reading
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import AttemptState
from ops.runtime import metrics
from ops.runtime.clock import Clock
from ops.runtime.loop import LoopThread
from ops.runtime.pacing import Pacer
from workers.outcomes import finish_of, take_effect
from workers.providers import DOWN, Choice, Providers
from workers.rendering import Renderer, Unrenderable
from workers.turns import Message, Turns

log = structlog.get_logger(__name__)

#: A claim older than this is checked again for opt-outs and recalls right before its call (promise 3).
FRESH = timedelta(seconds=1)

#: What an error kept from being called is tried again after so long, lest a lasting fault spin.
AFTER_ERROR = timedelta(minutes=1)


class SendWorker:
    """Serves one channel's queues; an instance per process, safe for its worker threads."""

    def __init__(
        self,
        *,
        engine: Engine,
        vault: Vault,
        clock: Clock,
        channel: Channel,
        providers: Providers,
        systems: dict[str, str],
        rules: Rulebook,
        pacer: Pacer,
        renderer: Renderer,
        loop: LoopThread,
        pace_by_clock: bool,
        stopping: threading.Event | None = None,
        tries: int = finishes.MOST_ATTEMPTS,
    ) -> None:
        """Open the providers' senders on `loop`; once `stopping` is set, no further call is begun."""
        self._engine = engine
        self._vault = vault
        self._clock = clock
        self._channel = channel
        self._providers = providers
        self._systems = systems
        self._rules = rules
        self._renderer = renderer
        self._loop = loop
        self._tries = tries
        self._stopping = stopping or threading.Event()
        self._turns = Turns(channel, providers, pacer, pace_by_clock=pace_by_clock)
        loop.run(providers.open())

    def send(self, ids: Sequence[int]) -> None:
        """Send those of the touches that may go now. Running twice, or dying anywhere, sends nothing twice."""
        claimed_at = time.monotonic()
        choice = self._providers.choice(self._clock.now())
        claim = self._claim(ids, choice)
        uncalled = {each.token: each for each in claim.claimed}
        # the claim decides who of a household comes first; whose turn at the limits it is, the dispatcher has said
        places = {id_: place for place, id_ in enumerate(ids)}
        try:
            messages, unrenderable = self._render(sorted(claim.claimed, key=lambda each: places[each.touch_id]))
            granted, withheld = self._turns.take(messages, self._clock.now())
            self._finish([*unrenderable, *withheld])
            self._send_granted(granted, claimed_at, uncalled, choice)
        except BaseException:  # Dramatiq's time limit is no Exception
            self._give_back(uncalled.values())
            raise

    def _send_granted(
        self, granted: Sequence[Message], claimed_at: float, uncalled: dict[str, Claimed], choice: Choice
    ) -> None:
        """Wave by wave; what a call may have been made for is taken out of `uncalled` before it is made."""
        # no more than can start at once: what waits for a connection would not see an opt-out committed meanwhile
        size = self._providers.concurrency()
        why: str | None = None
        for start in range(0, len(granted), size):
            age = timedelta(seconds=time.monotonic() - claimed_at)
            why = why or self._why_no_more(age)
            if why is not None:
                rest = [each.claimed for each in granted[start:]]
                self._finish(self._released(rest, why, self._clock.now()))
                return
            wave: Sequence[Message] = granted[start : start + size]
            wave, stopped = self._recheck(wave) if age > FRESH else (wave, [])
            wave, down = self._still_asked(wave, choice)
            for each in wave:
                del uncalled[each.claimed.token]
            ends, is_paused = self._call(wave)
            self._finish([*stopped, *down, *ends])
            why = "channel_paused" if is_paused else None

    def _why_no_more(self, age: timedelta) -> str | None:
        """Why no further call of a batch may begin, or None; what is left goes back untouched."""
        if self._stopping.is_set():
            return "stopping"
        # what is left could outlive its lease
        return "lease_short" if age > claims.LEASE / 2 else None

    def _give_back(self, uncalled: Iterable[Claimed]) -> None:
        """After an error: release what surely was not called, unless it ended already (its token fences)."""
        try:
            self._finish(self._released(uncalled, "worker_failed", self._clock.now() + AFTER_ERROR))
        except Exception:
            # the error that brought us here matters more; the reaper takes care of these, too
            log.exception("release_failed", channel=self._channel.name)

    def close(self) -> None:
        """Close the providers' connections."""
        self._loop.run(self._providers.aclose())
        self._providers.close()

    def _claim(self, ids: Sequence[int], choice: Choice) -> Claim:
        now = self._clock.now()
        claim = transact(
            self._engine,
            lambda conn: claims.claim(
                conn,
                ids,
                channel=self._channel.name,
                system=self._channel.contact_system,
                systems=self._systems,
                rules=self._rules,
                now=now,
                route=choice.route(),
            ),
        )
        self._providers.claimed(choice, claim.claimed, now)
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

    def _render(self, claimed: Iterable[Claimed]) -> tuple[list[Message], list[Finish]]:
        messages: list[Message] = []
        failed: list[Finish] = []
        for each in claimed:
            try:
                outgoing = self._renderer.render(each, self._clock.now())
            except Unrenderable as error:
                log.warning("touch_unrenderable", touch_id=each.touch_id, reason=error.reason)
                failed.append(Finish(each.touch_id, each.token, AttemptState.REJECTED, reason=error.reason))
                continue
            messages.append(Message(each, outgoing, self._channel.cost(outgoing.body)))
        return messages, failed

    def _recheck(self, wave: Sequence[Message]) -> tuple[list[Message], list[Finish]]:
        """What of an aged wave may still go. The rest goes back, due now: the next claim finds its reason again."""
        claimed, now = [each.claimed for each in wave], self._clock.now()
        with reading(self._engine) as conn:
            # first: what was kept is committed before it is said that nothing is
            are_kept = listeners.may_keep_choices(conn)
            stopped = claim_recheck.still_suppressed(conn, claimed)
            overtaken = claim_recheck.overtaken(conn, [each.touch_id for each in claimed], now)
            recalled = claim_recheck.texts_held(conn, claimed)
            halts_of = halts.held(conn, [each.touch_id for each in claimed])
            is_paused = self._channel.name in pauses.paused(conn)
        # as at the claim, answers go whether or not the channel is paused
        paused = [each.claimed.touch_id for each in wave if is_paused and not each.is_answer]
        waits = [each.claimed.touch_id for each in wave if are_kept and not each.may_follow_an_opt_out]
        # of several reasons the last one written here is told
        why = (
            dict.fromkeys(paused, "channel_paused")
            | dict.fromkeys(halts_of, "campaign_paused")
            | dict.fromkeys(recalled, "template_recalled")
            | overtaken
            | dict.fromkeys(waits, "choices_kept")
            | dict.fromkeys(stopped, "opted_out")
        )
        kept = [each for each in wave if each.claimed.touch_id not in why]
        return kept, [
            end for each in claimed if each.touch_id in why for end in self._released([each], why[each.touch_id], now)
        ]

    def _still_asked(self, wave: Sequence[Message], choice: Choice) -> tuple[list[Message], list[Finish]]:
        """What of a wave may still go to its provider. The rest goes back, due now: the next claim finds another."""
        down = self._providers.down([each.claimed for each in wave], choice)
        back = [each.claimed for each in wave if each.claimed.token in down]
        kept = [each for each in wave if each.claimed.token not in down]
        return kept, self._released(back, DOWN, self._clock.now())

    @staticmethod
    def _released(claimed: Iterable[Claimed], reason: str, at: datetime) -> list[Finish]:
        return [
            Finish(each.touch_id, each.token, AttemptState.RELEASED, reason=reason, retry_at=at) for each in claimed
        ]

    def _call(self, wave: Sequence[Message]) -> tuple[list[Finish], bool]:
        """Call the provider for all of a wave at once, with no transaction open; whether that paused the channel."""
        if not wave:
            return [], False
        called_at = self._clock.now()
        calls = [(each.claimed.provider, replace(each.outgoing, now=called_at)) for each in wave]
        outcomes = self._loop.run(self._call_all(calls))
        is_paused = self._take_effects(wave, outcomes)
        self._providers.report([each.claimed for each in wave], outcomes, self._clock.now())
        ends = [
            self._providers.elsewhere(
                each.claimed, outcome, finish_of(each.claimed, outcome, called_at, each.cost, self._tries)
            )
            for each, outcome in zip(wave, outcomes, strict=True)
        ]
        return ends, is_paused

    async def _call_all(self, calls: Sequence[tuple[str, Outgoing]]) -> list[Outcome]:
        return list(await asyncio.gather(*(self._call_one(*each) for each in calls)))

    async def _call_one(self, provider: str, outgoing: Outgoing) -> Outcome:
        started = time.perf_counter()
        try:
            outcome = await self._providers.sender(provider).send(outgoing)
        except Exception:
            # a channel's bug must not hide that the provider may have accepted
            log.exception("channel_raised", channel=self._channel.name)
            outcome = Outcome(OutcomeKind.UNCERTAIN, code="channel_error")
        elapsed = time.perf_counter() - started
        metrics.provider_call_seconds.labels(self._channel.name, outcome.kind.value).observe(elapsed)
        return outcome

    def _take_effects(self, wave: Sequence[Message], outcomes: Sequence[Outcome]) -> bool:
        """What answers say beyond their message; committed before the finish, so that a crash loses no opt-out.

        Whether that paused the channel: trouble at one of several providers opens its breaker instead.
        """
        is_paused = False
        for message, outcome in zip(wave, outcomes, strict=True):
            pauses = outcome.effect == SideEffect.PAUSE_CHANNEL
            if outcome.effect is None or (pauses and self._providers.are_several):
                continue
            is_paused |= pauses
            now = self._clock.now()
            transact(self._engine, partial(take_effect, claimed=message.claimed, outcome=outcome, now=now))
            if pauses:
                log.error("channel_paused", channel=self._channel.name, code=outcome.code)
        return is_paused

    def _finish(self, ends: Sequence[Finish]) -> None:
        if not ends:
            return
        now = self._clock.now()
        written = transact(self._engine, lambda conn: finishes.finish(conn, ends, now))
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
