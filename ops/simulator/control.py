"""The conductor's side of the simulation: begin, advance, and ask the witness, over HTTP on the loopback."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from ops.simulator.stage import Stage


def control_application(stage: Stage) -> web.Application:
    """`POST /control/begin`, `POST /control/advance`, `GET /control/witness`, `GET /control/state`."""

    async def begin(request: web.Request) -> web.Response:
        try:
            wanted = orjson.loads(await request.read())
            await stage.begin(wanted["public_url"], wanted["events"])
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            return _answer({"problem": f"{type(error).__name__}: {error}"}, status=400)
        return _answer(stage.progress())

    async def advance(_: web.Request) -> web.Response:
        try:
            did = await stage.advance()
        except RuntimeError as error:
            return _answer({"problem": str(error)}, status=409)
        return _answer({"did": did, **stage.progress()})

    async def witness(_: web.Request) -> web.Response:
        return _answer(stage.testimony())

    async def state(_: web.Request) -> web.Response:
        return _answer(stage.state())

    application = web.Application()
    application.router.add_post("/control/begin", begin)
    application.router.add_post("/control/advance", advance)
    application.router.add_get("/control/witness", witness)
    application.router.add_get("/control/state", state)
    return application


def _answer(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), status=status, content_type="application/json"
    )
