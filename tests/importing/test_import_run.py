"""Taken once, resumed where it stopped, flat in memory, and every line accounted for whatever is in it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from exports import take
from lakeside import NOW, a_patient, an_encounter, write_export, write_lines
from sqlalchemy import Engine, func, select

from domain.ledger.appointments import appointment, care, care_gap
from domain.ledger.intake_log import import_reject
from domain.ledger.patients import GIVEN_NAME, contact_point, patient, patient_contact, registration
from domain.ledger.store import open_ledger, reading
from domain.ledger.vault import Vault
from producers.importing.result import Progress
from producers.importing.source_file import ImportProblem

ROOT = Path(__file__).resolve().parents[2]


def contents(engine: Engine, vault: Vault) -> dict[str, Any]:
    """Everything the import wrote, free of ids and of encryption's randomness."""
    with reading(engine) as conn:
        people = conn.execute(select(patient)).all()
        names = {row.id: row.ref for row in people}

        def rows(table: Any, *columns: str) -> list[Any]:
            found = conn.execute(select(table)).all()
            return sorted((names[row.patient_id], *(str(getattr(row, name)) for name in columns)) for row in found)

        return {
            "patients": sorted((row.ref, vault.open(row.given_name, GIVEN_NAME), row.version) for row in people),
            "registrations": rows(registration, "mrn_index", "version"),
            "links": rows(patient_contact, "rank", "use"),
            "points": conn.scalar(select(func.count()).select_from(contact_point)),
            "appointments": rows(appointment, "source_id", "version", "status", "starts_at", "changed_at"),
            "gaps": rows(care_gap, "source_id", "due_at", "closed_at"),
            "care": rows(care, "service_line", "last_visit_at", "scan_at", "missed_at", "gap_due_at"),
        }


def test_the_same_export_again_changes_nothing(
    ledger: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    export = write_export(tmp_path / "export", patients=20, encounters=1500)
    first = take(ledger, vault, organisation_file, export)
    before = contents(ledger, vault)

    again = take(ledger, vault, organisation_file, export, now=NOW + timedelta(days=1))

    assert contents(ledger, vault) == before
    assert [file.is_repeat for file in first.files] == [False, False]
    assert [file.is_repeat for file in again.files] == [True, True]
    assert [(file.lines, file.taken) for file in again.files] == [(20, 20), (1500, 1500)]


def test_an_import_stopped_by_an_error_goes_on_where_it_was(
    ledger: Engine, vault: Vault, organisation_file: Path, tmp_path: Path, sqlite_template: Path
) -> None:
    export = write_export(tmp_path / "export", patients=40, encounters=4500)
    undisturbed = open_ledger(f"sqlite:///{tmp_path / 'other.db'}")
    (tmp_path / "other.db").write_bytes(sqlite_template.read_bytes())
    take(undisturbed, vault, organisation_file, export)
    seen: list[Progress] = []

    def stop_after_two_batches(progress: Progress) -> None:
        seen.append(progress)
        if progress.lines == 2000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(ledger, vault, organisation_file, export, progress=stop_after_two_batches)
    resumed: list[int] = []
    result = take(ledger, vault, organisation_file, export, progress=lambda progress: resumed.append(progress.lines))

    assert resumed == [3000, 4000, 4500]
    assert [(file.lines, file.taken) for file in result.files] == [(40, 40), (4500, 4500)]
    assert contents(ledger, vault) == contents(undisturbed, vault)
    assert seen[-1].position <= seen[-1].size
    undisturbed.dispose()


def test_an_import_killed_in_the_middle_goes_on_to_the_same_ledger(
    ledger: Engine, ledger_url: str, vault: Vault, organisation_file: Path, tmp_path: Path, sqlite_template: Path
) -> None:
    export = write_export(tmp_path / "export", patients=40, encounters=4500)
    undisturbed = open_ledger(f"sqlite:///{tmp_path / 'other.db'}")
    (tmp_path / "other.db").write_bytes(sqlite_template.read_bytes())
    take(undisturbed, vault, organisation_file, export)

    process = subprocess.Popen(
        [sys.executable, "-c", KILLABLE, ledger_url, str(organisation_file), str(export)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            # its next batch is under way by now
            if json.loads(line) >= 2000:
                process.send_signal(signal.SIGKILL)
                break
    result = take(ledger, vault, organisation_file, export)

    assert process.returncode == -signal.SIGKILL
    assert [(file.lines, file.taken) for file in result.files] == [(40, 40), (4500, 4500)]
    assert contents(ledger, vault) == contents(undisturbed, vault)
    undisturbed.dispose()


KILLABLE = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from producers.importing.run import run_import
vault = Vault(
    keys={1: b"sealing-key-of-the-tests-32bytes"}, current=1, index_key=b"an-index-key-of-the-tests-32byte"
)
run_import(
    open_ledger(sys.argv[1]), vault, organisation_file=Path(sys.argv[2]), sources=[Path(sys.argv[3])],
    now=datetime(2026, 3, 1, 12, tzinfo=UTC), progress=lambda p: print(p.lines, flush=True),
)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its own peak memory from /proc (Linux)")
def test_memory_does_not_grow_with_the_file(sqlite_template: Path, organisation_file: Path, tmp_path: Path) -> None:
    peaks = []
    for size in (5_000, 25_000):
        database = tmp_path / f"{size}.db"
        database.write_bytes(sqlite_template.read_bytes())
        export = write_export(tmp_path / str(size), patients=50, encounters=size)
        # of this program's own memory: ru_maxrss would remember that of the process that forked it
        code = KILLABLE + "print(next(x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')))\n"
        done = subprocess.run(
            [sys.executable, "-c", code, f"sqlite:///{database}", str(organisation_file), str(export)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        peaks.append(int(done.stdout.split()[-1]) / 1024)

    small, large = peaks
    assert large < small + 8, f"peak {small:.0f} MB with 5,000 encounters, {large:.0f} MB with 25,000"


def test_every_rejected_line_is_listed_with_line_field_and_reason_and_the_rest_goes_in(
    ledger: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    secret = "Zaphod"
    day = NOW - timedelta(days=30)
    people = write_lines(
        tmp_path / "export" / "Patient.ndjson",
        [
            a_patient("p1"),
            b'{"resourceType": "Patient", "id": "Zaphod"',
            a_patient("p2", phone="Zaphod 0101"),
            a_patient("p3", birthDate="Zaphod", deceasedBoolean=True),
            {"resourceType": "Patient", "name": [{"family": secret}]},
            b"",
            [secret],
            {"resourceType": "Observation", "id": secret},
        ],
    )
    visits = write_lines(
        tmp_path / "export" / "Encounter.ndjson",
        [
            an_encounter("e1", "p1", day),
            an_encounter("e2", secret, day),
            an_encounter("e3", "p2", day, status=secret),
            an_encounter("e4", "p2", day, period={"start": secret}),
            an_encounter("e5", "p2", day, period="2020"),
            an_encounter("e6", "p2", day, subject={"reference": "Group/1"}),
            an_encounter("e7", "p2", day, **{"class": {"code": "EMER"}}),
            an_encounter("e8", "p2", NOW.replace(year=1812)),
            an_encounter("e" * 200, "p2", day),
            an_encounter("e10", "p3", day, meta={"lastUpdated": secret}),
        ],
    )

    result = take(ledger, vault, organisation_file, people, visits)

    first, second = result.files
    assert (first.lines, first.taken, first.ignored, first.rejected) == (8, 3, 2, 3)
    assert [(reject.line, reject.field) for reject in first.rejects] == [
        (2, "line"),
        (3, "contacts[0].phone"),
        (4, "birthDate"),
        (5, "id"),
        (7, "resourceType"),
    ]
    assert (second.lines, second.taken, second.ignored, second.rejected) == (10, 1, 1, 8)
    assert [(reject.line, reject.field) for reject in second.rejects] == [
        (2, "patient"),
        (3, "status"),
        (4, "period.start"),
        (5, "period.start"),
        (6, "subject"),
        (8, "starts_at"),
        (9, "id"),
        (10, "meta.lastUpdated"),
    ]
    with reading(ledger) as conn:
        assert conn.scalar(select(func.count()).select_from(import_reject)) == 13
        assert conn.scalar(select(func.count()).select_from(patient)) == 3
        reasons = conn.scalars(select(import_reject.c.reason)).all()
    assert not any(secret in reason for reason in reasons)


@pytest.mark.parametrize("kind", ["Patient", "Encounter", "Appointment", "Condition", "CarePlan"])
@pytest.mark.parametrize("shape", [None, 7, "text", [], [[]], [None], {}, [{}], {"coding": 3}, True])
def test_a_resource_of_any_shape_is_taken_or_rejected_never_an_error(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path, kind: str, shape: Any
) -> None:
    names = "meta identifier name telecom address communication link managingOrganization extension subject period type"
    names += " class serviceType serviceProvider location status start participant code category clinicalStatus active"
    names += " verificationStatus onsetDateTime birthDate deceasedDateTime deceasedBoolean requestedPeriod created"
    lines = [{"resourceType": kind, "id": f"r{n}", name: shape} for n, name in enumerate(names.split())]
    lines += [{"resourceType": kind, "id": shape}, {"resourceType": kind} | dict.fromkeys(names.split(), shape)]
    path = write_lines(tmp_path / "export" / "odd.ndjson", lines)

    (file,) = take(engine, vault, organisation_file, path).files

    assert file.lines == len(lines)


def test_names_of_any_characters_survive(ledger: Engine, vault: Vault, organisation_file: Path, tmp_path: Path) -> None:
    names = [
        "Ångström",
        "李",
        "\u202eevil",
        "O'Hara; DROP TABLE patient",
        "\u0000nul",
        "🙂" * 50,
        "<script>",
        "%s %d {0}",
    ]
    path = write_lines(
        tmp_path / "export" / "Patient.ndjson",
        [a_patient(f"p{n}", name=[{"given": [name], "family": "x"}]) for n, name in enumerate(names)],
    )

    (file,) = take(ledger, vault, organisation_file, path).files

    assert file.taken == len(names)
    with reading(ledger) as conn:
        stored = conn.scalars(select(patient.c.given_name)).all()
    assert sorted(vault.open(name, GIVEN_NAME) for name in stored) == sorted(name.strip() for name in names)


def test_a_line_without_end_is_rejected_without_being_kept(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "Patient.ndjson"
    path.write_bytes(b'{"resourceType": "Patient", "id": "' + b"x" * (17 * 1024 * 1024) + b'"}\n')
    with path.open("ab") as file:
        file.write(json.dumps(a_patient("p1")).encode() + b"\n")

    (result,) = take(engine, vault, organisation_file, path).files

    assert (result.lines, result.taken, result.rejected) == (2, 1, 1)
    assert result.rejects[0].reason == "longer than 16 MiB"


def test_what_came_before_the_damage_of_a_gzip_file_is_taken(
    ledger: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    plain = write_lines(tmp_path / "Patient.ndjson", (a_patient(f"p{n}") for n in range(1500)))
    damaged = tmp_path / "Patient.ndjson.gz"
    packed = gzip.compress(plain.read_bytes())
    damaged.write_bytes(packed[: len(packed) * 9 // 10])

    with pytest.raises(ImportProblem, match=r"Patient\.ndjson\.gz:\d+: the file is damaged after this line"):
        take(ledger, vault, organisation_file, damaged)
    with reading(ledger) as conn:
        kept = conn.scalar(select(func.count()).select_from(patient))
    take(ledger, vault, organisation_file, plain)

    assert kept is not None
    assert 1000 < kept < 1500
    with reading(ledger) as conn:
        assert conn.scalar(select(func.count()).select_from(patient)) == 1500


def test_a_changed_configuration_takes_the_file_again(
    ledger: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    day = NOW - timedelta(days=30)
    export = tmp_path / "export"
    write_lines(export / "Patient.ndjson", [a_patient("p1")])
    write_lines(export / "Encounter.ndjson", [an_encounter("e1", "p1", day)])
    take(ledger, vault, organisation_file, export)

    organisation_file.write_text(
        organisation_file.read_text().replace("default_line: primary_care", "default_line: dental")
    )
    take(ledger, vault, organisation_file, export, now=NOW + timedelta(days=1))

    with reading(ledger) as conn:
        assert conn.scalars(select(appointment.c.service_line)).all() == ["dental"]
