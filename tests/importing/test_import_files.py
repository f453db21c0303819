"""What is wrong with a file is said beforehand, in a sentence that names the file, the line and the field."""

from __future__ import annotations

import gzip
import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from lakeside import NOW, ORGANISATION, a_patient, write_lines
from sqlalchemy import Engine, select

from domain.ledger.appointments import appointment, care_gap
from domain.ledger.organisations import organisation
from domain.ledger.patients import contact_point, patient
from domain.ledger.store import open_ledger, reading
from domain.ledger.vault import Vault
from ops.runtime.yamlfile import FileProblems
from producers.importing.dates import end_of_day
from producers.importing.mapping_file import read_mapping
from producers.importing.organisation_file import read_organisation
from producers.importing.result import ImportResult
from producers.importing.run import run_import
from producers.importing.source_file import ImportProblem

ROOT = Path(__file__).resolve().parents[2]

MAPPING = """\
source: ehr
delimiter: ";"
encoding: cp1252
zone: America/Denver
files:
  people.csv:
    takes: patients
    fields:
      mrn: Number
      site: {column: Clinic, values: {A: main, B: east}}
      given_name: First
      birth_date: {column: Born, formats: ["%d.%m.%Y"]}
      phones: [Mobile, Home]
      emails: [Mail]
      deceased: Died
      high_risk: {constant: "no"}
      person: Enterprise
  visits.csv:
    takes: appointments
    fields:
      id: {columns: [Number, When]}
      mrn: Number
      patient_site: {constant: main}
      site: {constant: main}
      service_line: {column: Kind, values: {GP: primary_care, TOOTH: dental, ER: ignore}}
      status: {column: Status, values: {D: fulfilled, X: cancelled, N: noshow, P: booked}}
      starts_at: {column: When, formats: ["%d.%m.%Y %H:%M"]}
  gaps.csv:
    takes: gaps
    fields:
      id: Id
      mrn: Number
      patient_site: {constant: main}
      measure: {constant: diabetes}
      due_at: Due
"""


@pytest.fixture
def engine(sqlite_url: str) -> Engine:
    """SQLite alone: these are tests of files."""
    return open_ledger(sqlite_url)


def take(engine: Engine, vault: Vault, organisation_file: Path, *sources: Path) -> ImportResult:
    try:
        return run_import(engine, vault, organisation_file=organisation_file, sources=sources, now=NOW)
    finally:
        engine.dispose()


def test_a_file_named_gz_that_is_none(engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Patient.ndjson.gz", [a_patient("p1")])

    with pytest.raises(ImportProblem, match=r"^Patient\.ndjson\.gz: is named \.gz, but is not gzip"):
        take(engine, vault, organisation_file, path)


def test_a_gzip_file_without_its_name_is_read(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])
    path.write_bytes(gzip.compress(path.read_bytes()))

    assert [file.taken for file in take(engine, vault, organisation_file, path).files] == [1]


def test_an_empty_file_is_noted(engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Encounter.ndjson", [])

    result = take(engine, vault, organisation_file, path)

    assert result.files == result.warnings == ()
    assert result.notes == ("Encounter.ndjson: the file is empty",)


def test_every_problem_is_told_at_once_and_nothing_is_written(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n")

    with pytest.raises(ImportProblem) as raised:
        take(engine, vault, organisation_file, tmp_path / "nowhere", text, rows)

    told = str(raised.value)
    assert "nowhere: no such file or directory" in told
    assert "notes.txt: expected a file named *.ndjson" in told
    assert "rows.csv: a CSV export needs a mapping file" in told
    with reading(engine) as conn:
        assert conn.execute(select(organisation)).all() == []
    engine.dispose()


def test_a_folder_with_nothing_in_it(engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ImportProblem, match="nothing to import"):
        take(engine, vault, organisation_file, tmp_path / "empty")


def test_a_fhir_export_without_a_fhir_section(engine: Engine, vault: Vault, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])
    organisation_file = tmp_path / "organisation.yaml"
    organisation_file.write_text(ORGANISATION.split("fhir:")[0])

    with pytest.raises(ImportProblem, match="needs a `fhir` section"):
        take(engine, vault, organisation_file, path)


def test_a_column_that_the_header_lacks_is_named_with_its_field(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    folder = csv_export(tmp_path, people="Number;Clinic;First;Born;Mobile;Home;Mail;Died\n")

    with pytest.raises(ImportProblem) as raised:
        take(engine, vault, organisation_file, folder)

    assert str(raised.value) == (
        "people.csv:1: column Enterprise, wanted for the field person, is not in the header "
        "(Number, Clinic, First, Born, Mobile, Home, Mail, Died)"
    )


def test_csv_rows_are_read_by_the_mapping(
    ledger: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    folder = csv_export(
        tmp_path,
        people=(
            "Number;Clinic;First;Born;Mobile;Home;Mail;Died;Enterprise\n"
            "1;A;Zoë;04.05.1970;303 555 0101;;zoe@example.org;no;E1\n"
            "7;B;Zoë;04.05.1970;;;zoe@example.org;;E1\n"
            '2;A;"Q; \nZaphod";32.13.1970;12;;;maybe;\n'
            "3;C;Zaphod;;;;;;\n"
            "4;A;Zaphod\n"
        ),
        visits=(
            "Number;When;Kind;Status\n"
            "1;03.02.2026 09:00;GP;D\n"
            "1;04.02.2026 09:00;ER;D\n"
            "2;05.02.2026 09:00;TOOTH;X\n"
            "2;06.02.2026;TOOTH;N\n"
            "9;06.02.2026 09:00;GP;D\n"
        ),
        gaps="Id;Number;Due\ng1;1;2026-01-31\ng2;1;\n",
    )

    result = run_import(ledger, vault, organisation_file=organisation_file, sources=[folder], now=NOW)

    people, visits, gaps = result.files
    assert (people.lines, people.taken, people.rejected) == (5, 3, 2)
    assert [(reject.line, reject.field) for reject in people.rejects] == [
        (4, "birth_date"),
        (4, "contacts[0].phone"),
        (4, "deceased"),
        (6, "site"),
        (7, "row"),
    ]
    assert (visits.taken, visits.ignored, visits.rejected) == (2, 1, 2)
    assert [(reject.line, reject.field) for reject in visits.rejects] == [(5, "starts_at"), (6, "patient")]
    assert (gaps.taken, [(reject.line, reject.field) for reject in gaps.rejects]) == (1, [(3, "due_at")])
    with reading(ledger) as conn:
        assert len(conn.execute(select(patient)).all()) == 2
        assert sorted(conn.scalars(select(contact_point.c.system))) == ["email", "phone"]
        starts = sorted(conn.scalars(select(appointment.c.starts_at)))
        assert [each.isoformat() for each in starts] == ["2026-02-03T16:00:00+00:00", "2026-02-05T16:00:00+00:00"]
        assert [each.isoformat() for each in conn.scalars(select(care_gap.c.due_at))] == ["2026-01-31T07:00:00+00:00"]


def csv_export(tmp_path: Path, **files: str) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "mapping.yaml").write_text(MAPPING)
    for name, text in files.items():
        (folder / f"{name}.csv").write_bytes(text.encode("cp1252"))
    return folder


def test_bytes_in_another_encoding_reject_their_row_only(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    folder = csv_export(tmp_path)
    (folder / "mapping.yaml").write_text(MAPPING.replace("encoding: cp1252\n", ""))
    (folder / "gaps.csv").write_bytes(b"\xef\xbb\xbfId;Number;Due\n\xff\xfe;1;2026-01-31\ng2;1;2026-01-31\n")
    (folder / "people.csv").write_bytes(b"Number;Clinic;First;Born;Mobile;Home;Mail;Died;Enterprise\n1;A;x;;;;;;\n")

    result = take(engine, vault, organisation_file, folder)

    assert [(file.taken, file.rejected) for file in result.files] == [(1, 0), (1, 1)]
    assert result.files[1].rejects[0].reason == "holds bytes that are not utf-8-sig"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("zone: America/Denver, state: CO", "zone: Mars/Olympus, state: CO"), ":3: sites[0].zone: not an IANA time"),
        (("state: Colorado", "state: Bavaria"), ":4: sites[1].state: not a US state"),
        (("threshold_months: 6", "threshold_months: six"), ":4: sites[1].lines.primary_care.threshold_months: "),
        (("key: east", "key: main"), ":2: sites: site keys must differ; repeated: main"),
        (("default_site: main", "default_site: mian"), ":5: fhir: unknown site: mian (sites of this file: east, main)"),
        (("  default_line: primary_care", "  default_lines: primary_care"), ":10: fhir.default_lines: unknown field"),
        (("dental: dental", "dental: dentist"), ":9: fhir.service_lines.dental: "),
        (("key: lakeside, ", ""), ":1: organisation.key: required, but not there"),
        (("phone: +1 303 555 0100", "phone: none"), ":1: organisation.phone: not a phone number"),
        (("  source: ehr\n", "  source: ehr\n  source: two\n"), ":7: fhir.source: repeated; first on line 6"),
        (("sites:\n", "sites: [\n"), "not YAML: "),
    ],
)
def test_problems_of_the_organisation_file_name_line_and_field(
    organisation_file: Path, change: tuple[str, str], problem: str
) -> None:
    assert change[0] in ORGANISATION
    organisation_file.write_text(ORGANISATION.replace(*change, 1))

    with pytest.raises(FileProblems) as raised:
        read_organisation(organisation_file)

    assert problem in str(raised.value)
    assert str(raised.value).startswith(str(organisation_file))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ("takes: gaps", "takes: holes"),
            ":29: files.gaps.csv.takes: expected one of 'patients', 'appointments', 'gaps', 'ignore'",
        ),
        (("      mrn: Number\n      site", "      site"), ":8: files.people.csv.fields.mrn: required, but not there"),
        (("{constant: main}\n      site", "{constant: main, column: x}\n      site"), "exactly one of column, columns"),
        (("    takes: gaps\n", ""), ":28: files.gaps.csv.takes: required, but not there"),
        (("      due_at: Due\n", ""), ":30: files.gaps.csv.fields: needs due_at, or every_months and since"),
        (("encoding: cp1252", "encoding: klingon"), ":3: encoding: not an encoding"),
        (("zone: America/Denver", "zone: Denver"), ":4: zone: not an IANA time zone"),
    ],
)
def test_problems_of_the_mapping_file_name_line_and_field(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    assert change[0] in MAPPING
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING.replace(*change, 1))

    with pytest.raises(FileProblems) as raised:
        read_mapping(path)

    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, ":1: no such file or directory"), (b"", ":1: the file is empty"), (b"a: 1\nb: \xff\n", ":2: not UTF-8")],
)
def test_a_configuration_that_cannot_be_read_at_all(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "organisation.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(FileProblems) as raised:
        read_organisation(path)

    assert problem in str(raised.value)


def test_the_examples_are_read() -> None:
    examples = ROOT / "docs" / "examples"

    assert {site.key for site in read_organisation(examples / "synthea-fhir" / "organisation.yaml").sites}
    for name in ("mapping.yaml", "mapping-v3.yaml"):
        assert read_mapping(examples / "synthea-csv" / name).files
    assert read_organisation(examples / "synthea-csv" / "organisation.yaml").fhir is None


def test_the_files_in_the_guide_are_read_as_they_stand(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")
    organisation_text, fhir_text, mapping_text = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    path = tmp_path / "organisation.yaml"
    west = "  - {key: west, name: West, zone: America/New_York, lines: {primary_care: {}}}\n"
    path.write_text(organisation_text.replace("# fhir:", west + "# fhir:") + fhir_text, encoding="utf-8")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(mapping_text, encoding="utf-8")

    found = read_organisation(path)

    assert found.fhir is not None
    assert found.fhir.care_gaps[0].measure == "diabetes"
    assert set(read_mapping(mapping).files) == {"encounters.csv", "conditions.csv"}


@pytest.mark.parametrize("name", ["Patient.ndjson", "Patient-1.ndjson.gz", "patients.ndjson"])
def test_a_file_of_patients_without_any_is_a_warning(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"\n\n") if name.endswith(".gz") else b"")

    result = take(engine, vault, organisation_file, path)

    assert result.notes == result.files == ()
    assert result.warnings == (
        f"{name}: no patients are in it; if that is not what the record system has, its export failed",
    )


def test_rows_of_patients_that_are_none_and_a_csv_without_a_header_are_warnings(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    folder = csv_export(tmp_path, people="Number;Clinic;First;Born;Mobile;Home;Mail;Died;Enterprise\n", visits="")

    told = [take(engine, vault, organisation_file, folder).warnings for _ in range(2)]

    # also when the same file comes again the night after
    assert told[0] == told[1]
    assert [warning.partition(":")[0] for warning in told[0]] == ["visits.csv", "people.csv"]


@pytest.mark.parametrize("written", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("expected", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_csv_in_utf_16_is_told_in_one_sentence(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path, written: str, expected: str
) -> None:
    folder = csv_export(tmp_path)
    (folder / "mapping.yaml").write_text(MAPPING.replace("cp1252", expected))
    (folder / "gaps.csv").write_bytes("Id;Number;Due\ng1;1;2026-01-31\n".encode(written))

    with pytest.raises(ImportProblem) as raised:
        take(engine, vault, organisation_file, folder)

    name = {"cp1252": "CP1252"}.get(expected, "UTF-8")
    assert str(raised.value) == (
        f"gaps.csv:1: not {name}: write it as {name}, or say its `encoding` in the mapping (utf-16, cp1252, …)"
    )


def test_a_csv_in_utf_16_is_read_if_the_mapping_says_so_and_one_that_is_not_is_told(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    folder = csv_export(tmp_path, people="Number;Clinic;First;Born;Mobile;Home;Mail;Died;Enterprise\n1;A;x;;;;;;\n")
    people = folder / "people.csv"
    (folder / "mapping.yaml").write_text(MAPPING.replace("cp1252", "utf-16"))
    utf_16 = people.read_bytes().decode().encode("utf-16")

    people.write_bytes(utf_16)
    assert [file.taken for file in take(engine, vault, organisation_file, folder).files] == [1]

    # half a character at the end
    people.write_bytes(utf_16 + "2;A;x;;;;;;\n".encode("utf-16-le") + b"\x00")
    with pytest.raises(ImportProblem, match=r"^people\.csv:\d+: .*not UTF-16"):
        take(engine, vault, organisation_file, folder)


def test_an_export_of_a_day_to_come_is_refused_before_anything_is_written(
    engine: Engine, vault: Vault, organisation_file: Path, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "Patient.ndjson", [a_patient("p1")])

    def take_as_of(day: date) -> ImportResult:
        try:
            return run_import(
                engine, vault, organisation_file=organisation_file, sources=[path], now=NOW, as_of=end_of_day(day)
            )
        finally:
            engine.dispose()

    for ahead in (2, 13_000):
        with pytest.raises(ImportProblem, match=r"^--as-of: \d{4}-\d\d-\d\d is to come"):
            take_as_of(NOW.date() + timedelta(days=ahead))
    with reading(engine) as conn:
        assert conn.execute(select(organisation)).all() == []
    # somewhere it is tomorrow already
    assert [file.taken for file in take_as_of(NOW.date() + timedelta(days=1)).files] == [1]
