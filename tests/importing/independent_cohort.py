"""Who has lapsed, worked out from the raw files with the standard library alone: the import's independent witness.

Run it: python tests/importing/independent_cohort.py fhir|csv2018|csv3 FOLDER
It shares no code with the project; it says again, in its own way, what the example configurations say.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

#: (patient, line, segment)
Cohort = set[tuple[str, str, str]]


def fhir(folder: Path, as_of: datetime) -> Cohort:
    died = {p["id"] for p in _json(folder / "Patient.ndjson.gz") if "deceasedDateTime" in p}
    visits: dict[str, list[datetime]] = {}
    for encounter in _json(folder / "Encounter.ndjson.gz"):
        types = [coding["code"] for concept in encounter["type"] for coding in concept["coding"]]
        if encounter["class"]["code"] == "AMB" and "308646001" not in types:
            visits.setdefault(_who(encounter), []).append(_utc(encounter["period"]["start"]))
    months = {"44054006": 6, "38341003": 12, "735984001": 6}
    gaps = []
    for condition in _json(folder / "Condition.ndjson.gz"):
        code = condition["code"]["coding"][0]["code"]
        if code in months and condition["clinicalStatus"]["coding"][0]["code"] == "active":
            gaps.append((_who(condition), months[code], _utc(condition["onsetDateTime"])))
    for plan in _json(folder / "CarePlan.ndjson.gz"):
        code = plan["category"][0]["coding"][0]["code"]
        if code in months and plan["status"] == "active":
            gaps.append((_who(plan), months[code], _utc(plan["period"]["start"])))
    return _cohort(visits, gaps, died, as_of)


def csv2018(folder: Path, as_of: datetime) -> Cohort:
    chicago = ZoneInfo("America/Chicago")
    elsewhere = {"50849002", "183460006", "183478001", "183452005", "183495009", "305408004", "305411003"}
    elsewhere |= {"32485007", "34285007", "308646001"}
    died = {row["ID"] for row in _rows(folder / "patients.csv.gz") if row["DEATHDATE"]}
    visits: dict[str, list[datetime]] = {}
    for row in _rows(folder / "encounters.csv.gz"):
        if row["CODE"] not in elsewhere:
            visits.setdefault(row["PATIENT"], []).append(_utc(row["DATE"], chicago))
    months = {"44054006": 6, "38341003": 12}
    gaps = [
        (row["PATIENT"], months[row["CODE"]], _utc(row["START"], chicago))
        for row in _rows(folder / "conditions.csv.gz")
        if row["CODE"] in months and not row["STOP"]
    ]
    return _cohort(visits, gaps, died, as_of)


def csv3(folder: Path, as_of: datetime) -> Cohort:
    died = {row["Id"] for row in _rows(folder / "patients.csv.gz") if row["DEATHDATE"]}
    visits: dict[str, list[datetime]] = {}
    for row in _rows(folder / "encounters.csv.gz"):
        if row["ENCOUNTERCLASS"] in {"wellness", "ambulatory", "outpatient"}:
            visits.setdefault(row["PATIENT"], []).append(_utc(row["START"]))
    months = {"44054006": 6, "59621000": 12}
    gaps = [
        (row["PATIENT"], months[row["CODE"]], _utc(row["START"]))
        for row in _rows(folder / "conditions.csv.gz")
        if row["CODE"] in months and not row["STOP"]
    ]
    return _cohort(visits, gaps, died, as_of)


def _cohort(
    visits: dict[str, list[datetime]], gaps: list[tuple[str, int, datetime]], died: set[str], as_of: datetime
) -> Cohort:
    found: Cohort = set()
    # a visit after the export cannot have taken place: it is an appointment, and who has one has not lapsed
    booked = {who for who, all_of_them in visits.items() if max(all_of_them) > as_of}
    for who, all_of_them in visits.items():
        last = max(all_of_them)
        if who not in died | booked and _later(last, 12) <= as_of:
            band = "12_24_months" if as_of < _later(last, 24) else "beyond_24_months"
            found.add((who, "primary_care", band))
    for who, every, onset in gaps:
        due = _later(max([onset, *visits.get(who, [])]), every)
        if who not in died | booked and due <= as_of:
            found.add((who, "chronic_care", "chronic_overdue"))
    return found


def _later(instant: datetime, months: int) -> datetime:
    years, month = divmod(instant.month - 1 + months, 12)
    for day in (instant.day, 30, 29, 28):
        try:
            return instant.replace(year=instant.year + years, month=month + 1, day=day)
        except ValueError:
            continue
    raise AssertionError("every month has 28 days")


def _utc(text: str, zone: tzinfo = UTC) -> datetime:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


def _who(resource: dict) -> str:
    return resource["subject"]["reference"].rsplit(":", 1)[1]


def _json(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


if __name__ == "__main__":
    ends = {"fhir": "2021-03-31", "csv2018": "2018-03-31", "csv3": "2024-12-31"}
    known = {"fhir": fhir, "csv2018": csv2018, "csv3": csv3}
    name, where = sys.argv[1], Path(sys.argv[2])
    cohort = known[name](where, datetime.fromisoformat(ends[name] + "T23:59:59.999999+00:00"))
    for line in sorted(cohort):
        print(*line)  # noqa: T201
