"""`reactivate reconcile`: a provider's list, told in figures and references, and its mistakes by line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from household import PHONE, Household, rows, settle_in
from sqlalchemy import Engine

from domain.ledger.choice_history import suppression
from tests.measuring.books import VAULT

Run = Callable[..., Result]

HEADER = "phone,opted_out_at\n"


@pytest.fixture
def family(home: Path, ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Household:
    """Jane and John, who share a phone, in the ledger the command writes to: once on each store."""
    monkeypatch.setenv("REACTIVATE_DATABASE_URL", ledger_url)
    return settle_in(ledger, VAULT)


def test_missing_opt_outs_are_entered_and_told_by_reference_and_the_next_run_finds_none(
    run: Run, ledger: Engine, family: Household, tmp_path: Path
) -> None:
    file = tmp_path / "opt-outs.csv"
    file.write_text(f"{HEADER}(303) 555-0101,2026-03-04T17:00Z\n+13035550199,\n", encoding="utf-8")

    first = run("reconcile", "--provider-opt-outs", str(file))
    again = run("reconcile", "--provider-opt-outs", str(file))

    assert (first.exit_code, again.exit_code) == (1, 0)
    assert "2 missing here, and in force now" in first.output
    assert "concerned: PTEST0, PTEST1" in first.output
    assert "0 missing here" in again.output
    assert "555" not in first.output + again.output
    assert len(rows(ledger, suppression, lifted_at=None)) == 4


def test_a_row_that_cannot_be_used_is_told_by_line_without_its_value_and_the_others_are_taken(
    run: Run, family: Household
) -> None:
    text = f"{HEADER}nobody,\n+13035550198,yesterday\n+13035550197,2999-01-01T00:00Z\n+13035550196,,x\n{PHONE},\n"

    told = run("reconcile", "--provider-opt-outs", "-", "--json", stdin=text)

    assert told.exit_code == 1
    found = json.loads(told.stdout)
    assert found["unusable"] == [
        "standard input:2: phone: it cannot be used for messages",
        "standard input:3: opted_out_at: no instant with an offset, such as 2026-03-08T01:30Z",
        "standard input:4: opted_out_at: before 1990, or still to come",
        "standard input:5: more fields than the header has",
    ]
    assert (found["list"]["listed"], found["list"]["missing"]) == (1, 1)
    assert "555" not in told.output


@pytest.mark.parametrize(
    ("words", "text", "sentence"),
    [
        (("--provider-opt-outs", "-"), "number\n1\n", "standard input:1: phone: required, but not there"),
        (("--provider-opt-outs", "-"), "", "standard input:1: phone: required, but not there"),
        (("--provider-opt-outs", "lists/missing.csv"), "", "reactivate: lists/missing.csv: no such file or directory"),
        (("--channel", "fax"), "", "--channel: there is none of this name"),
        (("--provider-opt-outs", "-", "--organisation", "elsewhere"), HEADER, "name the organisation"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    run: Run, ledger: Engine, family: Household, words: tuple[str, ...], text: str, sentence: str
) -> None:
    told = run("reconcile", *words, stdin=text)

    assert told.exit_code == 2
    assert sentence in told.stderr
    assert rows(ledger, suppression) == []


def test_without_a_list_the_refusals_alone_are_compared(run: Run, family: Household) -> None:
    told = run("reconcile")

    assert (told.exit_code, told.output) == (
        0,
        "refusals: 0 opt-outs at the provider\n  0 missing here, and in force now\n",
    )
