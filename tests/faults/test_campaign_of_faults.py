"""A short campaign of faults: a real fleet keeps its promises under a handful of them, and passes every point."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.services.process import ServiceError, free_port
from tests.faults.acts import Scene, runners
from tests.faults.campaign import Campaign, Day, campaign, shares
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.points import PLACES, POINTS

ROOT = Path(__file__).parents[2]
SEED = 7
#: New people on each day; every touch of a day passes the same points.
PEOPLE = 40
#: A fast machine has written to a day's people before all faults had their turn, and whether anything is left for the
#: sweep to mend is chance: there is another day then, but no more than this.
DAYS = 8


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """A fleet that nobody was told of yet."""
    directory = tmp_path_factory.mktemp("faults")
    try:
        with campaign(directory, SEED) as running:
            yield running
    except ServiceError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def _in_turn(faults: list[Fault]) -> Fault:
    """One fault that is each of these in turn, from day to day."""
    turns = itertools.cycle(faults)

    def inject(scene: Scene) -> int:
        return next(turns).inject(scene)

    return Fault("each-in-turn", "each of the short ones in turn", inject, every=0.5)


def _until_injected(played: Campaign, fault: Fault, wanted: int) -> Iterator[Day]:
    """Day after day of a fault until it was injected often enough and every point was passed."""
    injected = 0
    for _ in range(DAYS):
        day = played.play(fault, 2 * wanted, PEOPLE)
        injected += day.injected
        yield day
        if injected >= wanted and set(POINTS) <= played.fleet.board.reached():
            return


@pytest.mark.timeout(600)
def test_a_fleet_under_a_handful_of_faults_keeps_every_promise_and_passes_every_point(played: Campaign) -> None:
    short = [each for each in FAULTS if each.is_short]

    # whether a hint is lost in a short day is chance otherwise
    played.forget_a_hint()
    days = list(_until_injected(played, _in_turn(short), len(short)))

    assert [day.problems for day in days] == [()] * len(days)
    assert all(day.is_sound for day in days)
    assert sum(day.injected for day in days) >= len(short)
    assert all(day.totals.touches > PEOPLE / 2 for day in days)
    assert played.fleet.board.unregistered() == [], "the registry of tests/faults/points.py names every place"
    assert set(POINTS) - played.fleet.board.reached() == set()


def test_every_point_has_a_process_that_passes_it() -> None:
    assert all(runners(place) for _, place in PLACES)
    assert len(set(PLACES.values())) == len(PLACES)


def test_a_process_without_the_variable_has_no_points() -> None:
    code = "import sys, ops.cli.main, workers.send; print(sorted(m for m in sys.modules if m.startswith('tests')))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_command_dies_at_the_point_it_is_told(tmp_path: Path) -> None:
    # embedded, so that it needs no server: the clock's first round dies before it is written down
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "REACTIVATE_HOME": str(tmp_path / "home"),
        "REACTIVATE_WEB_PORT": str(free_port()),
        "REACTIVATE_CRASH_AT": "clock.beat.before:2",
    }

    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.shim", "up", "--pause", "0.05"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL, done.stderr


def test_every_fault_has_its_part_of_a_long_campaign() -> None:
    parts = shares(FAULTS, 1000)

    assert min(parts.values()) >= 1
    assert 950 <= sum(parts.values()) <= 1050
    assert len({each.name for each in FAULTS}) == len(FAULTS)
