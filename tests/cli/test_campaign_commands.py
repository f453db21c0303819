"""`reactivate campaign`: what a person may do to a running campaign, and what is told of a file before it runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from lakeside import NOW, settle
from rulebooks import STANDARD
from sqlalchemy import Engine, select
from welcome_back import Lakeside

from domain.ledger import enrolling
from domain.ledger.lapses import lapse
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from producers.scan import scan

Run = Callable[..., Result]
CAMPAIGN = Path(__file__).parents[2] / "docs/examples/campaign.yaml"
RELEASED = ("--released-by", "marketing=Maya Ortiz", "--released-by", "clinical=Sam Reed")
AS = ("--as", "Maya Ortiz")
PROVIDER = {
    "REACTIVATE_SMS_URL": "http://127.0.0.1:9",
    "REACTIVATE_SMS_ACCOUNT_SID": "AC00000000000000000000000000000000",
    "REACTIVATE_SMS_AUTH_TOKEN": "token",
    "REACTIVATE_SMS_FROM": "+13035550100",
}


@pytest.fixture
def lakeside(ledger_file: Path) -> Engine:
    """A ledger with one organisation."""
    engine = open_ledger(f"sqlite:///{ledger_file}")
    settle(engine)
    engine.dispose()
    return engine


@pytest.fixture
def lapsed(lakeside: Engine, home: Path) -> Engine:
    """The same with three patients who have been away for thirteen months."""
    key = bytes(32)
    Lakeside(lakeside, Vault(keys={1: key}, current=1, index_key=key), 1).lapsed(3)
    scan(lakeside, NOW)
    return lakeside


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
def test_the_history_of_a_campaign_that_is_not_there_ends_with_one_and_names_those_that_are(run: Run) -> None:
    shown = run("campaign", "history", "nonesuch")

    assert shown.exit_code == 1
    assert "no campaign is called nonesuch; there are welcome-back" in shown.stderr
    assert "nobody paused" in run("campaign", "history", "welcome-back").output


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


@pytest.mark.usefixtures("lapsed")
def test_a_preview_tells_who_when_what_it_costs_and_in_which_words(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "preview.csv"

    shown = run("campaign", "preview", str(CAMPAIGN), "--csv", str(table))
    told = json.loads(run("campaign", "preview", str(CAMPAIGN), "--json").output)

    assert shown.exit_code == 0
    assert "welcome-back version 1 for lakeside: nothing is sent or written" in shown.output
    assert "Would be enrolled: 3 of 3 lapses" in shown.output
    assert "channel sms is not set up here" in shown.output
    contacted = told["enrolled"]["treatment"]
    assert told["sms_segments"] == contacted * 8
    assert f"  outreach 0, sms, en: {contacted} messages, {contacted} segments" in shown.output.splitlines()
    assert (
        "12_24_months, sms, en, outreach 0 1 2 3 4; reminder 5 6 7: campaign:welcome-back, 1 SMS segment"
        in shown.output
    )
    assert told["texts"][0]["body"].startswith("Lakeside Health: it has been a while")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert sorted(each["outcome"] for each in rows) == sorted(["treatment"] * contacted + ["holdout"] * (3 - contacted))
    assert {each["messages"] for each in rows if each["outcome"] == "treatment"} == {"8"}
    assert "no campaign is running" in run("campaign", "list").output


@pytest.mark.usefixtures("lapsed")
def test_a_preview_of_a_wrong_file_or_into_no_folder_is_a_mistake(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(CAMPAIGN.read_text().replace("cadence: [0,", "cadence: [0, 3,"))

    broken = run("campaign", "preview", str(tmp_path / "broken.yaml"))
    nowhere = run("campaign", "preview", str(CAMPAIGN), "--csv", str(tmp_path / "none" / "preview.csv"))

    assert (broken.exit_code, nowhere.exit_code) == (2, 2)
    assert "broken.yaml:20: cadence: touches must be in order and at least 7 days apart" in broken.stderr
    assert "cannot be written: No such file or directory" in nowhere.stderr


@pytest.mark.usefixtures("lapsed")
def test_a_move_is_asked_for_in_words_and_by_name(
    run: Run, lakeside: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text(CAMPAIGN.read_text().replace("[0, 10, 30, 90, 180]", "[0, 7, 21]"))
    run("campaign", "start", str(CAMPAIGN), *RELEASED)

    nameless = run("campaign", "start", str(changed), *RELEASED, "--move")
    unreachable = run("campaign", "start", str(changed), *RELEASED, "--move", *AS)
    for name, value in PROVIDER.items():
        monkeypatch.setenv(name, value)
    with lakeside.begin() as conn:
        found = conn.scalars(select(lapse.c.id)).all()
        enrolling.enrol_lapses(conn, found, {"sms": "phone"}, STANDARD, datetime.now(UTC))
    moved = run("campaign", "start", str(changed), *RELEASED, "--move", *AS)

    assert (nameless.exit_code, unreachable.exit_code) == (2, 2)
    assert "--as: give your name" in nameless.stderr
    assert "--move: no channel is set up here" in unreachable.stderr
    assert moved.output.splitlines() == [
        "welcome-back version 2 started",
        "3 enrolments moved to version 2; stayed with theirs: none",
    ]
