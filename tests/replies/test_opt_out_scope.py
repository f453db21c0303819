"""The scope of an opt-out: everything, unless the organisation's rules say otherwise and the words are agreed ones."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from household import NOW, PHONE, STRANGER, Household, StoppedClock, add, meet, plan_touch, row, rows, send
from rulebooks import STANDARD, rules_from
from sqlalchemy import Connection, Engine, select

from domain.ledger import choices, claim_recheck, claims, explain, patient_choices, patients, replies
from domain.ledger.audit import audit
from domain.ledger.choice_history import OPTED_OUT, Note, choice_event, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.inbound import reply
from domain.ledger.merging import merge
from domain.ledger.outbox import outbox
from domain.ledger.patients import patient_contact
from domain.ledger.reach import reachable_channels
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.guard import ASKING_FOR_SCOPE, CONFIRMATION, LIMITED_CONFIRMATION
from domain.rules.limits import Covers
from domain.rules.replies.grammar import grammar
from domain.rules.replies.intent import AGREED_STOPS, STOP_TEXTS
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Intent

SYSTEMS = {"sms": "phone", "email": "email"}
HOUR = timedelta(hours=1)
MAIL_GOES_ON = "row: opting_out.scope\n    limit: {scope: calls_and_texts}"
ACKNOWLEDGED = """
    acknowledged_by: Jo Doe, General Counsel
    acknowledged_on: 2026-01-05
    reason: patients ask for it"""


@pytest.fixture
def rules(tmp_path: Path) -> Rulebook:
    """A STOP by text ends calls and texts; mail goes on."""
    return rules_from(tmp_path, f"override:\n  - {MAIL_GOES_ON}{ACKNOWLEDGED}\n")


@pytest.fixture
def asking(tmp_path: Path) -> Rulebook:
    """A STOP ends everything, and the confirmation asks."""
    return rules_from(tmp_path, "override:\n  - row: opting_out.scope\n    limit: {scope: ask}\n")


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


def write(ledger: Engine, vault: Vault, text: str, rules: Rulebook | None, at: datetime = NOW) -> str | None:
    """The household's phone writes something at `at`; the answer it gets."""
    with ledger.begin() as conn:
        taken = replies.take(
            conn,
            vault,
            channel="sms",
            system="phone",
            provider_id=f"SM{len(rows(ledger, reply)) + 1}",
            sender=PHONE,
            text=text,
            now=at,
            rules=rules,
        )
    if taken.answer_id is None and taken.intent is None:
        with ledger.begin() as conn:
            replies.read(conn, vault, [taken.reply_id or 0], at)
    return None if taken.answer_id is None else str(row(ledger, touch, taken.answer_id)["answer"])


def in_force(ledger: Engine) -> set[tuple[int | None, int | None, str | None]]:
    stopped = rows(ledger, suppression, lifted_at=None)
    return {(each["contact_point_id"], each["patient_id"], each["channel"]) for each in stopped}


def everything(household: Household) -> set[tuple[int | None, int | None, str | None]]:
    return {(household.phone, None, None), (None, household.jane, None), (None, household.john, None)}


def calls_and_texts(household: Household) -> set[tuple[int | None, int | None, str | None]]:
    return {(household.phone, None, None), (None, household.jane, "phone"), (None, household.john, "phone")}


def breaches(ledger: Engine, rules: Rulebook, now: datetime = NOW + 9 * HOUR) -> dict[str, int]:
    with ledger.connect() as conn:
        return {each.promise: each.count for each in audit(conn, now, rules.declared) if each.count}


def confirm(ledger: Engine, household: Household, at: datetime) -> None:
    """The confirmation that is planned goes out."""
    (answer,) = rows(ledger, touch, kind="answer", state="planned")
    with ledger.begin() as conn:
        claimed = claims.claim(
            conn, [answer["id"]], channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=at
        )
    assert [each.contact_point_id for each in claimed.claimed] == [household.phone]


@pytest.mark.parametrize("told", [None, STANDARD])
@pytest.mark.parametrize("text", ["STOP", "STOP TEXTS", "please stop texting me"])
def test_without_a_rule_of_its_own_every_opt_out_of_an_organisation_is_one_from_everything(
    ledger: Engine, vault: Vault, household: Household, told: Rulebook | None, text: str
) -> None:
    write(ledger, vault, text, told)

    assert in_force(ledger) == everything(household)
    assert {each["channel"] for each in rows(ledger, choice_event)} == {None}
    assert breaches(ledger, STANDARD) == {}


def test_where_mail_may_go_on_a_stop_ends_calls_and_texts_at_every_number_and_says_so(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook
) -> None:
    with ledger.begin() as conn:
        other = meet(conn, vault, household.organisation, "phone", STRANGER)
        add(conn, patient_contact, patient_id=household.jane, contact_point_id=other, rank=0)
        mail = plan_touch(
            conn,
            organisation_id=household.organisation,
            patient_id=household.jane,
            site_id=household.site,
            enrolment_id=household.enrolments[0],
            channel="email",
        )

    assert write(ledger, vault, "Stop!", rules) == LIMITED_CONFIRMATION

    assert in_force(ledger) == calls_and_texts(household)
    with ledger.begin() as conn:
        texts = claims.claim(
            conn, household.touches, channel="sms", system="phone", systems=SYSTEMS, rules=rules, now=NOW
        )
        mails = claims.claim(conn, [mail], channel="email", system="email", systems=SYSTEMS, rules=rules, now=NOW)
        assert reachable_channels(conn, [household.jane, household.john], SYSTEMS) == {household.jane: ["email"]}
    assert texts.nevers == [(household.touches[0], "suppressed_patient")]
    assert texts.rules == {household.touches[0]: "opting_out.scope"}
    assert [each.touch_id for each in mails.claimed] == [mail]
    assert breaches(ledger, rules) == {}


def test_whom_only_texts_reached_opts_out_for_good_and_others_are_told_how_far(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook
) -> None:
    write(ledger, vault, "STOP", rules)

    assert [each["state"] for each in rows(ledger, enrolment)] == ["waiting", "opted_out"]
    told = [each["data"] for each in rows(ledger, outbox, type="patient.opted_out")]
    assert [(each["patient"], each["medium"]) for each in told] == [("PTEST0", "phone"), ("PTEST1", "phone")]


def test_a_text_claimed_before_a_limited_stop_is_stopped_on_every_number_and_mail_is_not(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook
) -> None:
    with ledger.begin() as conn:
        claim = claims.claim(
            conn, household.touches, channel="sms", system="phone", systems=SYSTEMS, rules=rules, now=NOW
        )
    write(ledger, vault, "STOP", rules)

    with ledger.connect() as conn:
        stopped = claim_recheck.still_suppressed(conn, claim.claimed)
    assert stopped == {each.touch_id for each in claim.claimed}
    assert stopped


@pytest.mark.parametrize(
    "text", ["STOP ALL", "unsubscribe all", "cancelar todo", "stop please", "never contact me again", "REMOVE"]
)
def test_whoever_says_more_than_the_bare_word_ends_everything_where_mail_may_go_on(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook, text: str
) -> None:
    write(ledger, vault, text, rules)

    assert in_force(ledger) == everything(household)


def test_stop_all_widens_a_limited_stop_and_start_ends_both(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook
) -> None:
    write(ledger, vault, "STOP", rules)
    assert write(ledger, vault, "STOP ALL", rules, NOW + HOUR) is None
    assert in_force(ledger) == everything(household) | calls_and_texts(household)

    write(ledger, vault, "START", rules, NOW + 2 * HOUR)

    assert in_force(ledger) == set()
    assert breaches(ledger, rules) == {}


def test_a_yes_ends_no_limited_stop(ledger: Engine, vault: Vault, household: Household, rules: Rulebook) -> None:
    write(ledger, vault, "STOP", rules)

    write(ledger, vault, "YES", rules, NOW + HOUR)

    assert in_force(ledger) == calls_and_texts(household)


def test_a_merge_carries_a_limited_stop_over_as_it_is(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook
) -> None:
    with ledger.begin() as conn:
        survivor = add(
            conn,
            patients.patient,
            organisation_id=household.organisation,
            ref="PTEST9",
            home_site_id=household.site,
            language="en",
        )
    write(ledger, vault, "STOP", rules)
    with ledger.begin() as conn:
        patients.lock(conn, [household.jane, survivor])
        merge(conn, household.jane, survivor, NOW + HOUR)

    assert (None, survivor, "phone") in in_force(ledger)
    assert breaches(ledger, rules) == {}


def test_staff_stop_everything_for_whom_texts_alone_were_stopped_and_take_both_back(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook
) -> None:
    write(ledger, vault, "STOP", rules)
    note = Note("Maya", b"sealed")

    with ledger.begin() as conn:
        assert patient_choices.stop(conn, household.john, OPTED_OUT, note, NOW + HOUR, NOW + HOUR)
    assert (None, household.john, None) in in_force(ledger)

    write(ledger, vault, "START", rules, NOW + 2 * HOUR)
    with ledger.begin() as conn:
        assert patient_choices.go_on(conn, household.john, OPTED_OUT, note, NOW + 3 * HOUR, NOW + 3 * HOUR)
    assert in_force(ledger) == set()
    assert breaches(ledger, rules) == {}


def test_explain_says_that_calls_and_texts_were_ended(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook
) -> None:
    write(ledger, vault, "STOP", rules)

    with ledger.connect() as conn:
        told = "\n".join(explain.explain(conn, "PTEST0", NOW).lines())

    assert "suppressed: the patient, calls and texts (opt_out)" in told
    assert "patient: opted out of calls and texts (told by reply 1, rule optout.en.stop)" in told


@pytest.mark.parametrize("source", ["reply", "staff"])
def test_the_audit_lets_mail_follow_a_limited_stop_only_by_a_declared_rule_and_an_agreed_word_of_the_patient(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook, source: str
) -> None:
    if source == "reply":
        write(ledger, vault, "STOP", rules)
    else:
        with ledger.begin() as conn:
            common = {"organisation_id": household.organisation, "contact_point_id": household.phone}
            choices.opt_out(conn, **common, source="staff", at=NOW, now=NOW, is_limited=True)
    with ledger.begin() as conn:
        send(
            conn,
            household,
            channel="email",
            contact_point_id=household.email,
            claimed_at=NOW + HOUR,
            zones="America/Denver",
        )

    assert breaches(ledger, STANDARD).get("sent_after_opt_out") == 1
    assert breaches(ledger, rules).get("sent_after_opt_out") == (None if source == "reply" else 1)


def test_the_audit_counts_a_text_to_another_number_after_a_limited_stop(
    ledger: Engine, vault: Vault, household: Household, rules: Rulebook
) -> None:
    write(ledger, vault, "STOP", rules)
    with ledger.begin() as conn:
        other = meet(conn, vault, household.organisation, "phone", STRANGER)
        send(conn, household, contact_point_id=other, claimed_at=NOW + HOUR, zones="America/Denver")

    assert breaches(ledger, rules).get("sent_after_opt_out") == 1


def test_who_is_asked_and_does_not_answer_has_ended_everything(
    ledger: Engine, vault: Vault, household: Household, asking: Rulebook
) -> None:
    assert write(ledger, vault, "STOP", asking) == ASKING_FOR_SCOPE

    assert in_force(ledger) == everything(household)
    assert breaches(ledger, asking) == {}


def test_who_is_asked_and_answers_texts_alone_gets_mail_and_no_second_confirmation(
    ledger: Engine, vault: Vault, household: Household, asking: Rulebook
) -> None:
    write(ledger, vault, "STOP", asking)
    confirm(ledger, household, NOW)

    assert write(ledger, vault, "stop texts", asking, NOW + HOUR) is None

    assert in_force(ledger) == calls_and_texts(household)
    with ledger.connect() as conn:
        assert reachable_channels(conn, [household.jane, household.john], SYSTEMS) == {household.jane: ["email"]}
    assert breaches(ledger, asking) == {}


@pytest.mark.parametrize("answer", ["STOP ALL", "texts only", "what?", "STOP", "ok", "YES"])
def test_any_other_answer_leaves_everything_ended(
    ledger: Engine, vault: Vault, household: Household, asking: Rulebook, answer: str
) -> None:
    write(ledger, vault, "STOP", asking)
    confirm(ledger, household, NOW)

    write(ledger, vault, answer, asking, NOW + HOUR)

    assert in_force(ledger) == everything(household)


def test_an_answer_that_comes_too_late_or_to_no_question_leaves_everything_ended(
    ledger: Engine, vault: Vault, household: Household, asking: Rulebook
) -> None:
    write(ledger, vault, "STOP", asking)
    write(ledger, vault, "STOP TEXTS", asking, NOW + HOUR / 2)
    assert in_force(ledger) == everything(household)
    confirm(ledger, household, NOW)

    write(ledger, vault, "STOP TEXTS", asking, NOW + timedelta(days=1, seconds=1))

    assert in_force(ledger) == everything(household)


def test_an_answer_takes_back_nothing_that_was_said_before_the_question(
    ledger: Engine, vault: Vault, household: Household, asking: Rulebook
) -> None:
    with ledger.begin() as conn:
        note = Note("Maya", b"sealed")
        patient_choices.stop(conn, household.jane, OPTED_OUT, note, NOW - HOUR, NOW - HOUR)
    write(ledger, vault, "STOP", asking)
    confirm(ledger, household, NOW)

    write(ledger, vault, "STOP TEXTS", asking, NOW + HOUR)

    assert in_force(ledger) == everything(household)


def test_the_plain_confirmation_asks_nobody(ledger: Engine, vault: Vault, household: Household) -> None:
    assert write(ledger, vault, "STOP", STANDARD) == CONFIRMATION


def test_an_organisation_without_the_rule_is_not_touched_by_anothers(tmp_path: Path) -> None:
    found = rules_from(tmp_path, f"organisation: hillside\noverride:\n  - {MAIL_GOES_ON}{ACKNOWLEDGED}\n")

    assert found.opting_out("hillside") is Covers.CALLS_AND_TEXTS
    assert found.opting_out("lakeside") is Covers.EVERYTHING
    assert [(key, each.id) for key, each in found.loosened()] == [("hillside", "opting_out.scope")]


def test_no_agreed_word_that_may_be_limited_says_everything() -> None:
    by_id = {rule.id: rule for rule in grammar().rules}

    assert set(by_id) >= {*AGREED_STOPS, STOP_TEXTS}
    assert {by_id[each].intent for each in (*AGREED_STOPS, STOP_TEXTS)} == {Intent.OPT_OUT}


def test_limited_stops_and_others_end_the_same_in_whatever_order_they_are_told(
    ledger: Engine, household: Household
) -> None:
    seed = 20260306
    draws = random.Random(seed)  # noqa: S311 - a fixed sequence of cases
    owners = {household.phone: (household.jane, household.john), household.email: (household.jane,)}
    words = [("STOP", point) for point in owners] + [("START", point) for point in owners]
    words.append(("LIMITED", household.phone))
    for case in range(250):
        made = [(*draws.choice(words), hour) for hour in range(draws.randint(2, 6))]
        told = draws.sample(made, len(made))
        with ledger.connect() as conn:
            for position, (word, point, hour) in enumerate(told):
                _choose(conn, household, word, point, hour, position)

            assert _stopped(conn) == _expected(owners, household, made), (seed, case, told)
            conn.rollback()


def _choose(conn: Connection, household: Household, word: str, point: int, hour: int, position: int) -> None:
    said = {"organisation_id": household.organisation, "contact_point_id": point, "source": "reply"}
    when = {"at": NOW + hour * HOUR, "now": NOW + 9 * HOUR + timedelta(minutes=position)}
    if word == "START":
        choices.opt_in(conn, **said, **when)
    else:
        choices.opt_out(conn, **said, **when, is_limited=word == "LIMITED")


def _expected(
    owners: dict[int, tuple[int, ...]], household: Household, made: list[tuple[str, int, int]]
) -> set[tuple[int | None, int | None, str | None]]:
    """Of each reach, whoever said it last at some contact point of theirs without a later START there."""
    standing: set[tuple[int, str | None]] = set()
    for word, point, _ in made:
        if word == "START":
            standing = {each for each in standing if each[0] != point}
        else:
            standing.add((point, "phone" if word == "LIMITED" else None))
    stopped: set[tuple[int | None, int | None, str | None]] = {(point, None, None) for point, _ in standing}
    return stopped | {(None, who, reach) for point, reach in standing for who in owners[point]}


def _stopped(conn: Connection) -> set[tuple[int | None, int | None, str | None]]:
    rows_ = conn.execute(
        select(suppression.c.contact_point_id, suppression.c.patient_id, suppression.c.channel).where(
            suppression.c.lifted_at.is_(None)
        )
    )
    return {(each[0], each[1], each[2]) for each in rows_}
