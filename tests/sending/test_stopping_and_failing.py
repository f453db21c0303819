"""A batch cut short, by an error of the store or by the process's end: what was not called goes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from household import StoppedClock, row, rows
from practice import Desk, Practice, Provider, Unpaced
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from channels.kit.contract import Outcome, OutcomeKind, Outgoing, SideEffect
from domain.ledger import choices, claims, finishes
from domain.ledger.attempts import attempt
from domain.ledger.finishes import Finish
from domain.ledger.touches import touch
from workers.send import AFTER_ERROR


class Deadlock(Exception):  # noqa: N818 - the driver's name for it
    """What psycopg raises for the transaction that a deadlock chose."""

    sqlstate = "40P01"


class Gone(Exception):  # noqa: N818 - the driver's name for it
    """What psycopg raises when the server closed the connection."""

    sqlstate = "57P01"


def failing(fn: Callable[..., Any], nth: int, cause: type[Exception]) -> Callable[..., Any]:
    """`fn`, whose `nth` run ends in an error of the store."""
    runs = 0

    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs == nth:
            raise OperationalError("a statement", {}, cause())
        return fn(*args, **kwargs)

    return run


def standings(ledger: Engine, ids: Sequence[int]) -> list[tuple[str, str | None, int]]:
    return [(each["state"], each["reason"], each["attempts"]) for each in (row(ledger, touch, id_) for id_ in ids)]


def test_what_was_not_called_when_the_store_failed_goes_back_and_what_was_called_stays_for_the_reaper(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [practice.person() for _ in range(6)]
    ids = [each.touch for each in people]
    provider = Provider(at_once=2)
    monkeypatch.setattr(finishes, "finish", failing(finishes.finish, 2, Gone))

    with pytest.raises(OperationalError):
        desk.worker(provider).send(ids)

    assert provider.called == {each.number: 1 for each in people[:4]}
    assert standings(ledger, ids) == (
        [("accepted", None, 1)] * 2 + [("sending", None, 1)] * 2 + [("planned", "worker_failed", 0)] * 2
    )
    desk.worker(provider).send(ids)
    assert len(provider.calls) == 4
    clock.at += AFTER_ERROR
    desk.worker(provider).send(ids)
    assert provider.called == {each.number: 1 for each in people}


def test_a_limiter_that_fails_leaves_nothing_claimed(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    ids = [practice.person().touch for _ in range(3)]

    def fail() -> None:
        raise RuntimeError("the limiter")

    with pytest.raises(RuntimeError, match="the limiter"):
        desk.worker(provider, Unpaced(before=fail)).send(ids)

    assert standings(ledger, ids) == [("planned", "worker_failed", 0)] * 3


def test_the_first_error_is_told_even_if_nothing_can_be_given_back(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = practice.person()

    def fail() -> None:
        raise RuntimeError("the limiter")

    def away(_conn: Connection, _ends: Sequence[Finish], _now: datetime) -> int:
        raise OperationalError("a statement", {}, Gone())

    monkeypatch.setattr(finishes, "finish", away)

    with pytest.raises(RuntimeError, match="the limiter"):
        desk.worker(provider, Unpaced(before=fail)).send([who.touch])

    assert standings(ledger, [who.touch]) == [("sending", None, 1)]


@pytest.mark.parametrize(
    ("module", "name"),
    [(claims, "claim"), (choices, "opt_out"), (finishes, "finish")],
    ids=["claim", "effect", "finish"],
)
def test_a_deadlock_of_claim_effect_or_finish_is_run_again_and_the_call_made_once(
    ledger: Engine, practice: Practice, desk: Desk, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    who = practice.person()
    provider = Provider(answer=lambda _: Outcome(OutcomeKind.REJECTED, code="21610", effect=SideEffect.OPTED_OUT))
    monkeypatch.setattr(module, name, failing(getattr(module, name), 1, Deadlock))

    desk.worker(provider).send([who.touch])

    assert provider.called == {who.number: 1}
    assert standings(ledger, [who.touch]) == [("rejected", "21610", 1)]


def test_a_process_told_to_stop_finishes_the_calls_under_way_and_gives_back_the_rest(
    ledger: Engine, practice: Practice, desk: Desk
) -> None:
    people = [practice.person() for _ in range(5)]
    ids = [each.touch for each in people]
    stopping = threading.Event()

    def answer(_message: Outgoing) -> Outcome:
        stopping.set()
        return Outcome(OutcomeKind.ACCEPTED)

    provider = Provider(answer=answer, at_once=2)
    desk.worker(provider, stopping=stopping).send(ids)

    assert provider.called == {each.number: 1 for each in people[:2]}
    assert standings(ledger, ids) == [("accepted", None, 1)] * 2 + [("planned", "stopping", 0)] * 3
    assert {each["state"] for each in rows(ledger, attempt)} == {"accepted", "released"}
