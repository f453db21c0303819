"""The receipt store: receipts that arrive together are committed together, and none is answered before its commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from domain.ledger.receipts import ReceiptNews

#: Receipts per transaction; the next batch gathers while one is being committed, so nobody waits for a timer.
_MOST: Final = 500


class ReceiptStore:
    """Stores receipts in groups. `write` commits one group; it runs once at a time."""

    def __init__(self, write: Callable[[Sequence[ReceiptNews]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[Sequence[ReceiptNews], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, news: Sequence[ReceiptNews]) -> None:
        """Return once `news` is committed. Raises what the store raised."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((news, stored))
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
            try:
                await self._write([each for news, _ in group for each in news])
            except Exception as error:  # noqa: BLE001 - each waiting request answers with it
                for _, stored in group:
                    if not stored.done():
                        stored.set_exception(error)
            else:
                for _, stored in group:
                    if not stored.done():
                        stored.set_result(None)

    def _next_group(self) -> list[tuple[Sequence[ReceiptNews], asyncio.Future[None]]]:
        taken, size = 0, 0
        for news, _ in self._waiting:
            size += len(news)
            if taken and size > _MOST:
                break
            taken += 1
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group
