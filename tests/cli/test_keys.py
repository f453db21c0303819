"""Keys that are not the ledger's own are refused by every command, before anybody is doubled or lost."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from household import settle_in
from lakeside import ORGANISATION, a_patient, write_lines
from relay import Relay
from sqlalchemy import Engine, func, select

from domain.ledger.patients import contact_point, patient
from domain.ledger.store import open_ledger, reading
from domain.ledger.vault import Vault
from ops.services.process import free_port
from tests.cli.test_mistakes import wait_until
from tests.measuring.books import Books

Run = Callable[..., Result]

OTHER = base64.b64encode(b"other".ljust(32)).decode()
SAME = base64.b64encode(bytes(32)).decode()
OTHERS = [
    {"REACTIVATE_VAULT_KEYS": f"1:{OTHER}", "REACTIVATE_INDEX_KEY": OTHER},
    {"REACTIVATE_VAULT_KEYS": f"1:{SAME}", "REACTIVATE_INDEX_KEY": OTHER},
    {"REACTIVATE_VAULT_KEYS": f"1:{OTHER}", "REACTIVATE_INDEX_KEY": SAME},
    {"REACTIVATE_VAULT_KEYS": f"2:{SAME}", "REACTIVATE_INDEX_KEY": SAME},
]


def assert_refused(result: Result) -> None:
    """Ended with 2 and a sentence that names both variables and what to do."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("reactivate: REACTIVATE_VAULT_KEYS and REACTIVATE_INDEX_KEY: ")
    assert "set " in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture(params=["+1 303 555 0101"])
def import_again(run: Run, ledger_file: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Result]:
    """Imports one patient, again and again."""
    (tmp_path / "organisation.yaml").write_text(ORGANISATION)
    write_lines(tmp_path / "export/Patient.ndjson", [a_patient("p1", request.param)])
    return lambda: run("import", "--organisation", str(tmp_path / "organisation.yaml"), str(tmp_path / "export"))


def patients_of(ledger_file: Path) -> int:
    engine = open_ledger(f"sqlite:///{ledger_file}")
    with reading(engine) as conn:
        found = conn.scalar(select(func.count()).select_from(patient))
    engine.dispose()
    return found or 0


@pytest.mark.parametrize("others", OTHERS, ids=["both", "index", "vault", "id"])
def test_an_import_with_other_keys_doubles_nobody(
    import_again: Callable[[], Result], ledger_file: Path, monkeypatch: pytest.MonkeyPatch, others: dict[str, str]
) -> None:
    assert import_again().exit_code == 0
    with monkeypatch.context() as changed:
        for name, value in others.items():
            changed.setenv(name, value)

        result = import_again()

    assert_refused(result)
    assert patients_of(ledger_file) == 1
    assert import_again().exit_code == 0


@pytest.mark.parametrize("import_again", [None], indirect=True, ids=["nobody has a phone"])
def test_a_ledger_of_patients_without_contact_points_knows_its_keys_too(
    import_again: Callable[[], Result], ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert import_again().exit_code == 0
    engine = open_ledger(f"sqlite:///{ledger_file}")
    with reading(engine) as conn:
        assert conn.scalar(select(func.count()).select_from(contact_point)) == 0
    engine.dispose()
    monkeypatch.setenv("REACTIVATE_INDEX_KEY", OTHER)

    assert_refused(import_again())


@pytest.mark.parametrize(
    "words", [("migrate",), ("audit",), ("inbox", "list"), ("clock",), ("up",), ("web",)], ids=" ".join
)
def test_no_command_begins_with_other_keys(
    run: Run, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    engine = open_ledger(f"sqlite:///{ledger_file}")
    with engine.begin() as conn:
        Books(conn).person()
    engine.dispose()
    monkeypatch.setenv("REACTIVATE_INDEX_KEY", OTHER)
    monkeypatch.setenv("REACTIVATE_WEB_PORT", "0")

    assert_refused(run(*words))


def test_a_key_that_was_added_is_fine_as_long_as_the_old_one_stays(
    import_again: Callable[[], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert import_again().exit_code == 0
    monkeypatch.setenv("REACTIVATE_VAULT_KEYS", f"1:{SAME},2:{OTHER}")

    assert import_again().exit_code == 0


def test_the_key_to_seal_with_must_be_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACTIVATE_VAULT_CURRENT", "9")

    result = run("migrate")

    assert (result.exit_code, result.stderr) == (
        2,
        "reactivate: REACTIVATE_VAULT_CURRENT: no key 9 is in REACTIVATE_VAULT_KEYS\n",
    )


def test_no_keys_are_made_beside_a_ledger_that_has_lost_its_own(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REACTIVATE_VAULT_KEYS", "REACTIVATE_INDEX_KEY"):
        monkeypatch.delenv(name)
    assert run("migrate").exit_code == 0
    kept = home / "keys.env"
    moved = kept.rename(home / "elsewhere")

    lost = run("audit")

    assert_refused(lost)
    assert str(kept) in lost.stderr
    assert not kept.exists()
    moved.rename(kept)
    assert run("audit").exit_code == 0


@pytest.fixture
def away(postgres_url: str, vault: Vault) -> Iterator[tuple[Relay, str]]:
    """A ledger with a household in it, behind a relay that can be cut."""
    engine: Engine = open_ledger(postgres_url)
    settle_in(engine, vault)
    engine.dispose()
    relay, url = Relay.before(postgres_url)
    with relay:
        yield relay, url


def is_live(process: subprocess.Popen[str], port: int) -> bool:
    assert process.poll() is None, "it ended before it served"
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/live", timeout=30).status_code == 200
    return False


def test_a_web_process_with_other_keys_serves_while_the_ledger_is_away_and_ends_once_it_is_back(
    home: Path, away: tuple[Relay, str]
) -> None:
    (relay, url), port = away, free_port()
    relay.cut()
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", "web"],
        env={**os.environ, "REACTIVATE_DATABASE_URL": url, "REACTIVATE_WEB_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: is_live(process, port))
        relay.mend()
        _, told = process.communicate(timeout=120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert process.returncode == 2
    assert "reactivate: REACTIVATE_VAULT_KEYS and REACTIVATE_INDEX_KEY: not the keys" in told
