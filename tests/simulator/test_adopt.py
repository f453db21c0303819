"""Somebody else's export comes to life: its people, their numbers and how long they have been away."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.simulator.__main__ import main
from ops.simulator.ehr import adopt_export, read_world
from ops.simulator.history import Story

AS_OF = datetime(2021, 3, 31, tzinfo=UTC)
ORGANISATION = """
organisation: {key: example, name: Example Health}
sites:
  - {key: main, name: Main, zone: America/New_York, state: MA}
  - {key: west, name: West, zone: America/Los_Angeles, state: CA}
fhir:
  source: other-ehr
  default_site: main
  sites: {org-west: west}
  mrn_system: "urn:mrn"
"""


def patient(id_: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": id_,
        "identifier": [{"system": "urn:mrn", "value": f"M-{id_}"}],
        "name": [{"family": "Zamora", "given": ["Ana"]}],
        "telecom": [{"system": "phone", "value": "555-978-4581"}],
        "birthDate": "1956-08-03",
        "address": [{"state": "Arizona"}],
        **more,
    }


def visit(id_: str, started: str, code: str = "AMB") -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"code": code},
        "subject": {"reference": f"urn:uuid:{id_}"},
        "period": {"start": started},
    }


@pytest.fixture
def export(tmp_path: Path) -> Path:
    patients = [
        patient("away"),
        patient("active", managingOrganization={"reference": "Organization/org-west"}, address=[]),
        patient("dead", deceasedDateTime="2019-01-01T10:00:00Z"),
        patient("new", telecom=[{"system": "email", "value": "Ana@Example.com"}]),
    ]
    visits = [
        visit("away", "2018-05-01T10:00:00-05:00"),
        visit("away", "2019-05-01T10:00:00-05:00"),
        visit("away", "2021-01-01T10:00:00-05:00", code="EMER"),
        visit("active", "2020-12-01T10:00:00-05:00"),
        visit("dead", "2018-05-01T10:00:00-05:00"),
    ]
    (tmp_path / "organisation.yaml").write_text(ORGANISATION)
    (tmp_path / "Patient.ndjson").write_text("\n".join(map(json.dumps, patients)))
    with gzip.open(tmp_path / "Encounter.ndjson.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, visits)))
    return tmp_path


def test_people_have_their_numbers_zones_and_record_numbers(export: Path) -> None:
    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)
    away, active, dead, new = world.people

    assert world.system == "other-ehr"
    assert (away.phone, away.home_zone, away.registrations) == (
        "+15559784581",
        "America/Phoenix",
        (("main", "M-away"),),
    )
    assert (active.site, active.home_zone) == ("west", "America/Los_Angeles")
    assert dead.deceased_on == date(2019, 1, 1)
    assert (new.phone, new.email) == (None, "ana@example.com")


def test_who_was_not_seen_for_a_year_is_lapsed_whatever_the_emergency_room_saw(export: Path) -> None:
    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)

    stories = {care.person.key: care.story for care in world.care}

    assert stories == {"away": Story.LAPSED, "active": Story.ACTIVE, "dead": Story.LAPSED}
    assert [care.person.key for care in world.lapsed] == ["away"]


def test_a_condition_of_the_care_gaps_makes_overdue_sooner(export: Path) -> None:
    conditions = [
        {
            "resourceType": "Condition",
            "clinicalStatus": {"coding": [{"code": state}]},
            "code": {"coding": [{"code": "44054006"}]},
            "subject": {"reference": "Patient/active"},
        }
        for state in ("resolved", "active")
    ]
    gaps = "  care_gaps: [{codes: ['44054006'], measure: diabetes, due_every_months: 3}]\n"
    (export / "organisation.yaml").write_text(ORGANISATION + gaps)

    for given, story in ((conditions[:1], Story.ACTIVE), (conditions, Story.LAPSED)):
        (export / "Condition.ndjson").write_text("\n".join(map(json.dumps, given)))
        world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)
        assert next(care.story for care in world.care if care.person.key == "active") is story


def test_the_number_used_first_is_the_one_by_rank_and_use(export: Path) -> None:
    numbers = [("old", "212-555-0101"), ("work", "212-555-0102"), ("mobile", "+44 20 7946 0103")]
    telecom = [{"system": "phone", "use": use, "value": value} for use, value in numbers]
    (export / "Patient.ndjson").write_text(json.dumps(patient("many", telecom=telecom)))

    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)

    assert [person.phone for person in world.people] == ["+442079460103"]


def test_the_recipe_leads_back_to_the_export(export: Path, tmp_path: Path) -> None:
    arguments = ["--make", "--world", str(tmp_path / "w"), "--start", "2021-03-31", "--months", "6"]
    assert main([*arguments, "--adopt", str(export), "--organisation", str(export / "organisation.yaml")]) == 0

    world = read_world(tmp_path / "w")

    assert [person.key for person in world.people] == ["away", "active", "dead", "new"]
    assert world.start == AS_OF


GARBAGE = [
    b"garbage",
    b"null",
    b"[1]",
    b"5",
    b'"text"',
    b"{}",
    b'{"resourceType": "Patient"}',
    b"\xff\xfe\x00",
    b'{"a": "\xe9"}',
]


@pytest.mark.parametrize("line", GARBAGE)
@pytest.mark.parametrize("kind", ["Patient", "Encounter", "Condition"])
def test_a_line_that_is_no_resource_is_passed_over(export: Path, kind: str, line: bytes) -> None:
    gaps = "  care_gaps: [{codes: ['44054006'], measure: diabetes, due_every_months: 3}]\n"
    (export / "organisation.yaml").write_text(ORGANISATION + gaps)
    # read after the good ones, and before them
    (export / f"{kind}-2.ndjson").write_bytes(line + b"\n")
    (export / f"{kind}-0.ndjson").write_bytes(b"\n" + line)

    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)

    assert [person.key for person in world.people] == ["away", "active", "dead", "new"]
    assert len(world.care) == 3


WRONG: list[Any] = [None, 5, True, "text", ["text"], [5], [None], {"text": 5}, {"coding": 5}, [[]], {}]
FIELDS = {
    "Patient": (
        *("name", "telecom", "birthDate", "address", "communication", "identifier", "managingOrganization"),
        *("deceasedDateTime", "deceasedBoolean", "gender"),
    ),
    "Encounter": ("status", "class", "subject", "period"),
    "Condition": ("clinicalStatus", "code", "subject"),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FIELDS.items() for name in names])
def test_a_field_of_another_shape_is_as_if_it_were_not_there(export: Path, kind: str, name: str) -> None:
    gaps = "  care_gaps: [{codes: ['44054006'], measure: diabetes, due_every_months: 3}]\n"
    (export / "organisation.yaml").write_text(ORGANISATION + gaps)
    whole = {
        "Patient": patient("odd"),
        "Encounter": visit("away", "2018-05-01T10:00:00Z"),
        "Condition": {
            "resourceType": "Condition",
            "clinicalStatus": {"coding": [{"code": "active"}]},
            "code": {"coding": [{"code": "44054006"}]},
            "subject": {"reference": "Patient/away"},
        },
    }[kind]
    lines = [json.dumps({**whole, name: wrong}) for wrong in WRONG]
    (export / f"{kind}-2.ndjson").write_text("\n".join(lines))

    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)

    assert {person.key for person in world.people} >= {"away", "active", "dead", "new"}
    assert len(world.people) == (5 if kind == "Patient" else 4)


def test_parts_of_another_shape_within_a_patient_are_left_out(export: Path) -> None:
    telecom = [5, {"system": "phone", "value": 5}, {"system": "phone", "value": "212-555-0103", "rank": "x", "use": 7}]
    odd = patient("odd", telecom=telecom, name=[{"given": ["Ana", 5], "family": {}}], birthDate="1956-08")
    odd["identifier"] = [{"system": "urn:mrn"}, {"system": "urn:mrn", "value": "M-9"}]
    nameless = patient("x")
    (export / "Patient.ndjson").write_text("\n".join(map(json.dumps, [{**nameless, "id": 5}, odd])))

    (person,) = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6).people

    assert (person.given, person.family, person.birth_date) == ("Ana", "", date(1956, 8, 1))
    assert (person.phone, person.registrations) == ("+12125550103", (("main", "M-9"),))


def test_dates_nobody_can_read_leave_the_patient(export: Path) -> None:
    odd = [patient("odd", birthDate="yesterday", deceasedDateTime="yes")]
    visits = [visit("odd", began) for began in ("yesterday", "0001-01-01T00:00:00+14:00", "2018-05", "2019")]
    (export / "Patient.ndjson").write_text("\n".join(map(json.dumps, odd)))
    (export / "Encounter.ndjson").write_text("\n".join(map(json.dumps, visits)))

    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)

    # as the import has it: who died on a day nobody can read is dead all the same
    assert [person.deceased_on for person in world.people] == [AS_OF.date()]
    assert [care.last_visit for care in world.care] == [datetime(2019, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("damage", ["truncated", "checksum", "bits"])
def test_a_damaged_gzip_counts_up_to_the_damage(export: Path, damage: str) -> None:
    many = "\n".join(json.dumps(visit(f"nobody-{number}", "2018-05-01")) for number in range(2000))
    packed = bytearray(gzip.compress((json.dumps(visit("new", "2018-05-01")) + "\n" + many).encode()))
    if damage == "truncated":
        packed = packed[: len(packed) // 2]
    elif damage == "checksum":
        packed[-8:] = bytes(8)
    else:
        packed[-200:-100] = bytes(100)
    (export / "Encounter-2.ndjson.gz").write_bytes(packed)

    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)

    assert {care.person.key for care in world.care} == {"away", "active", "dead", "new"}


def test_compression_is_told_by_the_bytes_and_a_mark_of_utf_8_is_no_part_of_a_line(export: Path) -> None:
    (export / "Patient.ndjson").write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(patient("one")).encode()))

    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)

    assert [person.key for person in world.people] == ["one"]


def test_the_organisation_file_is_read_as_it_is_written(export: Path) -> None:
    condition = {
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": {"coding": [{"code": "0123"}]},
        "subject": {"reference": "Patient/active"},
    }
    (export / "Condition.ndjson").write_text(json.dumps(condition))
    gaps = "  care_gaps: [{codes: [0123], measure: diabetes, due_every_months: '3'}]\n"
    (export / "organisation.yaml").write_text(ORGANISATION + gaps)

    world = adopt_export(1, export, export / "organisation.yaml", AS_OF, 6)

    assert next(care.story for care in world.care if care.person.key == "active") is Story.LAPSED


def test_an_export_of_which_nobody_can_be_read_is_told_in_a_sentence(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (export / "Patient.ndjson").write_bytes(b"\n".join(GARBAGE))
    arguments = ["--make", "--world", str(tmp_path / "w"), "--organisation", str(export / "organisation.yaml")]

    assert main([*arguments, "--adopt", str(export)]) == 2

    assert capsys.readouterr().err == f"simulator: {export}: no patients that can be read (Patient*.ndjson, .gz)\n"


def test_an_export_without_patients_and_a_file_without_fhir_are_told(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ["--make", "--world", str(tmp_path / "w"), "--organisation", str(export / "organisation.yaml")]
    assert main([*arguments, "--adopt", str(tmp_path / "empty")]) == 2
    assert "no patients that can be read" in capsys.readouterr().err

    (export / "organisation.yaml").write_text("sites: []")
    assert main([*arguments, "--adopt", str(export)]) == 2
    assert "not an organisation file with a fhir part" in capsys.readouterr().err
