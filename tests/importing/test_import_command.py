"""`reactivate import`: what scripts and nightly jobs can tell from its exit code, and who can read what it leaves."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from lakeside import a_patient, write_lines

from ops.cli.main import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home that a user with the usual mask made with `migrate`."""
    for name in [name for name in os.environ if name.startswith("REACTIVATE_")]:
        monkeypatch.delenv(name)
    before = os.umask(0o022)
    result = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), "migrate"])
    assert result.exit_code == 0, result.output
    yield tmp_path / "home"
    os.umask(before)


def take(home: Path, organisation_file: Path, export: Path, *more: str) -> Result:
    arguments = ["--home", str(home), "import", "--organisation", str(organisation_file), str(export), *more]
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_an_export_without_patients_does_not_pass_for_a_good_one(
    home: Path, organisation_file: Path, tmp_path: Path, json: tuple[str, ...]
) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [])

    result = take(home, organisation_file, path, *json)

    assert result.exit_code == 1
    assert result.stderr == (
        "reactivate: warning: Patient.ndjson: no patients are in it;"
        " if that is not what the record system has, its export failed\n"
    )


def test_a_day_to_come_is_a_mistake(home: Path, organisation_file: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])

    result = take(home, organisation_file, path, "--as-of", "9062-03-31")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "reactivate: --as-of: 9062-03-31 is to come; an export was made today or before\n"


def test_lines_nobody_can_read_are_listed_with_file_and_line_and_the_rest_goes_in(
    home: Path, organisation_file: Path, tmp_path: Path
) -> None:
    lines = [a_patient("p1"), b"garbage", b"null", b"[1]", b'{"id": "\xe9"}', a_patient("p2")]
    path = write_lines(tmp_path / "Patient.ndjson", lines)

    result = take(home, organisation_file, path)

    assert result.exit_code == 1
    assert "6 lines = 2 taken + 0 stale + 0 ignored + 4 rejected" in result.stdout
    assert all(f"  Patient.ndjson:{line}: " in result.stdout for line in (2, 3, 4, 5))


def test_a_truncated_file_is_told_with_its_last_good_line(home: Path, organisation_file: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Patient.ndjson.gz", [a_patient(f"p{number}") for number in range(300)])
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: len(packed) // 2])

    result = take(home, organisation_file, path)

    assert result.exit_code == 2
    assert "the file is damaged after this line" in result.stderr
    assert "Patient.ndjson.gz:" in result.stderr


def test_only_its_owner_can_read_a_home(home: Path, organisation_file: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])

    result = take(home, organisation_file, path)

    assert result.exit_code == 0
    modes = {each.name: each.stat().st_mode & 0o777 for each in (home, *home.rglob("*"))}
    assert {"home", "ledger.db", "keys.env"} <= modes.keys()
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    # what else runs in this process makes its files as before
    assert os.umask(0o022) == 0o022
