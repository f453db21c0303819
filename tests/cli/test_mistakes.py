"""A user's mistake is told in a sentence, with an exit code scripts can trust and never a traceback."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from lakeside import ORGANISATION, a_patient, write_lines
from waiting import wait_until

from ops.migrations.run import newest
from ops.runtime import connecting

Run = Callable[..., Result]
EXAMPLE = Path(__file__).parents[2] / "docs/examples/campaign.yaml"


def assert_told(result: Result, code: int, *words: str) -> None:
    """Ended with `code` and one sentence that has these words."""
    assert result.exit_code == code, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.startswith("reactivate: ")
    assert len(result.stderr.splitlines()) <= 2


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port nobody listens on, and nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    "command",
    [
        ("audit",),
        ("report",),
        ("explain", "PNOBODY"),
        ("inbox", "list"),
        ("find", "PNOBODY"),
        ("find", "PNOBODY", "--reveal", "--why", "a call"),
        ("find", "--disclosures"),
        ("quarantine", "list"),
        ("campaign", "list"),
        ("channel", "list"),
        ("campaign", "start", str(EXAMPLE)),
    ],
    ids=" ".join,
)
def test_without_a_ledger_every_question_says_how_to_make_one(run: Run, home: Path, command: tuple[str, ...]) -> None:
    assert_told(run(*command), 2, f"there is no ledger at {home / 'ledger.db'}", "reactivate migrate")


def test_a_ledger_without_tables_says_to_migrate(run: Run, home: Path) -> None:
    (home / "ledger.db").touch()

    assert_told(run("audit"), 2, "no tables yet", "reactivate migrate")


def test_a_file_that_is_no_ledger_cannot_be_used(run: Run, home: Path) -> None:
    (home / "ledger.db").write_bytes(b"no database at all " * 100)

    assert_told(run("audit"), 2, "the database cannot be used: file is not a database")


@pytest.mark.parametrize("command", ["audit", "clock", "web", "find --mrn north:1"])
def test_code_older_than_a_contract_is_refused_in_a_sentence(run: Run, home: Path, command: str) -> None:
    run("migrate")
    with sqlite3.connect(home / "ledger.db") as conn:
        conn.execute("INSERT INTO schema_step VALUES ('9998', 'expand', NULL, '2026-01-01')")
        conn.execute("INSERT INTO schema_step VALUES ('9999', 'contract', '9998', '2026-01-01')")

    assert_told(run(*command.split()), 2, "of a newer release", "run the release that knows revision 9998")


def test_code_older_than_an_expansion_runs(run: Run, home: Path) -> None:
    run("migrate")
    with sqlite3.connect(home / "ledger.db") as conn:
        conn.execute("INSERT INTO schema_step VALUES ('9998', 'expand', NULL, '2026-01-01')")

    assert run("audit").exit_code == 0


def test_migrate_makes_a_ledger_and_again_changes_nothing(run: Run, home: Path) -> None:
    first, second = run("migrate"), run("migrate")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout == f"the ledger was brought to revision {newest()}\n"
    assert f"revision {newest()}: done" in first.stderr
    assert second.output == f"the ledger is at revision {newest()}: nothing to migrate\n"
    assert run("audit").exit_code == 0


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@localhost/x", "postgresql://u:secret@localhost:port/x", "sqlite://x", "no url at all"]
)
def test_a_database_url_that_cannot_be_is_a_wrong_setting(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REACTIVATE_DATABASE_URL", url)

    result = run("audit")

    assert_told(result, 2, "REACTIVATE_DATABASE_URL")
    assert "secret" not in result.output


@pytest.mark.parametrize(
    "command", [("audit",), ("find", "--phone", "3035550101"), ("find", "PA", "--reveal", "--why", "x")], ids=" ".join
)
def test_a_database_that_is_away_is_unavailable_not_wrong(
    run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: int, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("REACTIVATE_DATABASE_URL", f"postgresql+psycopg://u:secret@127.0.0.1:{closed_port}/x")

    result = run(*command)

    assert_told(result, 3, "the database cannot be used (REACTIVATE_DATABASE_URL)", str(closed_port))
    assert "secret" not in result.output
    assert "3035550101" not in result.output


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://u:secret@localhost", "REACTIVATE_AMQP_URL: expected amqp://USER:PASSWORD@HOST:PORT/VHOST"),
        ("amqp:/x", "REACTIVATE_AMQP_URL: expected amqp://"),
        ("amqp://nobody@127.0.0.1:1", "REACTIVATE_AMQP_URL: expected amqp://"),
        ("amqp://u:secret@localhost:port/x", "REACTIVATE_AMQP_URL: expected amqp://"),
    ],
)
def test_a_broker_url_that_cannot_be_is_a_wrong_setting(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: str
) -> None:
    monkeypatch.setenv("REACTIVATE_AMQP_URL", url)

    result = run("worker", "sms")

    assert_told(result, 2, expected)
    assert "secret" not in result.output


@pytest.mark.parametrize("url", ["http://:secret@localhost", "redis:/x", "redis://:secret@localhost:port/0"])
def test_a_redis_url_that_cannot_be_is_a_wrong_setting(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REACTIVATE_REDIS_URL", url)

    result = run("audit")

    assert_told(result, 2, "REACTIVATE_REDIS_URL: expected redis://HOST:PORT/DB")
    assert "secret" not in result.output


def test_a_broker_that_is_away_is_unavailable_not_wrong(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setattr(connecting, "PATIENCE", 0)
    monkeypatch.setenv("REACTIVATE_AMQP_URL", f"amqp://u:secret@127.0.0.1:{closed_port}/x")

    result = run("worker", "sms")

    assert result.exit_code == 3
    told = result.stderr.splitlines()[-1]
    assert told == f"reactivate: RabbitMQ at 127.0.0.1:{closed_port} cannot be reached (REACTIVATE_AMQP_URL)"
    assert "secret" not in result.output


def test_a_place_where_nothing_can_be_kept_is_a_wrong_home(run: Run, home: Path) -> None:
    (home / "file").touch()

    assert_told(run("--home", str(home / "file/below"), "migrate"), 2, "there can be no ledger at", "--home")


def test_a_worker_of_its_own_needs_a_broker(run: Run, ledger_file: Path) -> None:
    assert_told(run("worker", "sms"), 2, "RabbitMQ", "reactivate up")


def test_a_queue_that_does_not_exist_is_a_usage_error(run: Run, ledger_file: Path) -> None:
    result = run("worker", "fax")

    assert result.exit_code == 2
    assert "sms.answers" in result.output


def test_a_bad_campaign_file_is_told_line_by_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(EXAMPLE.read_text().replace("holdout: 0.10", "holdout: 2").replace("we miss you", "{name}, come"))

    result = run("campaign", "check", str(path))

    holdout = 1 + path.read_text().splitlines().index("holdout: 2")
    assert result.exit_code == 2
    assert f"{path}:{holdout}: holdout: " in result.stderr
    assert "templates[0].body: variable.unknown: '{name}': unknown variable" in result.stderr


def test_a_campaign_file_that_is_missing_or_no_yaml_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("campaign: [")

    missing, broken = (
        run("campaign", "check", str(tmp_path / "none.yaml")),
        run("campaign", "check", str(tmp_path / "broken.yaml")),
    )

    assert (missing.exit_code, broken.exit_code) == (2, 2)
    assert "none.yaml" in missing.stderr
    assert "broken.yaml:1" in broken.stderr


def test_a_good_campaign_file_is_fine(run: Run) -> None:
    result = run("campaign", "check", str(EXAMPLE))

    assert result.exit_code == 0
    assert "welcome-back: 5 touches, holdout 10%" in result.output


def test_a_campaign_without_an_organisation_says_to_import_one(run: Run, ledger_file: Path) -> None:
    assert_told(run("campaign", "start", str(EXAMPLE)), 2, "import an organisation first")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export with one good line and one that is no JSON."""
    (tmp_path / "organisation.yaml").write_text(ORGANISATION)
    write_lines(tmp_path / "export/Patient.ndjson", [a_patient("p1"), b'{"resourceType": "Patient", ', a_patient("p2")])
    return tmp_path


def test_an_import_lists_what_it_refused_takes_the_rest_and_exits_with_1(
    run: Run, ledger_file: Path, export: Path
) -> None:
    result = run("import", "--organisation", str(export / "organisation.yaml"), str(export / "export"))

    assert result.exit_code == 1
    assert "Patient.ndjson:2: " in result.stdout
    assert "3 lines = 2 taken + 0 stale + 0 ignored + 1 rejected" in result.stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("organisation", "source", "told"),
    [("none.yaml", "export", "none.yaml"), ("organisation.yaml", "nowhere", "nowhere")],
)
def test_an_import_of_files_that_are_not_there_changes_nothing(
    run: Run, ledger_file: Path, export: Path, organisation: str, source: str, told: str
) -> None:
    result = run("import", "--organisation", str(export / organisation), str(export / source))

    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_a_directory_that_holds_something_else_is_never_emptied(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")

    assert_told(run("demo", "--out", str(tmp_path / "mine")), 2, "holds something that is no story", "--out")

    assert (tmp_path / "mine/thesis.txt").read_text() == "precious"


def test_ctrl_c_ends_a_clock_quietly(home: Path, ledger_file: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", "clock", "--pause", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        # it leads as soon as it holds the file beside the ledger
        wait_until((home / "ledger.db.leader").exists)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "Traceback" not in told
