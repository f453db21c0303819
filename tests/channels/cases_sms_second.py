"""What the second provider of text messages may do: all that the first may, under settings and callbacks of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import cases_sms
from cases_sms import MESSAGE, Call, Says
from channel_harness import Case, Provider

__all__ = ["CASES", "MESSAGE", "provider"]


@asynccontextmanager
async def provider(script: Says | str) -> AsyncIterator[Provider]:
    """The same provider, set up as the second."""
    async with cases_sms.provider(script) as up:
        up.environ = _second(up.environ)
        yield up


def _second(environ: Any) -> dict[str, str]:
    return {name.replace("_SMS_", "_SMS_SECOND_"): value for name, value in environ.items()}


def _checked_as_the_first(case: Case, call: Call) -> None:
    assert case.check is not None
    form = {name: [value.replace("/sms_second/", "/sms/") for value in values] for name, values in call.form.items()}
    assert all("/webhooks/sms_second/" in address for address in call.form["StatusCallback"])
    case.check(replace(call, form=form))


CASES = [
    replace(case, environ=_second(case.environ), check=case.check and partial(_checked_as_the_first, case))
    for case in cases_sms.CASES
]
