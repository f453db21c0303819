"""A first run by the README: what a new user does before any channel is set up must cost nothing later."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner
from rulebooks import STANDARD
from sqlalchemy import func, select

from domain.ledger.enrolling import enrol_lapses, undecided
from domain.ledger.enrolments import enrolment
from domain.ledger.store import reading
from ops import assembly
from ops.cli.main import main
from ops.runtime.settings import read_settings
from producers.scan import scan

ROOT = Path(__file__).parents[2]
ORGANISATION = """
organisation: {key: example, name: Example Health, phone: +1 617 555 0100, postal_address: "1 Example Street, Boston"}
sites:
  - {key: main, name: Main, zone: America/New_York, lines: {primary_care: {}}}
fhir: {source: ehr, default_site: main, default_line: primary_care}
"""
PATIENT = {"resourceType": "Patient", "id": "p", "telecom": [{"system": "phone", "value": "(617) 555-0101"}]}
VISIT = {
    "resourceType": "Encounter",
    "id": "v",
    "status": "finished",
    "class": {"code": "AMB"},
    "subject": {"reference": "Patient/p"},
    "period": {"start": "2019-01-11T10:00:00Z"},
}


def test_lapses_noticed_before_a_channel_is_set_up_are_enrolled_once_one_is(tmp_path: Path) -> None:
    (tmp_path / "organisation.yaml").write_text(ORGANISATION)
    export = tmp_path / "export"
    export.mkdir()
    (export / "Patient.ndjson").write_text(json.dumps(PATIENT))
    (export / "Encounter.ndjson").write_text(json.dumps(VISIT))
    home = ("--home", str(tmp_path / "home"))
    for command in (
        ("migrate",),
        ("import", "--organisation", str(tmp_path / "organisation.yaml"), str(export)),
        (
            *("campaign", "start", str(ROOT / "docs" / "examples" / "campaign.yaml")),
            *("--released-by", "marketing=Maya Ortiz", "--released-by", "clinical=Sam Reed"),
        ),
    ):
        result = CliRunner().invoke(main, [*home, *command])
        assert result.exit_code == 0, result.output
    now = datetime.now(UTC) + timedelta(minutes=1)
    later = now + timedelta(hours=1)

    with assembly.assemble(read_settings({"REACTIVATE_HOME": str(tmp_path / "home")})) as parts:
        assert parts.channels == {}
        assert scan(parts.engine, now) == 1
        assert assembly.rounds(parts).sweep.run(later) == 0

        with parts.engine.begin() as conn:
            waiting = undecided(conn, later)
            assert len(waiting) == 1
            enrol_lapses(conn, waiting, {"sms": "phone"}, STANDARD, later)
        with reading(parts.engine) as conn:
            assert conn.scalar(select(func.count()).select_from(enrolment)) == 1
