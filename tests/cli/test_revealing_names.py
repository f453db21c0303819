"""An organisation whose name tells about care writes under a neutral one, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from lakeside import settle
from sqlalchemy import update

from domain.ledger.audit_sends import phi_in_outreach
from domain.ledger.organisations import organisation
from domain.ledger.store import open_ledger
from ops.runtime.yamlfile import FileProblems
from producers.importing.organisation_file import read_organisation
from producers.names import revealing

Run = Callable[..., Result]
CAMPAIGN = Path(__file__).parents[2] / "docs/examples/campaign.yaml"
RELEASED = ("--released-by", "marketing=Maya Ortiz", "--released-by", "clinical=Sam Reed")
FILE = """
organisation:
  key: riverside
  name: Riverside Oncology
  phone: +1 617 555 0100
  postal_address: 1 River Road, Boston, MA 02101
sites:
  - {key: main, name: Main, zone: America/New_York, state: MA, lines: {primary_care: {}}}
"""
NEUTRAL = FILE.replace("  phone", "  neutral_name: Riverside Health\n  phone", 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "organisation.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "Riverside Oncology",
        "Boston Dental Group",
        "Clínica de Diabetes del Sur",
        "Women's Fertility Center",
        "Dr. Smith and Sons",
        "Harbor HIV Alliance",
        "Bright Minds Psychiatry",
    ],
)
def test_a_name_that_tells_about_care_is_found(name: str) -> None:
    assert revealing(name) is not None


@pytest.mark.parametrize(
    "name", ["Riverside Health", "Lakeside & Sons", "Example Clinics", "Northern Plains Community Health Network"]
)
def test_a_name_that_tells_nothing_is_left_alone(name: str) -> None:
    assert revealing(name) is None


def test_a_revealing_name_is_refused_with_its_line_and_what_to_do(file: Path) -> None:
    with pytest.raises(FileProblems) as refused:
        read_organisation(file)

    assert f"{file}:4: organisation.name: every message says it, and 'Oncology'" in str(refused.value)
    assert "neutral_name" in str(refused.value)


def test_a_neutral_name_stands_in_its_place_wherever_the_ledger_says_a_name(file: Path) -> None:
    file.write_text(NEUTRAL)

    assert read_organisation(file).organisation_news().name == "Riverside Health"


def test_a_neutral_name_must_be_neutral(file: Path) -> None:
    file.write_text(NEUTRAL.replace("Riverside Health", "Riverside Cancer Care"))

    with pytest.raises(FileProblems, match=r"organisation\.neutral_name: every message says it"):
        read_organisation(file)


@pytest.mark.parametrize("command", [("template", "check"), ("campaign", "check", str(CAMPAIGN))])
def test_a_check_judges_the_name_as_well(run: Run, file: Path, command: tuple[str, ...]) -> None:
    refused = run(*command, "--organisation-file", str(file))
    file.write_text(NEUTRAL)
    fine = run(*command, "--organisation-file", str(file))

    assert refused.exit_code == 2
    assert "organisation.name: every message says it" in refused.output
    assert fine.exit_code == 0


def test_nothing_starts_or_is_released_under_a_revealing_name_that_is_in_the_ledger_already(
    run: Run, ledger_file: Path
) -> None:
    engine = open_ledger(f"sqlite:///{ledger_file}")
    settle(engine)
    with engine.begin() as conn:
        conn.execute(update(organisation).values(name="Riverside Oncology"))

    started = run("campaign", "start", str(CAMPAIGN), *RELEASED)
    released = run("template", "release", "6-12-invite@1", "--as", "Maya Ortiz", "--role", "marketing")

    with engine.connect() as conn:
        assert phi_in_outreach(conn).count == 1
    engine.dispose()
    for refused in (started, released):
        assert refused.exit_code == 2
        assert "the organisation's name: every message says it, and 'Oncology'" in refused.output
