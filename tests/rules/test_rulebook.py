"""The rulebook: the strictest row counts, an organisation's own limit takes a row's place, and the decider is named."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from rulebooks import STANDARD, rules_from

from domain.ledger.touches import ANSWER_WORTH
from domain.rules import guard
from domain.rules.guard import RULES, Facts, decide
from domain.rules.limits import Amount, AtMost, Holidays, Limit, Week, Words, Years, is_looser
from domain.rules.quiet_days import QuietDays, day_rule
from domain.rules.replies.intent import understand
from domain.rules.vocabulary import Intent, Never, Send, TouchKind, Wait
from domain.rules.window import Window, window_at
from producers.rule_files import read_rules

#: A Wednesday, ten in the morning in Denver.
NOW = datetime(2026, 3, 4, 17, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CHICAGO, NEW_YORK = ("America/Chicago",), ("America/New_York",)

WIDER = """
organisation: lakeside
override:
  - row: hours.default
    limit: {week: {mon-sun: 08:00-21:00}}
  - row: hours.holidays
    limit: {quiet_days: {Christmas Day: 25 December}}
"""
OFTEN = """
organisation: lakeside
override:
  - {row: caps.person.day, acknowledged_by: Jo Doe, acknowledged_on: 2026-10-01, reason: consent,
     limit: {at_most: 9, hours: 24}}
  - {row: caps.contact.day, acknowledged_by: Jo Doe, acknowledged_on: 2026-10-01, reason: consent,
     limit: {at_most: 9, hours: 24}}
  - {row: caps.person.week, acknowledged_by: Jo Doe, acknowledged_on: 2026-10-01, reason: consent,
     limit: {at_most: 9, hours: 336}}
  - {row: caps.contact.week, acknowledged_by: Jo Doe, acknowledged_on: 2026-10-01, reason: consent,
     limit: {at_most: 9, hours: 168}}
"""


def week_of(*states: str) -> str:
    return str(STANDARD.in_force(None, states).week)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), "Mon-Sat 09:00-20:00, Sun 12:00-20:00"),
        (("CO",), "Mon-Sat 09:00-20:00, Sun 12:00-20:00"),
        (("FL",), "Mon-Sat 09:00-20:00, Sun 12:00-20:00"),
        (("TX",), "Mon-Sat 09:00-20:00, Sun 12:00-20:00"),
        (("KY",), "Mon-Sat 10:00-20:00, Sun 12:00-20:00"),
        (("RI",), "Mon-Fri 09:00-18:00, Sat 10:00-17:00, Sun 12:00-17:00"),
        (("AL",), "Mon-Sat 09:00-20:00, Sun none"),
        (("RI", "AL", "KY"), "Mon-Fri 10:00-18:00, Sat 10:00-17:00, Sun none"),
    ],
)
def test_the_strictest_row_of_every_state_concerned_counts(states: tuple[str, ...], expected: str) -> None:
    assert week_of(*states) == expected


def test_a_states_own_hours_bind_an_organisation_that_widens_the_default(tmp_path: Path) -> None:
    rules = rules_from(tmp_path, WIDER)

    assert str(rules.in_force("lakeside", ["CO"]).week) == "Mon-Sun 08:00-21:00"
    assert str(rules.in_force("lakeside", ["FL"]).week) == "Mon-Sun 08:00-20:00"
    assert str(rules.in_force("other", ["FL"]).week) == week_of("FL")


def test_a_file_without_an_organisation_is_for_all_that_have_none(tmp_path: Path) -> None:
    (tmp_path / "lakeside.yaml").write_text(WIDER)
    (tmp_path / "others.yaml").write_text(
        "override:\n  - row: hours.default\n    limit: {week: {mon-fri: 10:00-16:00, sat-sun: none}}\n"
    )

    rules = read_rules(tmp_path)

    assert str(rules.in_force("lakeside").week) == "Mon-Sun 08:00-21:00"
    assert str(rules.in_force("anybody").week) == str(rules.in_force(None).week) == "Mon-Fri 10:00-16:00, Sat-Sun none"


@pytest.mark.parametrize(
    ("at", "states", "rule"),
    [
        # three in the morning: every row is closed, the default opens last
        (datetime(2026, 3, 4, 9, tzinfo=UTC), (), "hours.default"),
        (datetime(2026, 3, 4, 9, tzinfo=UTC), ("FL",), "hours.default"),
        (datetime(2026, 3, 4, 9, tzinfo=UTC), ("KY",), "hours.us-ky"),
        # where the default and the state open at the same minute, the state's row is told
        (datetime(2026, 3, 4, 9, tzinfo=UTC), ("TX",), "hours.us-tx"),
        # Saturday evening in Alabama: the default opens on Sunday, the state on Monday
        (datetime(2026, 3, 8, 3, tzinfo=UTC), ("AL",), "hours.us-al"),
        (datetime(2026, 3, 8, 3, tzinfo=UTC), (), "hours.default"),
        # noon of a holiday, and of the day one is observed on
        (datetime(2026, 12, 25, 18, tzinfo=UTC), ("AL",), "hours.holidays"),
        (datetime(2026, 7, 3, 17, tzinfo=UTC), (), "hours.holidays"),
        (NOW, (), None),
    ],
)
def test_of_the_rows_that_forbid_an_instant_the_one_that_lets_go_last_decides(
    at: datetime, states: tuple[str, ...], rule: str | None
) -> None:
    assert STANDARD.in_force(None, states).deciding(at, CHICAGO) == rule


def test_the_window_tells_what_is_open_until_when_and_else_when_it_opens() -> None:
    rules = STANDARD.in_force(None, ["RI"])
    evening = datetime(2026, 7, 8, 22, 30, tzinfo=UTC)
    opens = datetime(2026, 7, 9, 13, tzinfo=UTC)

    assert window_at(opens, NEW_YORK, rules) == Window(True, opens, opens + 9 * HOUR, "hours.us-ri")
    assert window_at(evening, NEW_YORK, rules) == Window(False, opens, opens + 9 * HOUR, "hours.us-ri")
    assert window_at(NOW, ("America/New_York", "Asia/Shanghai"), rules) == Window(False, None, None, "hours.us-ri")


def facts(organisation: str, *states: str, rules: object = STANDARD, **more: object) -> Facts:
    in_force = rules.in_force(organisation, states)  # type: ignore[attr-defined]  # a Rulebook
    told = Facts(kind=TouchKind.OUTREACH, expires_at=NOW + 30 * DAY, zones=("America/Denver",), rules=in_force)
    return replace(told, **more)  # type: ignore[arg-type]  # fields of Facts


@pytest.mark.parametrize("state", ["FL", "OK", "MD"])
def test_a_states_cap_binds_where_an_organisation_may_write_more_often(tmp_path: Path, state: str) -> None:
    rules = rules_from(tmp_path, OFTEN)
    thrice = tuple(NOW - hours * HOUR for hours in (1, 2, 3))

    for subject, why in (("sent_to_patient", "cap_rule"), ("sent_to_contact", "cap_contact_rule")):
        bound = facts("lakeside", state, rules=rules, **{subject: thrice})
        free = facts("lakeside", "CO", rules=rules, **{subject: thrice})

        # 21 hours on it is seven in the morning: on to nine
        assert decide(bound, NOW) == Wait(NOW + 23 * HOUR, why, f"caps.us-{state.lower()}")
        assert isinstance(decide(free, NOW), Send)


def test_no_cap_looks_further_back_than_the_longest(tmp_path: Path) -> None:
    assert STANDARD.longest_cap == 7 * DAY
    assert rules_from(tmp_path, OFTEN).longest_cap == 14 * DAY


def test_a_wait_on_a_states_sunday_names_the_states_rule() -> None:
    sunday = datetime(2026, 3, 8, 18, tzinfo=UTC)

    decision = decide(facts("o", "AL", zones=CHICAGO), sunday)

    assert decision == Wait(datetime(2026, 3, 9, 14, tzinfo=UTC), "quiet_hours", "hours.us-al")
    assert isinstance(decide(facts("o", zones=CHICAGO), sunday), Send)


def test_every_decision_names_a_row_that_is_there() -> None:
    known = {row.id for row in STANDARD.rows()}
    night = datetime(2026, 3, 4, 9, tzinfo=UTC)
    wishes = [
        {"deceased": True},
        {"merged": True},
        {"live": False},
        {"reachable": False},
        {"suppressed_contact": True},
        {"suppressed_patient": True},
        {"consent_revoked": True},
        {"expires_at": NOW},
        {"channel_paused": True},
        {"appointment_ahead": NOW + DAY},
        {"sent_to_patient": (NOW - HOUR,)},
        {"sent_to_contact": (NOW - HOUR,)},
        {"zones": ()},
        {"zones": ("America/New_York", "Asia/Shanghai")},
        {"kind": TouchKind.ANSWER},
        {},
    ]

    decisions = [decide(facts("o", "FL", **wish), NOW) for wish in wishes] + [decide(facts("o"), night)]

    assert {type(each) for each in decisions} == {Send, Wait, Never}
    assert [each for each in decisions if each.rule not in known] == []
    assert set(RULES.values()) <= known


def test_the_guard_holds_no_figure_of_the_tables() -> None:
    """Hours and caps come from the rows: a number of the guard's own would be a second table."""
    code = ast.parse(inspect.getsource(guard))
    numbers = {node.value for node in ast.walk(code) if isinstance(node, ast.Constant) and type(node.value) is int}

    # minutes of an answer and of a pause, hours of an expiry and of a text held back, the day after an appointment
    assert numbers <= {1, 4, 5, 15}


def words(row_id: str) -> list[str]:
    (limit,) = [row.limit for row in STANDARD.rows() if row.id == row_id]
    assert isinstance(limit, Words)
    return limit.text.split(", ")


@pytest.mark.parametrize("row_id", ["opting_out.words", "opting_out.carriers", "opting_out.spanish"])
def test_the_words_of_the_table_are_understood_as_opting_out(row_id: str) -> None:
    understood = {word: understand(word).intent for word in words(row_id)}

    assert set(understood.values()) == {Intent.OPT_OUT}, understood
    assert len(understood) >= 5


def test_answers_are_worth_as_long_as_the_table_says() -> None:
    assert "5 minutes" in ", ".join(words("hours.answers"))
    assert timedelta(minutes=5) == ANSWER_WORTH
    assert decide(facts("o", kind=TouchKind.ANSWER), NOW) == Send(NOW + ANSWER_WORTH, "hours.answers")


NINE_TO_FIVE = Week({day: (time(9), time(17)) for day in range(5)})
CHRISTMAS, EASTER = ("Christmas", day_rule("25 December")), ("Easter", day_rule("2026-04-05"))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (NINE_TO_FIVE, NINE_TO_FIVE, False),
        (Week({0: (time(10), time(16))}), NINE_TO_FIVE, False),
        (Week({0: (time(8, 59), time(17))}), NINE_TO_FIVE, True),
        (Week({0: (time(9), time(17, 1))}), NINE_TO_FIVE, True),
        (Week({5: (time(12), time(13))}), NINE_TO_FIVE, True),
        (Week({}), NINE_TO_FIVE, False),
        (AtMost(1, DAY), AtMost(1, DAY), False),
        (AtMost(0, DAY), AtMost(1, DAY), False),
        (AtMost(1, 2 * DAY), AtMost(1, DAY), False),
        (AtMost(2, DAY), AtMost(1, DAY), True),
        (AtMost(1, DAY - HOUR), AtMost(1, DAY), True),
        (Holidays(QuietDays((CHRISTMAS, EASTER))), Holidays(QuietDays((CHRISTMAS,))), False),
        (Holidays(QuietDays((EASTER,))), Holidays(QuietDays((CHRISTMAS,))), True),
        (Holidays(QuietDays((CHRISTMAS,))), Holidays(QuietDays((CHRISTMAS,), observed=True)), True),
        (Amount(16), Amount(15), True),
        (Amount(15), Amount(15), False),
        (Years(5), Years(6), True),
        (Years(7), Years(6), False),
        (Words("never"), Words("never"), False),
        (AtMost(1, DAY), Words("never"), True),
    ],
)
def test_a_limit_is_laxer_if_it_allows_anything_the_other_does_not(one: Limit, other: Limit, expected: bool) -> None:
    assert is_looser(one, other) is expected
