"""CSV files are read by their mapping; what a row, a header or an encoding has wrong is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import MAPPING, csv_export, take
from sqlalchemy import Engine, select

from domain.ledger.appointments import appointment, care_gap
from domain.ledger.patients import contact_point, patient
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from producers.importing.source_file import ImportProblem


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

    result = take(ledger, vault, organisation_file, folder)

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
