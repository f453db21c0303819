"""`reactivate campaign`: what a person may do to a running campaign, and what is told of a file before it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from lakeside import settle
from sqlalchemy import Engine

from domain.ledger.store import open_ledger

Run = Callable[..., Result]
CAMPAIGN = Path(__file__).parents[2] / "docs/examples/campaign.yaml"
RELEASED = ("--released-by", "marketing=Maya Ortiz", "--released-by", "clinical=Sam Reed")
AS = ("--as", "Maya Ortiz")


@pytest.fixture
def lakeside(ledger_file: Path) -> Engine:
    """A ledger with one organisation."""
    engine = open_ledger(f"sqlite:///{ledger_file}")
    settle(engine)
    engine.dispose()
    return engine


@pytest.fixture
def started(run: Run, lakeside: Engine) -> Engine:
    """The example campaign runs."""
    assert run("campaign", "start", str(CAMPAIGN), *RELEASED).exit_code == 0
    return lakeside


@pytest.mark.usefixtures("started")
def test_a_campaign_is_paused_resumed_and_stopped_and_each_is_on_record(run: Run) -> None:
    paused = run("campaign", "pause", "welcome-back", *AS, "--why", "phones are down")
    listed = run("campaign", "list"), json.loads(run("campaign", "list", "--json").output)
    resumed = run("campaign", "resume", "welcome-back", *AS)
    stopped = run("campaign", "stop", "welcome-back", "--as", "Sam  Reed", "--why", "a new one follows")

    assert "welcome-back is paused: 0 enrolments and 0 planned touches wait" in paused.output
    assert ", paused since " in listed[0].output
    assert listed[1][0]["paused_since"] is not None
    assert resumed.output == "welcome-back goes again: 0 touches had waited\n"
    assert stopped.output == "welcome-back has ended: 0 enrolments finished, 0 planned touches revoked\n"
    assert "no campaign is running" in run("campaign", "list").output
    history = run("campaign", "history", "welcome-back").output.splitlines()
    assert [line.partition("Z ")[2] for line in history] == [
        "welcome-back paused by Maya Ortiz (0 enrolments): phones are down",
        "welcome-back resumed by Maya Ortiz (0 enrolments)",
        "welcome-back stopped by Sam Reed (0 enrolments): a new one follows",
    ]
    told = json.loads(run("campaign", "history", "--json").output)
    assert [each["what"] for each in told] == ["paused", "resumed", "stopped"]


@pytest.mark.usefixtures("started")
def test_doing_it_twice_is_told_and_changes_nothing(run: Run) -> None:
    for _ in range(2):
        paused = run("campaign", "pause", "welcome-back", *AS, "--why", "phones are down")
    for _ in range(2):
        resumed = run("campaign", "resume", "welcome-back", *AS)

    assert paused.output == "welcome-back was paused already\n"
    assert resumed.output == "welcome-back was not paused\n"
    assert len(run("campaign", "history").output.splitlines()) == 2


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("pause", "other", *AS, "--why", "x"), "no campaign is called other; there are welcome-back"),
        (("pause", "welcome-back", "--as", " ", "--why", "x"), "--as: give your name, in 2 to 100 characters"),
        (("stop", "welcome-back", *AS, "--why", " "), "--why: say in 1 to 500 characters why"),
        (("stop", "welcome-back", *AS), "Missing option '--why'"),
    ],
    ids=str,
)
def test_a_mistake_is_told_and_changes_nothing(run: Run, arguments: tuple[str, ...], told: str) -> None:
    shown = run("campaign", *arguments)

    assert shown.exit_code == 2
    assert told in shown.stderr
    assert "nobody paused" in run("campaign", "history").output
