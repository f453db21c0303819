"""Every channel against every case of its table, over real sockets and on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from channel_harness import Case, drive, table

from channels.kit.discovery import providers

ALL = [pytest.param(name, case, id=f"{name}: {case.name}") for name in providers() for case in table(name).CASES]


@pytest.mark.parametrize(
    "new_loop", [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]
)
@pytest.mark.parametrize(("channel", "case"), ALL)
def test_what_the_provider_does_becomes_the_outcome_it_means(
    channel: str, case: Case, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        outcome, provider = runner.run(drive(channel, case))

    assert outcome == case.expected
    assert len(provider.received) == case.calls
    if case.check:
        case.check(provider.received[0])


@pytest.mark.parametrize("channel", providers())
def test_no_two_cases_of_a_channel_share_a_name(channel: str) -> None:
    names = [case.name for case in table(channel).CASES]

    assert len(names) == len(set(names))
