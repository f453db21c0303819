"""Who is behind a number is told by reference alone; which numbers are behind a reference is told on record."""

from __future__ import annotations

import json
import os
import pty
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from household import EMAIL, NOW, PHONE, Household, add, count, meet, rows, settle_in
from sqlalchemy import Engine, event, text, update
from waiting import DEADLINE

from domain.ledger import directory, disclosures, merging
from domain.ledger.directory import RecordNumber
from domain.ledger.disclosures import Asking, disclosure
from domain.ledger.enrolments import enrolment
from domain.ledger.organisations import organisation, site
from domain.ledger.patients import MRN, contact_point, mrn_index, patient, patient_contact, registration
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault
from domain.rules.identity import Email, Phone
from tests.measuring.books import VAULT

Run = Callable[..., Result]

NUMBER = "A:98761"
#: What is behind the household's references; none of it may be seen unless it is revealed.
SECRETS = ("0101", "jane.doe", "98761")
JANE = "PTEST0  lakeside/north  1 open enrolment"
JOHN = "PTEST1  lakeside/north  1 open enrolment"


def register(engine: Engine, home: Household, patient_id: int, number: str) -> None:
    """Give a patient a record number at the household's site."""
    with engine.begin() as conn:
        sealed = {"mrn": VAULT.seal(number, MRN), "mrn_index": mrn_index(VAULT, number)}
        add(conn, registration, patient_id=patient_id, site_id=home.site, **sealed)


@pytest.fixture
def family(home: Path, ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Household:
    """Jane and John, who share a phone, in the ledger the command looks into: once on each store."""
    monkeypatch.setenv("REACTIVATE_DATABASE_URL", ledger_url)
    settled = settle_in(ledger, VAULT)
    register(ledger, settled, settled.jane, NUMBER)
    register(ledger, settled, settled.john, "B-2")
    return settled


def told(result: Result, code: int = 0) -> list[str]:
    """The lines on standard output of a command that showed no secret."""
    assert result.exit_code == code, result.output
    assert not [secret for secret in SECRETS if secret in result.output]
    return result.stdout.splitlines()


def refused(result: Result, code: int, *words: str) -> None:
    """Ended with `code` and one sentence with these words, which repeats nothing that was typed."""
    assert told(result, code) == []
    assert result.stderr.startswith("reactivate: ")
    assert len(result.stderr.splitlines()) == 1
    assert [word for word in words if word not in result.stderr] == []


@pytest.mark.parametrize("spelt", ["+1 303 555 0101", "(303) 555-0101", "303.555.0101"])
def test_a_phone_number_leads_to_its_whole_household_however_it_is_spelt(
    run: Run, family: Household, spelt: str
) -> None:
    result = run("find", "--phone", spelt)

    assert told(result) == [JANE, JOHN]


def test_a_mail_address_leads_to_its_owner(run: Run, family: Household) -> None:
    assert told(run("find", "--email", EMAIL.upper())) == [JANE]


def test_a_record_number_leads_to_the_patient_it_was_given_to_at_that_site(
    run: Run, ledger: Engine, family: Household
) -> None:
    with ledger.begin() as conn:
        add(conn, site, organisation_id=family.organisation, key="south", name="South", zone="America/Denver")

    here, elsewhere = run("find", "--mrn", f"north:{NUMBER}"), run("find", "--mrn", f"south:{NUMBER}")

    assert told(here) == [JANE]
    refused(elsewhere, 1, "no patient has this record number at this site")


@pytest.mark.parametrize(
    ("option", "value"), [("--phone", PHONE), ("--email", EMAIL), ("--mrn", f"north:{NUMBER}")], ids=str
)
def test_a_value_may_come_from_standard_input_in_one_line(run: Run, family: Household, option: str, value: str) -> None:
    found = [run("find", option, "-", stdin=line) for line in (value, f"{value}\n", f" {value}\r\n")]
    wrong = [run("find", option, "-", stdin=text) for text in ("", "\n", f"{value}\n{value}\n", f"{value}{'0' * 400}")]

    assert [told(each)[0] for each in found] == [JANE] * 3
    for each in wrong:
        refused(each, 2, f"{option} -: expected one line on standard input")


def process(*words: str, **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own, with a standard input of the test's choice."""
    command = [*words, sys.executable, "-m", "ops.cli.main", "find", "--phone", "-"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_at_a_terminal_the_value_is_asked_for_beside_the_output(family: Household) -> None:
    keyboard, terminal = pty.openpty()
    with process(stdin=terminal) as asking:
        os.write(keyboard, f"{PHONE}\n".encode())
        shown, asked = asking.communicate(timeout=DEADLINE)
    os.close(keyboard)
    os.close(terminal)

    assert (asking.returncode, asked) == (0, "phone: ")
    assert shown.splitlines() == [JANE, JOHN]


def test_a_closed_standard_input_is_a_mistake(family: Household) -> None:
    with process("sh", "-c", 'exec "$@" <&-', "sh") as closed:
        shown, said = closed.communicate(timeout=DEADLINE)

    assert (closed.returncode, shown) == (2, "")
    assert said == "reactivate: --phone -: standard input is closed\n"


@pytest.mark.parametrize("option", ["--phone", "--email", "--mrn"])
def test_bytes_that_are_no_text_are_a_mistake(run: Run, family: Household, option: str) -> None:
    refused(run("find", option, "-", stdin=b"north:\xff98761\n"), 2, option)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("--phone", "+1 303 555 0177"), "phone number"),
        (("--email", "john.doe@example.com"), "mail address"),
        (("--mrn", "north:98761"), "record number"),
        (("PNOBODY",), "reference"),
        (("3035550101",), "reference"),
        (("PNOBODY", "--reveal", "--why", "a call"), "reference"),
        (("PNOBODY", "--disclosures"), "reference"),
    ],
    ids=str,
)
def test_who_is_not_found_is_told_in_a_sentence_and_exits_with_1(
    run: Run, family: Household, words: tuple[str, ...], kind: str
) -> None:
    refused(run("find", *words), 1, f"no patient has this {kind}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "give one of PATIENT, --mrn, --phone and --email"),
        (("PTEST0", "--phone", PHONE), "give one of"),
        (("--email", EMAIL, "--phone", PHONE), "give one of"),
        (("+1", "303", "555", "0101"), "needs quotes"),
        ((PHONE,), "others are found by --phone"),
        ((EMAIL,), "others are found by --phone"),
        (("--phone", "555-0101"), "--phone: lacks its area code"),
        (("--phone", "jane.doe"), "--phone: not a phone number"),
        (("--email", "jane.doe"), "--email: not a mail address"),
        (("--mrn", "98761"), "--mrn: expected SITE:NUMBER"),
        (("--mrn", ":98761"), "--mrn: expected SITE:NUMBER"),
        (("--mrn", "98761:north"), "no site has this key (there are: north)"),
        (("--phone", PHONE, "--organisation", PHONE), "no organisation has this key (there are: lakeside)"),
        (("PTEST0", "--organisation", "lakeside"), "--organisation goes with"),
        (("--phone", PHONE, "--reveal", "--why", "a call"), "find the reference first"),
        (("--phone", PHONE, "--disclosures"), "find the reference first"),
        (("PTEST0", "--reveal", "--disclosures", "--why", "a call"), "not together"),
        (("--reveal", "--why", "a call"), "name the PATIENT"),
        (("PTEST0", "--why", "a call"), "go with --reveal"),
        (("--disclosures", "--as", "Kim"), "go with --reveal"),
        (("PTEST0", "--reveal", "--why", "a call", "--as", ""), "--as: expected"),
        (("PTEST0", "--reveal", "--why", "x" * 301), "--why: expected 1 to 300 characters"),
        (("PTEST0", "--reveal", "--why", "a\x1b[2Jcall"), "--why: expected"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_mistake_is_told_without_repeating_what_was_typed(
    run: Run, ledger: Engine, family: Household, words: tuple[str, ...], expected: str
) -> None:
    refused(run("find", *words), 2, expected)

    assert count(ledger, disclosure) == 0


def test_what_stands_in_the_way_of_reaching_somebody_is_told(run: Run, ledger: Engine, family: Household) -> None:
    with ledger.begin() as conn:
        conn.execute(update(patient).where(patient.c.id == family.jane).values(deceased_at=NOW))
        conn.execute(update(enrolment).where(enrolment.c.patient_id == family.jane).values(ended_at=NOW))
        conn.execute(update(patient_contact).where(patient_contact.c.patient_id == family.john).values(detached_at=NOW))

    lines = told(run("find", "--phone", PHONE))
    machine = json.loads(run("find", "--phone", PHONE, "--json").stdout)

    assert lines == [
        "PTEST0  lakeside/north  no open enrolments, deceased",
        f"{JOHN}, known not to be theirs since 2026-03-04",
    ]
    assert machine == [
        {
            "ref": "PTEST0",
            "organisation": "lakeside",
            "site": "north",
            "deceased": True,
            "merged_into": None,
            "open_enrolments": 0,
            "detached_at": None,
        },
        {
            "ref": "PTEST1",
            "organisation": "lakeside",
            "site": "north",
            "deceased": False,
            "merged_into": None,
            "open_enrolments": 1,
            "detached_at": NOW.isoformat(),
        },
    ]


def test_nobody_found_is_an_empty_list_for_machines(run: Run, family: Household) -> None:
    result = run("find", "--phone", "+1 303 555 0177", "--json")

    assert (result.exit_code, json.loads(result.stdout)) == (1, [])


@pytest.fixture
def merged(ledger: Engine, family: Household) -> Household:
    """John's record turned out to be Jane's."""
    with ledger.begin() as conn:
        merging.merge(conn, family.john, family.jane, NOW)
    return family


def test_a_merged_record_says_where_it_went_and_its_number_leads_there(run: Run, merged: Household) -> None:
    by_number, by_reference = run("find", "--mrn", "north:B-2"), run("find", "ptest1")

    assert told(by_number) == [JANE]
    assert told(by_reference) == [f"{JOHN}, merged into PTEST0"]


def test_a_merged_record_is_not_revealed_but_its_survivor_is_named(run: Run, ledger: Engine, merged: Household) -> None:
    refused(run("find", "PTEST1", "--reveal", "--why", "a call"), 2, "PTEST1 was merged into PTEST0")

    assert count(ledger, disclosure) == 0


def test_a_number_two_organisations_know_is_told_for_both_unless_one_is_named(
    run: Run, ledger: Engine, family: Household
) -> None:
    with ledger.begin() as conn:
        other = add(conn, organisation, key="harbour", name="Harbour", phone="555", postal_address="1 Pier")
        place = add(conn, site, organisation_id=other, key="north", name="North", zone="America/Denver")
        anne = add(conn, patient, organisation_id=other, ref="PANNE", home_site_id=place)
        add(conn, patient_contact, patient_id=anne, contact_point_id=meet(conn, VAULT, other, "phone", PHONE))
        sealed = {"mrn": VAULT.seal(NUMBER, MRN), "mrn_index": mrn_index(VAULT, NUMBER)}
        add(conn, registration, patient_id=anne, site_id=place, **sealed)

    anne_line = "PANNE  harbour/north  no open enrolments"
    assert told(run("find", "--phone", PHONE)) == [anne_line, JANE, JOHN]
    assert told(run("find", "--phone", PHONE, "--organisation", "harbour")) == [anne_line]
    assert told(run("find", "--mrn", f"north:{NUMBER}")) == [anne_line, JANE]
    assert told(run("find", "--mrn", f"north:{NUMBER}", "--organisation", "lakeside")) == [JANE]


@pytest.mark.parametrize("why", [(), ("--why", ""), ("--why", " \n")], ids=["none", "empty", "blank"])
def test_nothing_is_revealed_without_a_reason(
    run: Run, ledger: Engine, family: Household, why: tuple[str, ...]
) -> None:
    refused(run("find", "PTEST0", "--reveal", *why), 2, "--reveal is refused without --why TEXT")

    assert count(ledger, disclosure) == 0


def test_record_numbers_and_contact_points_are_revealed_and_it_is_on_record_who_asked_when_and_why(
    run: Run, ledger: Engine, family: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    before = datetime.now(UTC)

    result = run("find", "ptest0", "--reveal", "--why", "call  back,\nticket 17")

    (row,) = rows(ledger, disclosure)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"PTEST0, disclosure {row['id']}",
        f"record number north:{NUMBER}",
        f"phone {PHONE}, rank 1, valid",
        f"email {EMAIL}, rank 1, valid",
    ]
    account = pwd.getpwuid(os.getuid()).pw_name
    assert (row["patient_id"], row["who"], row["account"]) == (family.jane, account, account)
    assert before <= row["at"] <= datetime.now(UTC)
    assert VAULT.open(row["why"], disclosures.WHY) == "call back, ticket 17"
    assert b"ticket" not in bytes(row["why"])


def test_a_disclosure_for_machines_has_the_same(run: Run, ledger: Engine, family: Household) -> None:
    with ledger.begin() as conn:
        ended = patient_contact.c.contact_point_id == family.phone
        conn.execute(update(patient_contact).where(ended).values(detached_at=NOW, use="mobile"))

    shown = json.loads(run("find", "PTEST1", "--reveal", "--why", "a call", "--json").stdout)

    (row,) = rows(ledger, disclosure)
    point = {"system": "phone", "value": PHONE, "quality": "valid", "rank": 1}
    assert shown == {
        "ref": "PTEST1",
        "disclosure": row["id"],
        "record_numbers": [{"site": "north", "number": "B-2"}],
        "contacts": [{**point, "use": "mobile", "detached_at": NOW.isoformat()}],
    }


@pytest.fixture
def records_at_each_line(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many disclosures another connection could read whenever the command was about to show a line."""
    seen: list[int] = []
    echo = click.echo

    def look_then_echo(*message: Any, **options: Any) -> None:
        seen.append(count(ledger, disclosure))
        echo(*message, **options)

    monkeypatch.setattr(click, "echo", look_then_echo)
    return seen


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "json"])
def test_the_record_is_committed_before_the_first_line_is_shown(
    run: Run, family: Household, records_at_each_line: list[int], form: tuple[str, ...]
) -> None:
    result = run("find", "PTEST0", "--reveal", "--why", "a call", *form)

    assert PHONE in result.stdout
    assert set(records_at_each_line) == {1}


def test_where_a_value_does_not_open_nothing_is_shown_and_nothing_recorded(
    run: Run, ledger: Engine, family: Household
) -> None:
    with ledger.begin() as conn:
        conn.execute(update(contact_point).where(contact_point.c.id == family.email).values(value=b"\x09" + bytes(40)))

    refused(run("find", "PTEST0", "--reveal", "--why", "a call"), 2, "names a key that is not configured")

    assert count(ledger, disclosure) == 0


def test_past_disclosures_are_listed_newest_first_without_what_they_showed(run: Run, family: Household) -> None:
    empty = run("find", "--disclosures")
    for ref, why, who in (("PTEST0", "a call", ("--as", "Kim Ng")), ("PTEST1", "a letter", ())):
        assert run("find", ref, "--reveal", "--why", why, *who).exit_code == 0

    lines, machine = told(run("find", "--disclosures")), json.loads(run("find", "--disclosures", "--json").stdout)

    account = pwd.getpwuid(os.getuid()).pw_name
    assert empty.output == "nothing was disclosed\n"
    assert [line.split("Z  ")[1] for line in lines] == [
        f"PTEST1  {account}: a letter",
        f"PTEST0  Kim Ng (account {account}): a call",
    ]
    asked = [(each["patient"], each["who"], each["account"], each["why"]) for each in machine]
    assert asked == [("PTEST1", account, account, "a letter"), ("PTEST0", "Kim Ng", account, "a call")]
    assert len(told(run("find", "--disclosures", "--limit", "1"))) == 1


def test_disclosures_of_one_patient_have_those_of_the_records_merged_into_theirs(
    run: Run, ledger: Engine, family: Household
) -> None:
    with ledger.begin() as conn:
        other = add(conn, patient, organisation_id=family.organisation, ref="POTHER", home_site_id=family.site)
        for number, who in enumerate((family.john, other, family.jane)):
            asking = Asking("Kim", "desk", f"call {number}")
            disclosures.disclose(conn, VAULT, who, asking, NOW + timedelta(days=number))
        merging.merge(conn, family.john, family.jane, NOW)

    lines = told(run("find", "PTEST0", "--disclosures"))

    assert lines == [
        "3  2026-03-06 17:00Z  PTEST0  Kim (account desk): call 2",
        "1  2026-03-04 17:00Z  PTEST1  Kim (account desk): call 0",
    ]


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """A ledger on PostgreSQL, whose planner is asked."""
    engine = open_ledger(postgres_url)
    yield engine
    engine.dispose()


def test_nobody_is_looked_for_from_end_to_end(engine: Engine, vault: Vault) -> None:
    family = settle_in(engine, vault)
    asked: list[tuple[str, Any]] = []
    with engine.begin() as conn:
        event.listen(conn, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        directory.by_contact(conn, vault, Phone(PHONE, "valid", ()))
        directory.by_contact(conn, vault, Email(EMAIL))
        directory.by_record_number(conn, vault, RecordNumber("north", NUMBER))
        directory.by_reference(conn, "PTEST0")
        disclosures.disclose(conn, vault, family.jane, Asking("Kim", "desk", "a call"), NOW)
        disclosures.past(conn, vault, 10)
        disclosures.past(conn, vault, 10, family.jane)

    growing = ("contact_point", "enrolment", "patient", "patient_contact", "registration")
    read_whole = []
    with engine.begin() as conn:
        # so small a ledger is read whole by choice: with sequential scans priced out, one means that no index fits
        conn.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                plan = conn.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
                read_whole += [line for line in plan if any(f"Seq Scan on {table} " in line for table in growing)]
                # an index that only narrows to a whole organisation or site leaves the rest to a filter
                read_whole += [line for line in plan if "Filter" in line and ("_index" in line or "ref" in line)]

    assert len(asked) >= 9
    assert read_whole == []
