"""Rule files: every mistake is told with file, line, field and reason; laxer than the law only if acknowledged."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest
from rulebooks import STANDARD, rules_from

from domain.rules.rulebook import Kind, Row
from ops.runtime.yamlfile import FileProblems
from producers.rule_files import TABLES, read_rules

ACKNOWLEDGED = """
    acknowledged_by: Jo Doe, General Counsel
    acknowledged_on: 2026-10-01
    reason: no solicitation, counsel says"""


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(FileProblems) as refused:
        rules_from(directory, text)
    return str(refused.value).replace(f"{directory}/", "").splitlines()


def test_every_row_has_its_source_and_says_whether_somebody_checked_it() -> None:
    rows = STANDARD.rows()

    assert {row.kind for row in rows} == set(Kind)
    assert all(row.source and row.says for row in rows)
    assert {row.id for row in rows if row.checked_on is None} >= {"opting_out.spanish", "hours.holidays"}
    assert [row.id for row in rows if row.kind != Kind.HOUSE and not row.counsel] == []
    assert len({row.id for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "row: hours.us-fl\n    limit: {week: {mon-sun: 08:00-20:30}}",
            (
                "rules.yaml:3: override[0].limit: Mon-Sun 08:00-20:30 is laxer than the law (hours.us-fl: "
                "Mon-Sun 08:00-20:00;"
            ),
        ),
        (
            "row: hours.default\n    limit: {week: {mon-sun: 07:00-20:00}}",
            (
                "rules.yaml:3: override[0].limit: Mon-Sun 07:00-20:00 is laxer than the law (hours.us: "
                "Mon-Sun 08:00-21:00;"
            ),
        ),
        ("row: hours.us-al\n    limit: {week: {mon-sun: 08:00-20:00}}", "rules.yaml:3: override[0].limit: "),
        ("row: caps.person.day\n    limit: {at_most: 2, hours: 24}", "rules.yaml:3: override[0].limit: 2 in 24 h is"),
        ("row: caps.person.day\n    limit: {at_most: 1, hours: 12}", "rules.yaml:3: override[0].limit: 1 in 12 h is"),
        ("row: caps.us-fl\n    limit: {at_most: 4, hours: 24}", "rules.yaml:3: override[0].limit: 4 in 24 h is"),
        ("row: incentives.us-item\n    limit: {dollars: 20}", "rules.yaml:3: override[0].limit: $20 is laxer"),
        (
            "row: opting_out.scope\n    limit: {scope: calls_and_texts}",
            "rules.yaml:3: override[0].limit: calls_and_texts is laxer than the law (opting_out.scope: everything;",
        ),
        ("row: retention.us-va\n    limit: {years: 6}", "rules.yaml:3: override[0].limit: 6 years is laxer"),
    ],
)
def test_laxer_than_the_law_needs_somebody_who_answers_for_it(tmp_path: Path, override: str, told: str) -> None:
    text = f"override:\n  - {override}"

    (refused,) = problems(tmp_path, text)
    (row,) = (each for _, each in rules_from(tmp_path, text + ACKNOWLEDGED).loosened())

    assert refused.startswith(told)
    assert refused.endswith("say who answers for it: acknowledged_by, acknowledged_on, reason")
    assert row.id in override
    assert row.override is not None
    assert (row.override.acknowledged_by, row.override.acknowledged_on) == (
        "Jo Doe, General Counsel",
        date(2026, 10, 1),
    )


def test_half_an_acknowledgement_is_none(tmp_path: Path) -> None:
    half = "override:\n  - row: caps.us-fl\n    acknowledged_by: Jo Doe\n    limit: {at_most: 4, hours: 24}"

    (refused,) = problems(tmp_path, half)

    assert refused.startswith("rules.yaml:4: ")
    assert refused.endswith("say who answers for it: acknowledged_on, reason")


@pytest.mark.parametrize(
    "override",
    [
        "{row: hours.default, limit: {week: {mon-fri: 08:00-21:00, sat-sun: none}}}",
        "{row: hours.us-fl, limit: {week: {mon-sun: 10:00-11:00}}}",
        "{row: hours.holidays, limit: {quiet_days: {}}}",
        "{row: caps.person.week, limit: {at_most: 1, hours: 336}}",
        "{row: caps.contact.day, limit: {at_most: 0, hours: 24}}",
        "{row: incentives.us-year, limit: {dollars: 0}}",
        "{row: retention.us-choices, limit: {years: 10}}",
        "{row: opting_out.scope, limit: {scope: ask}}",
    ],
)
def test_stricter_or_another_policy_within_the_law_needs_nobody(tmp_path: Path, override: str) -> None:
    rules = rules_from(tmp_path, f"override:\n  - {override}")

    assert rules.loosened() == []
    assert [row.id in override for row in rules.rows() if row.override is not None] == [True]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("{row: hours.mars, limit: {years: 1}}", "2: override[0].row: there is no rule hours.mars"),
        ("{row: hours.us-fl, limit: {years: 1}}", "2: override[0].limit: hours.us-fl has a limit of another form"),
        ("{row: opting_out.words, limit: {words: go on}}", "2: override[0].row: opting_out.words is built in"),
        ("{row: house.deceased, limit: {words: never mind}}", "2: override[0].row: house.deceased is built in"),
        ("{row: hours.us}", "2: override[0].limit: required, but not there"),
        ("{row: hours.us, limit: {}}", "2: override[0].limit: expected exactly one of"),
        ("{row: hours.us, limit: {years: 1, dollars: 1}}", "2: override[0].limit: expected exactly one of"),
        ("{row: caps.us-fl, limit: {at_most: 1}}", "2: override[0].limit: at_most and hours belong together"),
        ("{row: caps.us-fl, limit: {at_most: 1, hours: 9999}}", "2: override[0].limit.hours: "),
        ("{row: hours.us, limit: {week: {mon-sat: 09:00-20:00}}}", "2: override[0].limit.week: every weekday must be"),
        ("{row: hours.us, limit: {week: {sat-mon: none, tue-fri: none}}}", "2: override[0].limit.week.sat-mon: "),
        (
            "{row: hours.us, limit: {week: {mon-sun: 9-20}}}",
            "2: override[0].limit.week.mon-sun: expected hours such as",
        ),
        ("{row: hours.us, limit: {week: {mon-sun: 20:00-09:00}}}", "2: override[0].limit.week.mon-sun: closes before"),
        (
            "{row: hours.holidays, limit: {quiet_days: {X: 31 June}}}",
            "2: override[0].limit.quiet_days.X: expected a day",
        ),
        (
            "{row: opting_out.scope, limit: {scope: channel}}",
            "2: override[0].limit.scope: expected one of everything, ask, calls_and_texts; anything narrower,",
        ),
        ("{row: hours.us, limt: {years: 1}}", "2: override[0].limit: required"),
        ("{row: hours.us, acknowledged_on: soon, limit: {years: 1}}", "2: override[0].acknowledged_on: "),
        (
            "{row: caps.us-fl, limit: {at_most: 1, hours: 24}}\n  - {row: caps.us-fl, limit: {at_most: 2, hours: 24}}",
            "1: override: named more than once: caps.us-fl",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_field(tmp_path: Path, override: str, told: str) -> None:
    assert problems(tmp_path, f"override:\n  - {override}")[0].startswith(f"rules.yaml:{told}")


def test_quiet_days_must_come_to_an_end(tmp_path: Path) -> None:
    january = ", ".join(f"day {day}: {day} January" for day in range(1, 32))
    text = f"override:\n  - {{row: hours.holidays, limit: {{quiet_days: {{eve: 31 December, {january}}}}}}}"

    assert "more than 31 quiet days in a row" in problems(tmp_path, text)[0]


def test_two_files_for_one_organisation_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(
            "organisation: lakeside\noverride: [{row: caps.us-fl, limit: {at_most: 1, hours: 24}}]"
        )

    with pytest.raises(FileProblems, match=r"b\.yaml:1: organisation: another file is for lakeside, too"):
        read_rules(tmp_path)


def test_a_place_without_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileProblems, match=r"there is no \*\.yaml in this folder"):
        read_rules(tmp_path)
    with pytest.raises(FileProblems, match="no such file"):
        read_rules(tmp_path / "rules.yaml")


def broken_tables(directory: Path, table: str, before: str, after: str) -> str:
    """What is told of the tables with one thing changed."""
    tables = directory / "tables"
    shutil.copytree(TABLES, tables)
    path = tables / table
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(FileProblems) as refused:
        read_rules(tables=tables)
    return str(refused.value).replace(f"{tables}/", "").splitlines()[0]


@pytest.mark.parametrize(
    ("table", "before", "after", "told"),
    [
        ("hours.yaml", "jurisdiction: us-fl", "jurisdiction: us-xx", "rows[7].jurisdiction: expected us, or us- and"),
        ("hours.yaml", "08:00-21:00", "08:00-21:60", "rows[0].limit.week.mon-sun: expected hours"),
        ("hours.yaml", "id: hours.us-fl", "id: hours.us-al", "rows: hours.us-al: repeated"),
        ("hours.yaml", "id: hours.us-fl", "id: caps.us-fl", "rows: caps.us-fl: an id in this table begins with hours."),
        ("caps.yaml", "checked_on: 2026-11-23", "checked_on: lately", "rows[0].checked_on: "),
        ("caps.yaml", "    source: 47 CFR 64.1200(a)(9)(iv)(C)\n", "", "rows[0].source: required, but not there"),
        ("caps.yaml", "{at_most: 1, hours: 24}", "{dollars: 1}", "rows: caps.person.day: no limit of this kind"),
        ("caps.yaml", "kind: caps", "kind: hours", "rows: caps.person.day: an id in this table begins with hours."),
        ("retention.yaml", "{years: 6}", "{words: for ever}", "rows: retention.us-choices: a limit in words must be"),
        ("house.yaml", "id: house.booked", "id: house.booking", "rows: the guard decides by house.booked: not there"),
        ("hours.yaml", "id: hours.answers", "id: hours.replies", "rows: the guard decides by hours.answers: not there"),
    ],
)
def test_the_tables_are_checked_at_the_start(tmp_path: Path, table: str, before: str, after: str, told: str) -> None:
    found = broken_tables(tmp_path, table, before, after)

    place, _, rest = found.partition(": ")
    assert place.startswith(f"{table}:")
    assert rest.startswith(told)


def test_the_example_is_one_that_can_be_used() -> None:
    rules = read_rules(TABLES.parents[2] / "docs" / "examples" / "rules.yaml")

    assert str(rules.in_force("example-health").week) == "Mon-Fri 10:00-19:00, Sat 10:00-16:00, Sun none"
    assert [(organisation, row.id) for organisation, row in rules.loosened()] == [
        ("example-health", "caps.person.week")
    ]


def test_a_row_tells_its_state() -> None:
    rows: dict[str, Row] = {row.id: row for row in STANDARD.rows()}

    assert rows["hours.us-fl"].state == "FL"
    assert rows["hours.us"].state is None
