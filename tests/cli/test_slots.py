"""`reactivate slots`: a file of open slots is taken as a whole, and its mistakes are told by line and column."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from household import rows, settle_in
from sqlalchemy import Engine

from domain.ledger.slots import open_slots
from tests.measuring.books import VAULT

Run = Callable[..., Result]

HEADER = "site,service_line,week,open\n"


@pytest.fixture
def clinic(home: Path, ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Lakeside and its site north, in the ledger the command writes to: once on each store."""
    monkeypatch.setenv("REACTIVATE_DATABASE_URL", ledger_url)
    settle_in(ledger, VAULT)
    return ledger


def test_a_file_is_taken_listed_and_replaced(run: Run, clinic: Engine, tmp_path: Path) -> None:
    file = tmp_path / "slots.csv"
    file.write_text(f"{HEADER}north,dental,2199-12-04,7\nnorth,primary_care,2199-12-02,0\n")

    first = run("slots", "import", str(file))
    again = run("slots", "import", "-", stdin=f"{HEADER}north,dental,2199-12-02,9\n")
    listed = json.loads(run("slots", "list", "--json").stdout)

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "2 taken, of 1 week" in first.output
    assert [(each["week"], each["site"], each["service_line"], each["open"]) for each in listed] == [
        ("2199-12-02", "north", "dental", 9),
        ("2199-12-02", "north", "primary_care", 0),
    ]
    assert "week of 2199-12-02  north  dental: 9 open" in run("slots", "list").output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{HEADER}south,dental,2026-12-02,1\n", "slots.csv:2: site: no such site (there are: north)"),
        (f"{HEADER}north,surgery,2026-12-02,1\n", "slots.csv:2: service_line: expected one of "),
        (f"{HEADER}north,dental,next week,1\n", "slots.csv:2: week: expected a date of the week such as 2026-12-07"),
        (f"{HEADER}north,dental,2026-12-02,-1\n", "slots.csv:2: open: expected a whole number from 0 to 100000"),
        (f"{HEADER}north,dental,2026-12-02,1,x\n", "slots.csv:2: row: more fields than the header has"),
        (
            f"{HEADER}north,dental,2026-12-02,1\nnorth,dental,2026-12-03,2\n",
            "slots.csv:3: week: the same site, line and week as line 2: which of them counts?",
        ),
        ("site,line\n", "slots.csv:1: week: required, but not there"),
    ],
)
def test_a_file_with_a_mistake_is_refused_as_a_whole(
    run: Run, clinic: Engine, tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "slots.csv"
    file.write_text(text + ("north,primary_care,2026-12-02,4\n" if text.startswith(HEADER) else ""))

    done = run("slots", "import", str(file))

    assert done.exit_code == 2
    assert told in done.output
    assert "Traceback" not in done.output
    assert rows(clinic, open_slots) == []


def test_a_file_that_is_not_there_is_told_by_its_name(run: Run, clinic: Engine) -> None:
    done = run("slots", "import", "lists/nowhere.csv")

    assert (done.exit_code, "reactivate: lists/nowhere.csv: no such file or directory" in done.output) == (2, True)


def test_where_nobody_told_the_list_says_what_to_do(run: Run, clinic: Engine) -> None:
    assert "nobody told of open slots: `reactivate slots import FILE`" in run("slots", "list").output
