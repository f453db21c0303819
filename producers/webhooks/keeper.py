"""The keeper: puts an arrival into the ledger, or on disk behind those that wait there; then it may be answered.

What patients choose and what providers report wait in lanes of their own: no STOP stands behind thousands of receipts,
whose order among the others does not matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import anyio
import structlog

from ops.runtime import metrics
from producers.webhooks.arrivals import Arrival, ReceiptsArrival, ReplyArrival
from producers.webhooks.outage import is_away
from producers.webhooks.spool import Spool

_log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Seconds the ledger has. Twilio waits fifteen for our answer, other providers ten; the disk needs some of them.
STORE_SECONDS: Final = 5.0


class Keeper:
    """Keeps arrivals: whoever sent one will not send it again."""

    def __init__(self, choices: Spool, receipts: Spool, *, seconds: float = STORE_SECONDS) -> None:
        self._choices = choices
        self._receipts = receipts
        self._seconds = seconds
        # who writes, and how many of their messages are being stored or wait for their turn
        self._turns: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    async def keep(
        self, arrival: Arrival, store: Callable[[], Awaitable[T]], passing: tuple[type[Exception], ...] = ()
    ) -> T | None:
        """What `store` returned, or None: the arrival is on disk and will be stored later.

        While others wait on disk it goes behind them, and a message waits for the one its sender wrote before, so that
        no START overtakes its STOP. A `store` that runs out of time may still commit; storing it again changes nothing.
        Whatever its error, but those of `passing`: nothing that a patient wrote may be lost.

        Raises:
            SpoolError: neither ledger nor disk took it; nothing was kept.
        """
        spool = self._receipts if isinstance(arrival, ReceiptsArrival) else self._choices
        reason = "behind"
        if not spool.is_behind:
            try:
                with anyio.fail_after(self._seconds):
                    async with self._turn(arrival):
                        # whoever it waited for may have gone to the disk
                        if not spool.is_behind:
                            return await store()
            except passing:
                raise
            except Exception as error:  # noqa: BLE001 - see above; its message may carry what a patient wrote
                reason = _reason(error)
                _log.error("arrival_not_stored", kind=arrival.kind, reason=reason, error=type(error).__name__)
        # counted as waiting from here on: nothing has been awaited since it was decided
        kept = spool.append([arrival])
        await asyncio.wrap_future(kept)
        metrics.spooled_total.labels(arrival.kind, reason).inc()
        return None

    @asynccontextmanager
    async def _turn(self, arrival: Arrival) -> AsyncIterator[None]:
        """Until those that the same person sent before are stored, or given up."""
        if not isinstance(arrival, ReplyArrival):
            yield
            return
        key = arrival.channel, arrival.sender
        lock, waiting = self._turns.get(key, (asyncio.Lock(), 0))
        self._turns[key] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns.pop(key)
            if waiting > 1:
                self._turns[key] = lock, waiting - 1


def _reason(error: Exception) -> str:
    if type(error) is TimeoutError:
        return "slow"
    return "away" if is_away(error) else "error"
