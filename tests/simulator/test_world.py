"""The synthetic health system: the same from the same seed, plausible, and readable by the importer."""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.rules.vocabulary import Segment
from ops.simulator.ehr import World, generate, read_world
from ops.simulator.export import write_world
from ops.simulator.geography import AREA_CODES, ZONE_OF_STATE, zone_of_number
from ops.simulator.history import visits
from producers.importing.csv_rows import CsvReader
from producers.importing.fhir import FhirReader
from producers.importing.mapping_file import read_mapping
from producers.importing.organisation_file import read_organisation
from producers.importing.outcome import Read

START = datetime(2025, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return generate(11)


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def test_the_same_seed_makes_the_same_files_and_another_seed_does_not(tmp_path: Path) -> None:
    write_world(generate(3, patients=200), tmp_path / "one")
    write_world(generate(3, patients=200), tmp_path / "two")
    write_world(generate(4, patients=200), tmp_path / "other")

    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert files_of(tmp_path / "one")["export/Patient.ndjson"] != files_of(tmp_path / "other")["export/Patient.ndjson"]


def test_a_world_is_made_again_from_its_recipe(tmp_path: Path) -> None:
    made = generate(5, sites=3, patients=50, months=6)
    write_world(made, tmp_path)

    again = read_world(tmp_path)

    assert again.people == made.people
    assert again.care == made.care
    assert (again.start, again.end) == (made.start, made.end)


def test_a_directory_without_a_world_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no world here"):
        read_world(tmp_path)


def test_one_more_patient_changes_nothing_about_the_others() -> None:
    few, more = generate(9, patients=120), generate(9, patients=121)

    assert more.people[:120] == few.people
    assert [care for care in more.care if care.person.key <= "p000120"] == few.care


def test_six_sites_lie_in_four_zones_one_of_them_without_daylight_saving(world: World) -> None:
    zones = {site.zone for site in world.sites}

    assert len(world.sites) == 6
    assert len(zones) == 4
    assert "America/Phoenix" in zones
    assert all(ZONE_OF_STATE[site.place.state] == site.zone for site in world.sites)


def test_about_two_in_five_are_lapsed_for_each_of_the_five_reasons(world: World) -> None:
    by_segment = Counter(care.segment for care in world.lapsed)

    assert 0.35 < len({care.person.key for care in world.lapsed}) / len(world.people) < 0.45
    assert set(by_segment) == set(Segment)
    assert min(by_segment.values()) > 100


def test_numbers_are_fictional_shared_only_within_households_and_mostly_local(world: World) -> None:
    owners = Counter(person.phone for person in world.people if person.phone)
    numbers = [person for person in world.people if person.phone]
    local = sum(zone_of_number(person.phone or "") == person.home_zone for person in numbers)

    assert all(phone[5:10] == "55501" and len(phone) == 12 for phone in owners)
    assert 0.05 < sum(owners.values()) / len(owners) - 1 < 0.15
    assert 0.9 < local / len(numbers) < 1
    assert sum(map(len, AREA_CODES.values())) == len({code for codes in AREA_CODES.values() for code in codes})


def test_a_population_beyond_the_fictional_numbers_has_patients_without_a_phone() -> None:
    crowded = generate(2, sites=1, patients=28_000)

    phones = {person.phone for person in crowded.people if person.phone}

    assert len(phones) == 100 * sum(map(len, AREA_CODES.values()))
    assert crowded.people[-1].phone is None


def test_visits_end_with_the_last_one_and_are_never_ahead(world: World) -> None:
    for care in world.care[:500]:
        seen = list(visits(world.draws, care, "America/New_York", world.start))

        assert seen[0].starts_at == care.last_visit < world.start
        assert seen == sorted(seen, key=lambda visit: visit.starts_at, reverse=True)
        assert len({visit.id for visit in seen}) == len(seen)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"sites": 0}, "sites"),
        ({"patients": 0}, "patients"),
        ({"months": 0}, "months"),
        ({"start": datetime(2025, 1, 1)}, "zone"),  # noqa: DTZ001 - the mistake under test
    ],
)
def test_an_impossible_world_is_refused(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        generate(1, **arguments)  # type: ignore[arg-type]  # the mistakes under test


def test_the_importer_reads_every_line_of_the_fhir_export(tmp_path: Path) -> None:
    write_world(generate(5, patients=300), tmp_path)
    fhir = read_organisation(tmp_path / "organisation.yaml").fhir
    assert fhir is not None
    reader = FhirReader(fhir, 1, START)

    outcomes = Counter[str]()
    for path in (tmp_path / "export").iterdir():
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            outcomes.update(type(reader.read(line)).__name__ for line in lines)

    assert set(outcomes) == {Read.__name__}


def test_the_importer_reads_every_row_of_the_csv_export(tmp_path: Path) -> None:
    write_world(generate(5, patients=300), tmp_path)
    mapping = read_mapping(tmp_path / "export-csv" / "mapping.yaml")
    outcomes = Counter[str]()
    for name, file in mapping.files.items():
        assert file.takes != "ignore"
        with (tmp_path / "export-csv" / name).open(encoding="utf-8", newline="") as text:
            outcomes.update(type(each).__name__ for _, each in CsvReader(mapping, file, 1, START).rows(text))

    assert set(outcomes) == {Read.__name__}
    assert outcomes.total() > 300
