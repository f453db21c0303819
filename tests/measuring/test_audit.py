"""Every promise, broken on purpose: the audit sees it, and sees nothing where nothing is wrong."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rulebooks import STANDARD, rules_from
from sqlalchemy import Engine, update

from domain.ledger import (
    audit_attempts,
    audit_books,
    audit_calls,
    audit_households,
    audit_sends,
    audit_stops,
    audit_terms,
    audit_texts,
    store,
)
from domain.ledger.attempts import attempt
from domain.ledger.audit import PROMISES, audit, breaches
from domain.ledger.audit_books import conservation_gap
from domain.ledger.audit_terms import Declared
from domain.ledger.campaigns import campaign
from domain.ledger.findings import Finding
from domain.ledger.merging import merge
from domain.ledger.patients import patient_contact
from domain.rules.limits import AtMost, Week
from tests.measuring.books import DAY, NOON, Books, Person
from tests.measuring.planted import (
    NOW,
    PLANTED,
    SECOND,
    a_live_enrolment_with_nothing_ahead,
    a_reply_in_no_known_state,
    an_orderly_campaign,
)


@pytest.fixture
def books(ledger: Engine) -> Iterator[Books]:
    with ledger.begin() as conn:
        yield Books(conn)


def found(books: Books) -> dict[str, int]:
    """What the audit counts, without the promises that were kept."""
    return {each.promise: each.count for each in audit(books.conn, NOW) if not each.is_kept}


def consent(books: Books, phone: int, kind: str, at: datetime, recorded_at: datetime) -> None:
    books.choice(kind, at, recorded_at=recorded_at, contact_point_id=phone, channel="sms", source="ehr")


def test_a_consent_given_after_a_revocation_counts_also_where_it_was_told_before_it(books: Books) -> None:
    who = books.person()
    consent(books, who.phone, "granted", NOON - DAY, NOON - 4 * SECOND)
    consent(books, who.phone, "revoked", NOON - 2 * DAY, NOON - 3 * SECOND)
    books.sent(who, books.enrol(who))

    assert found(books) == {}


def test_a_consent_given_before_a_revocation_lifts_nothing_where_it_was_told_after_it(books: Books) -> None:
    who = books.person()
    consent(books, who.phone, "revoked", NOON - DAY, NOON - 4 * SECOND)
    consent(books, who.phone, "granted", NOON - 2 * DAY, NOON - 3 * SECOND)
    books.sent(who, books.enrol(who))

    assert found(books) == {"sent_after_opt_out": 1}


def test_calls_to_two_records_that_were_merged_afterwards_break_no_promise(books: Books) -> None:
    who, gone = books.person(), books.person()
    books.sent(who, books.enrol(who))
    books.stop(NOON - DAY, patient_id=who.id, lifted_at=NOON - SECOND)
    books.sent(gone, books.enrol(gone), NOON - timedelta(hours=2))
    books.conn.execute(update(attempt).where(attempt.c.patient_id == gone.id).values(patient_id=who.id))

    assert found(books) == {}


def test_what_two_records_were_offered_before_their_merge_is_noted_and_nothing_may_come_on_top(books: Books) -> None:
    who, gone = books.person(), books.person()
    mine, theirs = books.enrol(who), books.enrol(gone)
    for nth in range(4):
        books.offer(who, mine, cents=1250, incentive=f"mine-{nth}")
        books.offer(gone, theirs, cents=1250, incentive=f"theirs-{nth}")
    merge(books.conn, gone.id, who.id, NOON + DAY)

    before = next(each for each in audit(books.conn, NOW) if each.promise == "incentives_over_ceiling")
    books.offer(who, mine, cents=100, incentive="one-more", offered_at=NOON + 2 * DAY)
    after = next(each for each in audit(books.conn, NOW) if each.promise == "incentives_over_ceiling")

    assert (before.count, before.notes) == (
        0,
        ("patients whose merged records were offered more in a year, before the merge: 1",),
    )
    assert (after.count, after.notes) == (1, ())


@pytest.mark.parametrize(
    ("began", "newer", "broken"),
    [(NOON - 10 * DAY, 2, 1), (NOON - 10 * DAY, 3, 0), (NOON - 10 * DAY, None, 0), (NOON - timedelta(hours=2), 2, 0)],
    ids=["by the figure of the day", "by the laxer of two", "by none at last", "not on the day it began"],
)
def test_a_day_is_judged_by_the_share_that_a_campaign_had_on_it(
    books: Books, began: datetime, newer: int | None, broken: int
) -> None:
    books.conn.execute(update(campaign).values(daily_touches=2, started_at=began, ended_at=NOON + timedelta(hours=2)))
    books.add(
        campaign,
        organisation_id=books.org,
        key="welcome-back",
        version=2,
        checksum="d",
        definition={},
        holdout=0.1,
        started_at=NOON + timedelta(hours=2),
        daily_touches=newer,
    )
    for nth in range(3):
        who = books.person()
        books.sent(who, books.enrol(who), NOON + nth * timedelta(hours=1))

    assert found(books).get("over_daily_share", 0) == broken


def test_each_of_two_records_keeps_to_the_year_by_itself(books: Books) -> None:
    who, gone = books.person(), books.person()
    theirs = books.enrol(gone)
    for nth in range(6):
        books.offer(gone, theirs, cents=1300, incentive=f"thing-{nth}")
    merge(books.conn, gone.id, who.id, NOON + DAY)

    assert found(books) == {"incentives_over_ceiling": 1}


def test_an_orderly_ledger_has_no_findings(books: Books) -> None:
    an_orderly_campaign(books)

    findings = audit(books.conn, NOW)

    assert [each.promise for each in findings] == list(PROMISES)
    assert [each for each in findings if not each.is_kept] == []
    assert breaches(findings) == 0


def test_an_empty_ledger_has_no_findings(ledger: Engine) -> None:
    with store.reading(ledger) as conn:
        assert breaches(audit(conn, NOW)) == 0


@pytest.mark.parametrize(("plant", "promise"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_breach_is_counted_once_and_for_its_promise_only(
    books: Books, plant: Callable[[Books], None], promise: str
) -> None:
    an_orderly_campaign(books)

    plant(books)

    assert found(books) == {promise: 1}


def test_every_promise_has_a_planted_breach() -> None:
    assert {promise for _, promise in PLANTED} == set(PROMISES)


def test_a_call_right_behind_an_opt_out_its_claim_could_not_see_is_no_breach(books: Books) -> None:
    who = books.person()
    books.stop(NOON, patient_id=who.id)
    books.sent(who, books.enrol(who), NOON + SECOND / 2, claimed_at=NOON - SECOND / 2)

    assert found(books) == {}


def test_a_call_between_two_stops_of_one_opt_out_is_a_breach(books: Books) -> None:
    who = books.person()
    books.stop(NOON - DAY, contact_point_id=who.phone)
    books.stop(NOON + DAY, in_force=False, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))

    assert found(books) == {"sent_after_opt_out": 1}


def test_a_call_after_a_reply_that_stopped_and_never_entered_the_history_is_a_breach(books: Books) -> None:
    who = books.person()
    books.stop(NOON - 3 * DAY, lifted_at=NOON - 2 * DAY, contact_point_id=who.phone)
    books.reply(who, "opt_out", at=NOON - DAY)
    books.sent(who, books.enrol(who))

    assert found(books) == {"sent_after_opt_out": 1, "suppression_disagrees": 1}


def test_a_stop_told_after_the_start_that_followed_it_holds_nobody_back(books: Books) -> None:
    who = books.person()
    books.choice("restored", NOON - DAY, contact_point_id=who.phone)
    books.stop(NOON - 2 * DAY, in_force=False, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))

    assert found(books) == {}


def test_a_call_after_start_lifted_the_stop_is_no_breach(books: Books) -> None:
    who = books.person()
    books.stop(NOON - 2 * DAY, lifted_at=NOON - DAY, contact_point_id=who.phone)
    books.sent(who, books.enrol(who))

    assert found(books) == {}


def test_a_finding_samples_rows_by_id_and_says_what_was_promised(books: Books) -> None:
    who = books.person()
    books.stop(NOON - 99 * DAY, patient_id=who.id)
    number = books.enrol(who)
    sent = [books.sent(who, number, NOON + 7 * n * DAY) for n in range(12)]

    finding: Finding = next(each for each in audit(books.conn, NOW) if each.promise == "sent_after_opt_out")

    assert finding.count == 12
    assert finding.samples == tuple(f"attempt {id_}: called after an opt-out" for id_ in sent[:10])
    assert "opt-out" in finding.explanation


def test_an_attempt_that_was_released_or_never_called_counts_for_nothing(books: Books) -> None:
    who = books.person()
    number = books.enrol(who)
    touch_id = books.touch(who, number)
    books.attempt(who, touch_id, datetime(2031, 3, 4, 9, tzinfo=UTC), state="released", called_at=None)
    books.sent(who, number)

    assert found(books) == {}


def test_an_attempt_without_a_known_call_counts_from_its_claim(books: Books) -> None:
    who = books.person()
    touch_id = books.touch(who, books.enrol(who), state="uncertain", ended_at=NOON)
    books.attempt(who, touch_id, datetime(2031, 3, 4, 9, tzinfo=UTC), state="uncertain", called_at=None)

    assert found(books) == {"outside_hours": 1}


def declared(tmp_path: Path, text: str) -> Declared:
    return rules_from(tmp_path, f"override:\n{text}").declared


@pytest.mark.parametrize(
    ("at", "states", "breaches"),
    [
        # in New York: Wednesday 18:30, Sunday 13:00, Wednesday 9:30, Saturday 17:30
        (datetime(2031, 3, 5, 23, 30, tzinfo=UTC), None, 0),
        (datetime(2031, 3, 5, 23, 30, tzinfo=UTC), "RI", 1),
        (datetime(2031, 3, 2, 18, tzinfo=UTC), "CO,FL", 0),
        (datetime(2031, 3, 2, 18, tzinfo=UTC), "CO,AL", 1),
        (datetime(2031, 3, 2, 18, tzinfo=UTC), "LA", 1),
        (datetime(2031, 3, 2, 18, tzinfo=UTC), "MS", 1),
        (datetime(2031, 3, 5, 14, 30, tzinfo=UTC), "TX", 0),
        (datetime(2031, 3, 5, 14, 30, tzinfo=UTC), "KY", 1),
        (datetime(2031, 3, 1, 22, 30, tzinfo=UTC), "RI", 1),
        # noon of Independence Day, of the Monday Juneteenth of 2033 is observed on, and of no holiday
        (datetime(2031, 7, 4, 16, tzinfo=UTC), None, 1),
        (datetime(2033, 6, 20, 16, tzinfo=UTC), None, 1),
        (datetime(2031, 6, 20, 16, tzinfo=UTC), None, 0),
    ],
)
def test_a_call_is_judged_by_the_hours_of_its_states_and_by_the_holidays(
    books: Books, at: datetime, states: str | None, breaches: int
) -> None:
    who = books.person()
    books.sent(who, books.enrol(who), at, states=states)

    assert found(books).get("outside_hours", 0) == breaches


def test_what_an_organisation_widened_is_no_breach_and_what_it_narrowed_breaks_nothing_sent_before(
    books: Books, tmp_path: Path
) -> None:
    early, holiday, late = books.person(), books.person(), books.person()
    # Tuesday at 8:30, Independence Day at noon, Tuesday at 19:30
    books.sent(early, books.enrol(early), datetime(2031, 3, 4, 13, 30, tzinfo=UTC))
    books.sent(holiday, books.enrol(holiday), datetime(2031, 7, 4, 16, tzinfo=UTC))
    books.sent(late, books.enrol(late), datetime(2031, 3, 5, 0, 30, tzinfo=UTC))
    own = declared(
        tmp_path,
        """
  - {row: hours.default, limit: {week: {mon-sun: 08:00-18:00}}}
  - {row: hours.holidays, limit: {quiet_days: {}}}
""",
    )

    counts = [
        {each.promise: each.count for each in audit(books.conn, NOW, told)}["outside_hours"] for told in ({}, own)
    ]

    assert counts == [2, 0]


def test_a_cap_an_organisation_raised_is_judged_by_its_own_figure(books: Books, tmp_path: Path) -> None:
    who = books.person()
    enrolment_id = books.enrol(who)
    for hours in (0, 1, 2):
        books.sent(who, enrolment_id, NOON + timedelta(hours=hours))
    by = "acknowledged_by: Jo Doe, acknowledged_on: 2030-10-01, reason: consent"
    own = declared(
        tmp_path,
        f"""
  - {{row: caps.person.day, {by}, limit: {{at_most: 2, hours: 24}}}}
  - {{row: caps.contact.day, {by}, limit: {{at_most: 2, hours: 24}}}}
""",
    )

    counts = [{each.promise: each.count for each in audit(books.conn, NOW, told)}["over_cap"] for told in ({}, own)]

    assert counts == [4, 2]


def test_a_states_cap_is_judged_where_an_organisation_may_write_more_often(books: Books, tmp_path: Path) -> None:
    bound, free = books.person(), books.person()
    for who, states in ((bound, "CO,FL"), (free, "CO")):
        enrolment_id = books.enrol(who)
        for hours in (0, 1, 2, 3):
            books.sent(who, enrolment_id, NOON + timedelta(hours=hours), states=states)
    by = "acknowledged_by: Jo Doe, acknowledged_on: 2030-10-01, reason: consent"
    rows = [
        f"  - {{row: {each}, {by}, limit: {{at_most: 9, hours: 24}}}}\n"
        for each in (*audit_terms.CAPS, *audit_terms.HOUSEHOLD_CAPS)
    ]
    own = declared(tmp_path, "".join(rows))

    (finding,) = (each for each in audit(books.conn, NOW, own) if each.promise == "over_cap")

    assert finding.count == 2
    assert {sample.partition(": ")[2] for sample in finding.samples} == {
        "more than 3 to one patient in 24 h in FL",
        "more than 3 to one contact point in 24 h in FL",
    }


def family(books: Books, size: int, since: datetime | None = None, **of_link: datetime) -> list[Person]:
    """People with phones of their own who share one more."""
    shared = books.phone()
    people = [books.person() for _ in range(size)]
    for each in people:
        books.add(patient_contact, patient_id=each.id, contact_point_id=shared, since=since, **of_link)
    return people


def called_at_once(books: Books, people: Sequence[Person], at: datetime = NOON) -> list[int]:
    return [books.sent(each, books.enrol(each), at + n * timedelta(minutes=1)) for n, each in enumerate(people)]


def household_samples(books: Books, told: Declared | None = None) -> list[str]:
    (finding,) = (each for each in audit(books.conn, NOW, told) if each.promise == "over_cap")
    return list(finding.samples)


def test_the_third_call_of_a_day_to_a_family_is_a_breach_and_so_is_the_sixth_of_a_week(books: Books) -> None:
    called_at_once(books, family(books, 2))
    third = called_at_once(books, family(books, 3))[2]
    many = family(books, 6)
    sixth = [books.sent(each, books.enrol(each), NOON + n // 2 * DAY) for n, each in enumerate(many)][5]

    assert household_samples(books) == [
        f"attempt {third}: more than 2 to one household in 24 h",
        f"attempt {sixth}: more than 5 to one household in 168 h",
    ]


def test_those_whom_a_third_joins_are_of_one_family_to_the_audit(books: Books) -> None:
    one, joins = family(books, 2)
    other = books.person()
    books.add(patient_contact, patient_id=joins.id, contact_point_id=other.phone)

    assert len(called_at_once(books, [one, other, joins])) == 3
    assert len(household_samples(books)) == 1


@pytest.mark.parametrize(
    ("size", "of_link"),
    [
        # the link is younger than the calls, has ended, or makes a crowd
        (3, {"since": NOON + timedelta(minutes=1)}),
        (3, {"detached_at": NOON + DAY}),
        (9, {}),
    ],
)
def test_what_no_claim_could_take_for_a_family_is_none_to_the_audit(
    books: Books, size: int, of_link: dict[str, datetime]
) -> None:
    called_at_once(books, family(books, size, **of_link))

    assert found(books) == {}


def test_a_patient_who_is_reached_at_a_confidential_number_only_is_no_relative(books: Books) -> None:
    people = family(books, 3)
    books.conn.execute(
        update(patient_contact)
        .where(patient_contact.c.contact_point_id == people[2].phone)
        .values(confidential_since=NOON - DAY)
    )
    called_at_once(books, people)

    assert found(books) == {}


def test_a_ceiling_of_households_an_organisation_raised_is_judged_by_its_own_figure(
    books: Books, tmp_path: Path
) -> None:
    called_at_once(books, family(books, 4))
    raised = declared(tmp_path, "  - {row: caps.household.day, limit: {at_most: 3, hours: 24}}\n")

    assert len(household_samples(books)) == 2
    assert [each.partition(": ")[2] for each in household_samples(books, raised)] == [
        "more than 3 to one household in 24 h"
    ]


def test_the_figures_of_the_audit_are_those_of_the_tables() -> None:
    """Written down twice on purpose: this says which of them somebody changed alone."""
    rows = {row.id: row.limit for row in STANDARD.rows()}
    weeks = {row_id: limit.windows for row_id, limit in rows.items() if isinstance(limit, Week)}
    law = weeks["hours.us"]

    differing = [row_id for row_id, windows in weeks.items() if audit_terms._HOURS.get(row_id, law) != windows]

    assert differing == []
    caps = {
        **audit_terms.CAPS,
        **audit_terms.HOUSEHOLD_CAPS,
        **{rule: term for rule, (term, _) in audit_terms.STATE_CAPS.items()},
    }
    assert {row_id: AtMost(term.back, term.window) for row_id, term in caps.items()} == {
        row_id: limit for row_id, limit in rows.items() if isinstance(limit, AtMost)
    }


def test_the_conservation_gap_counts_enrolments_only(books: Books) -> None:
    a_live_enrolment_with_nothing_ahead(books)
    a_reply_in_no_known_state(books)

    assert conservation_gap(books.conn) == 1


def test_the_audit_shares_no_rule_with_the_code_it_judges() -> None:
    judged = {
        "claim_texts",
        "releases",
        "guard",
        "caps",
        "households",
        "quiet_hours",
        "quiet_days",
        "rulebook",
        "templates",
        "cadence",
        "claims",
        "finishes",
    }
    imported = {
        part
        for module in (
            audit_attempts,
            audit_calls,
            audit_households,
            audit_stops,
            audit_sends,
            audit_texts,
            audit_books,
            audit_terms,
        )
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for part in (node.module.rpartition(".")[2], *(alias.name for alias in node.names))
    }

    assert imported & judged == set()
    assert "findings" in imported
