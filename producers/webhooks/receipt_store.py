"""The receipt store: receipts that arrive together are committed together, and none is answered before its commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from producers.webhooks.arrivals import ReceiptsArrival

#: Receipts per transaction; the next batch gathers while one is being committed, so nobody waits for a timer.
_MOST: Final = 500


class ReceiptStore:
    """Stores receipts in groups. `write` commits one group; it runs once at a time."""

    def __init__(self, write: Callable[[Sequence[ReceiptsArrival]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[ReceiptsArrival, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, receipts: ReceiptsArrival) -> None:
        """Return once they are committed. Raises what the store raised."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((receipts, stored))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._drain())
        await stored

    async def close(self) -> None:
        """Wait for the group being written."""
        if self._writer is not None:
            await self._writer

    async def _drain(self) -> None:
        while self._waiting:
            group = self._next_group()
            if not group:
                return
            try:
                await self._write([receipts for receipts, _ in group])
            except Exception as error:  # noqa: BLE001 - each waiting request answers with it
                for _, stored in group:
                    if not stored.done():
                        stored.set_exception(error)
            else:
                for _, stored in group:
                    if not stored.done():
                        stored.set_result(None)

    def _next_group(self) -> list[tuple[ReceiptsArrival, asyncio.Future[None]]]:
        # whoever gave up waiting has put its receipts on disk by now
        self._waiting = [each for each in self._waiting if not each[1].done()]
        taken, size = 0, 0
        for receipts, _ in self._waiting:
            size += len(receipts.news)
            if taken and size > _MOST:
                break
            taken += 1
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group
