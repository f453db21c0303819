"""The model of the send protocol and the code it models do the same, step by step, on both stores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest
from exploring import Explored
from household import StoppedClock
from playing import Seconds, Stage, expected, told
from practice import Desk, Practice
from send_model import AHEAD, IDLE, Protocol, State, Step, steps
from sqlalchemy import Engine

from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from workers import send

#: Every how manieth trace is played; 1 = all of them (see docs/protocol.md).
STRIDE = int(os.environ.get("REACTIVATE_TEST_MODEL_STRIDE", "3"))

_AREAS = ("303", "720", "970", "719", "983")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Engine]:
    """A ledger that need not wait for the disk: nobody cuts the power here."""
    engine = open_ledger(ledger_url, durable=False)
    yield engine
    engine.dispose()


def test_every_kind_of_step_does_in_the_ledger_what_it_does_in_the_model(
    ledger: Engine, vault: Vault, explored: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    practice, clock = Practice(ledger, vault), StoppedClock()
    monkeypatch.setattr(send, "time", Seconds(clock))

    played = 0
    for number, trace in enumerate(covering(explored)[::STRIDE]):
        who = practice.person(number=f"+1{_AREAS[number // 100]}55501{number % 100:02}")
        with Stage(practice, clock, Desk(practice, clock), who) as stage:
            state = Protocol().start()
            for nth, step in enumerate(trace, 1):
                stage.play(step, state.due)
                state = dict(steps(state, Protocol()))[step]
                assert stage.seen() == expected(state), told(trace[:nth])
                played += 1

    assert played > 500


def covering(explored: Explored) -> Sequence[Sequence[Step]]:
    """Traces that together make every kind of step, the longest first."""
    rules = Protocol()
    first: dict[tuple[object, ...], tuple[State, Step]] = {}
    for state in explored.came_by:
        for step, after in steps(state, rules):
            first.setdefault(_kind(state, step, after), (state, step))
    traces = sorted(((*explored.trace(state), step) for state, step in first.values()), key=len, reverse=True)
    missing, chosen = set(first), []
    for trace in traces:
        kinds, state = set(), rules.start()
        for step in trace:
            after = dict(steps(state, rules))[step]
            kinds.add(_kind(state, step, after))
            state = after
        if kinds & missing:
            missing -= kinds
            chosen.append(trace)
    return chosen


def _kind(state: State, step: Step, after: State) -> tuple[object, ...]:
    """What makes a step different from another, as far as the ledger may care."""
    of_worker = step.name in {"claim", "withhold", "check", "call", "finish", "crash"}
    return (
        step.name,
        step.what,
        state.touch,
        state.due if state.touch == "planned" else "",
        state.attempts[-1:],
        state.age if step.name in {"check", "age"} else "",
        bool(state.stop),
        state.visit == AHEAD,
        state.workers[step.who].phase if of_worker else IDLE,
        after.touch,
    )
