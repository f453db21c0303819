"""The bare loop: posts recorded bodies with aiohttp on uvloop, as fast as one process can, and does nothing else."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence

import aiohttp
import uvloop

_HEADERS = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


async def post_all(url: str, bodies: Sequence[bytes], count: int, at_once: int, begin_at: float) -> dict[str, float]:
    """Post `count` of the bodies, `at_once` at a time, beginning at `begin_at`; when it began and ended (Unix)."""
    left = iter(range(count))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in left:
            async with session.post(url, data=bodies[number % len(bodies)]) as response:
                await response.read()

    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(connector=connector, headers=_HEADERS) as session:
        await asyncio.sleep(max(0.0, begin_at - time.time()))
        began = time.time()
        await asyncio.gather(*(work(session) for _ in range(at_once)))
        return {"began": began, "ended": time.time()}


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sink", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--at-once", type=int, required=True)
    parser.add_argument("--begin-at", type=float, required=True)
    told = parser.parse_args()
    async with aiohttp.ClientSession() as session, session.get(f"{told.sink}/bodies") as response:
        bodies = [text.encode() for text in await response.json()]
    url = told.sink + told.path
    sys.stdout.write(json.dumps(await post_all(url, bodies, told.count, told.at_once, told.begin_at)))


if __name__ == "__main__":
    uvloop.run(_main())
