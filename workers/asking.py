"""The asking worker: asks providers what became of sends that nobody knows of, and settles what the answer proves.

The texts that a provider lists are health information. They are held in memory for as long as it takes to read which
touches the links in them name, and neither logged nor stored.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

import dramatiq
import structlog
from dramatiq import Actor, Broker
from sqlalchemy import Engine

from channels.kit.contract import Asker, Asking, Channel, Listing, Taken
from channels.kit.provider_ids import on_channel
from domain import jobs
from domain.ledger import asking
from domain.ledger.asking import Question
from domain.ledger.store import reading
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault, VaultError
from domain.rules.asking import SKEW, Answered, Listed, Said, judge
from domain.rules.links import BOOK, read_token
from ops.runtime import metrics
from ops.runtime.clock import Clock
from ops.runtime.loop import LoopThread
from workers.rendering import CONTACT

_log = structlog.get_logger(__name__)

#: Questions of one process under way at once: few beside the calls of the sends.
_AT_ONCE: Final = 2

#: What follows the address in the link of a text: see `Renderer`. Whose it is the token's own code proves.
_LINK: Final = re.compile(r"/b/([0-9A-Za-z]+)")


class AskWorker:
    """Serves the queue of questions; an instance per process, safe for its worker threads."""

    def __init__(
        self,
        *,
        engine: Engine,
        vault: Vault,
        clock: Clock,
        providers: Mapping[str, tuple[Channel, Any]],
        link_key: bytes,
        loop: LoopThread,
    ) -> None:
        """Open, on `loop`, an asker for each of the providers that can be asked."""
        self._engine = engine
        self._vault = vault
        self._clock = clock
        self._link_key = link_key
        self._loop = loop
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._askers: dict[str, Asker] = loop.run(_open(providers))

    def ask(self, ids: Sequence[int]) -> None:
        """Ask about those of the attempts that are still uncertain. Running twice, or dying anywhere, harms nothing."""
        with reading(self._engine) as conn:
            questions = asking.questions(conn, ids)
        listings = self._loop.run(_together([self._ask_one(each) for each in questions]))
        for question, listing in zip(questions, listings, strict=True):
            self._settle(question, listing)

    def close(self) -> None:
        """Close the connections."""
        self._loop.run(_together([each.aclose() for each in self._askers.values()]))

    async def _ask_one(self, question: Question) -> Listing | None:
        asker = self._askers.get(question.provider)
        if asker is None:
            return None
        try:
            to = self._vault.open(question.sealed_address, CONTACT)
            async with self._turns:
                return await asker.taken(to, question.about.span.claimed_at - SKEW)
        except VaultError:
            return None
        except Exception as error:  # noqa: BLE001 - a bug ends one question; its traceback could hold a text
            _log.error("asker_raised", channel=question.channel, error=type(error).__name__)
            return None

    def _settle(self, question: Question, listing: Listing | None) -> None:
        now = self._clock.now()
        if listing is None:
            transact(self._engine, partial(asking.leave, asked=question, now=now))
            metrics.asked_total.labels(question.channel, "no_answer").inc()
            return
        answered = Answered([self._listed(question, each) for each in listing.messages], listing.is_whole)
        said, found = judge(question.about, answered, now)
        is_settled = transact(self._engine, partial(asking.settle, asked=question, said=said, found=found, now=now))
        metrics.asked_total.labels(question.channel, said.value if is_settled else "too_late").inc()
        if said is not Said.NOTHING:
            _log.info("provider_asked", attempt_id=question.attempt_id, said=said.value, written=is_settled)

    def _listed(self, question: Question, taken: Taken) -> Listed:
        touches = (read_token(self._link_key, BOOK, token) for token in _LINK.findall(taken.body))
        return Listed(
            provider_ref=on_channel(question.channel, question.provider, taken.provider_ref),
            created_at=taken.created_at,
            touches=frozenset(each for each in touches if each is not None),
            status=taken.status,
            code=taken.code,
            effect=taken.effect.value if taken.effect else None,
        )


def register(broker: Broker, worker: AskWorker) -> Actor[..., None]:
    """Serve the queue of questions."""

    def ask_providers(ids: list[int]) -> None:
        worker.ask(ids)

    return dramatiq.actor(actor_name="ask_providers", queue_name=jobs.ASKING, broker=broker)(ask_providers)


def askable(providers: Mapping[str, tuple[Channel, Any]]) -> list[str]:
    """Those of the providers that can be asked."""
    return [name for name, (channel, _) in providers.items() if isinstance(channel, Asking)]


async def _open(providers: Mapping[str, tuple[Channel, Any]]) -> dict[str, Asker]:
    return {
        name: channel.open_asker(config) for name, (channel, config) in providers.items() if isinstance(channel, Asking)
    }


async def _together(calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    return list(await asyncio.gather(*calls))
