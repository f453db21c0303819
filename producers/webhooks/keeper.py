"""The keeper: puts an arrival into the ledger, or on disk behind those that wait there; then it may be answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
import structlog

from ops.runtime import metrics
from producers.webhooks.arrivals import Arrival
from producers.webhooks.outage import is_away
from producers.webhooks.spool import Spool

_log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Seconds the ledger has. Twilio waits fifteen for our answer, other providers ten; the disk needs some of them.
STORE_SECONDS: Final = 5.0


class Keeper:
    """Keeps arrivals: whoever sent one will not send it again."""

    def __init__(self, spool: Spool, *, seconds: float = STORE_SECONDS) -> None:
        self._spool = spool
        self._seconds = seconds

    async def keep(
        self, arrival: Arrival, store: Callable[[], Awaitable[T]], passing: tuple[type[Exception], ...] = ()
    ) -> T | None:
        """What `store` returned, or None: the arrival is on disk and will be stored later.

        While others wait on disk it goes behind them, so that no START overtakes its STOP. A `store` that runs out of
        time may still commit; storing it again changes nothing. Whatever its error, but those of `passing`: nothing
        that a patient wrote may be lost.

        Raises:
            SpoolError: neither ledger nor disk took it; nothing was kept.
        """
        reason = "behind"
        if not self._spool.waiting:
            try:
                with anyio.fail_after(self._seconds):
                    return await store()
            except passing:
                raise
            except Exception as error:  # noqa: BLE001 - see above; its message may carry what a patient wrote
                reason = _reason(error)
                _log.error("arrival_not_stored", kind=arrival.kind, reason=reason, error=type(error).__name__)
        await asyncio.wrap_future(self._spool.append([arrival]))
        metrics.spooled_total.labels(arrival.kind, reason).inc()
        return None


def _reason(error: Exception) -> str:
    if type(error) is TimeoutError:
        return "slow"
    return "away" if is_away(error) else "error"
