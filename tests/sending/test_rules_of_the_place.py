"""Which rules bind a send: those of the patient's state, of everybody behind the number, and of the organisation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from household import StoppedClock, rows
from practice import SYSTEMS, Desk, Person, Practice, Provider
from rulebooks import STANDARD, rules_from
from sqlalchemy import Engine, update

from domain.ledger import claims
from domain.ledger.attempts import attempt
from domain.ledger.explain import explain
from domain.ledger.organisations import site
from domain.ledger.patients import patient, patient_contact
from domain.ledger.store import reading
from domain.ledger.touches import touch, touch_event
from domain.rules.rulebook import Rulebook

#: A Sunday, one in the afternoon in Denver; Alabama, of all places, allows nobody to be contacted.
SUNDAY = datetime(2026, 3, 8, 19, tzinfo=UTC)
#: Nine in the morning of the Monday after it, in Denver.
MONDAY = datetime(2026, 3, 9, 15, tzinfo=UTC)


def stay(ledger: Engine, *people: Person) -> None:
    """Let their touches last into the week after."""
    with ledger.begin() as conn:
        conn.execute(
            update(touch)
            .where(touch.c.id.in_([each.touch for each in people]))
            .values(expires_at=SUNDAY + timedelta(days=9))
        )


def told(ledger: Engine, who: Person) -> list[tuple[str, str | None, str | None]]:
    return [(row["what"], row["reason"], row["rule"]) for row in rows(ledger, touch_event, touch_id=who.touch)]


def claim(ledger: Engine, rules: Rulebook, *people: Person, now: datetime = SUNDAY) -> claims.Claim:
    with ledger.begin() as conn:
        return claims.claim(
            conn,
            [each.touch for each in people],
            channel="sms",
            system="phone",
            systems=SYSTEMS,
            rules=rules,
            now=now,
        )


def test_the_state_of_the_address_binds_and_the_history_names_its_rule(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    bound, free = practice.person(state="AL"), practice.person()
    stay(ledger, bound, free)
    clock.at = SUNDAY

    desk.worker(provider).send([bound.touch, free.touch])

    assert provider.called == {free.number: 1}
    assert told(ledger, bound) == [("waited", "quiet_hours", "hours.us-al")]
    (waits,) = rows(ledger, touch, id=bound.touch)
    assert waits["due_at"] == MONDAY


def test_explain_says_by_which_rule_a_touch_waited(ledger: Engine, practice: Practice) -> None:
    who = practice.person(state="AL")
    stay(ledger, who)

    claim(ledger, STANDARD, who)

    with reading(ledger) as conn:
        lines = "\n".join(explain(conn, "P0001", SUNDAY).lines())
    assert "in which this person may be contacted (rule hours.us-al) (next try 2026-03-09 Mon 09:00)" in lines


def test_the_sites_state_binds_only_where_no_address_is_known(ledger: Engine, practice: Practice) -> None:
    unknown, elsewhere = practice.person(), practice.person(state="CO")
    stay(ledger, unknown, elsewhere)
    with ledger.begin() as conn:
        conn.execute(update(site).values(state="AL"))

    found = claim(ledger, STANDARD, unknown, elsewhere)

    assert [each.touch_id for each in found.claimed] == [elsewhere.touch]
    assert [(id_, wait.rule) for id_, wait in found.waits] == [(unknown.touch, "hours.us-al")]


def test_the_state_of_whoever_shares_the_number_binds_too(ledger: Engine, practice: Practice) -> None:
    who = practice.person(state="CO")
    housemate = practice.person(number=who.number, state="MS")
    stay(ledger, who, housemate)

    found = claim(ledger, STANDARD, who)

    assert [(id_, wait.until, wait.rule) for id_, wait in found.waits] == [(who.touch, MONDAY, "hours.us-ms")]


def test_a_number_the_patient_no_longer_has_is_still_judged_by_their_state(ledger: Engine, practice: Practice) -> None:
    who = practice.person(state="LA")
    with ledger.begin() as conn:
        conn.execute(update(patient_contact).values(detached_at=SUNDAY))
        conn.execute(update(touch).values(contact_point_id=who.phone))
    stay(ledger, who)

    found = claim(ledger, STANDARD, who)

    assert [(wait.until, wait.rule) for _, wait in found.waits] == [(MONDAY, "hours.us-la")]


def test_the_states_judged_are_kept_with_the_attempt_for_the_audit(ledger: Engine, practice: Practice) -> None:
    who = practice.person(state="NV")
    practice.person(number=who.number, state="CA")

    claim(ledger, STANDARD, who, now=SUNDAY - timedelta(days=4))
    with ledger.begin() as conn:
        conn.execute(update(patient).values(state="AL"))

    assert [row["states"] for row in rows(ledger, attempt)] == ["CA,NV"]


def test_an_organisations_own_hours_bind_its_own_sends_alone(
    ledger: Engine, practice: Practice, tmp_path: Path
) -> None:
    who = practice.person()
    stay(ledger, who)
    text = (
        "organisation: {}\noverride:\n  - row: hours.default\n    limit: {{week: {{mon-sat: 10:00-16:00, sun: none}}}}"
    )

    other = rules_from(tmp_path, text.format("elsewhere")).in_force("o").week
    found = claim(ledger, rules_from(tmp_path, text.format("o")), who)

    assert str(other) == str(STANDARD.in_force("o").week)
    assert [(wait.until, wait.rule) for _, wait in found.waits] == [(MONDAY + timedelta(hours=1), "hours.default")]
    assert claim(ledger, STANDARD, who, now=MONDAY + timedelta(hours=1)).claimed != []


def test_nobody_is_contacted_on_a_holiday(ledger: Engine, practice: Practice) -> None:
    who = practice.person()
    stay(ledger, who)
    with ledger.begin() as conn:
        conn.execute(update(touch).values(expires_at=datetime(2026, 7, 20, tzinfo=UTC)))

    # Independence Day of 2026 is a Saturday, observed on Friday
    found = claim(ledger, STANDARD, who, now=datetime(2026, 7, 3, 18, tzinfo=UTC))

    sunday_noon = datetime(2026, 7, 5, 18, tzinfo=UTC)
    assert [(wait.until, wait.rule) for _, wait in found.waits] == [(sunday_noon, "hours.holidays")]


def test_the_provider_is_told_the_end_of_the_states_window(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    # Wednesday, noon in Denver; Rhode Island closes at 18
    who = practice.person(state="RI")
    clock.at = datetime(2026, 3, 4, 19, tzinfo=UTC)

    desk.worker(provider).send([who.touch])

    assert [call.valid_until for call in provider.calls] == [datetime(2026, 3, 5, 1, tzinfo=UTC)]


def test_an_answer_is_exempt_from_the_rules_of_every_state(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person(state="AL")
    clock.at = SUNDAY
    answer = practice.plan(
        who.id, None, kind="answer", answer="help", contact_point_id=who.phone, due_at=SUNDAY, priority=0,
        expires_at=SUNDAY + timedelta(minutes=5), site_id=None,
    )  # fmt: skip

    desk.worker(provider).send([answer])

    assert [row["kind"] for row in rows(ledger, attempt)] == ["answer"]


@pytest.mark.parametrize(("count", "goes"), [(2, True), (3, False)])
def test_the_cap_of_a_state_is_counted_over_all_that_was_sent(
    ledger: Engine, practice: Practice, tmp_path: Path, count: int, goes: bool
) -> None:
    by = "acknowledged_by: Jo Doe, acknowledged_on: 2026-10-01, reason: consent"
    rules = rules_from(
        tmp_path,
        "override:\n"
        + "".join(
            f"  - {{row: caps.{subject}.{span}, {by}, limit: {{at_most: 9, hours: 24}}}}\n"
            for subject in ("person", "contact", "household")
            for span in ("day", "week")
        ),
    )
    wednesday = datetime(2026, 3, 4, 17, tzinfo=UTC)
    who = practice.person(state="FL")
    for step in range(count):
        sent = practice.plan(who.id, who.enrolment, step=step + 1)
        with ledger.begin() as conn:
            assert claims.claim(
                conn, [sent], channel="sms", system="phone", systems=SYSTEMS, rules=rules, now=wednesday
            ).claimed

    found = claim(ledger, rules, who, now=wednesday + timedelta(hours=1))

    assert bool(found.claimed) is goes
    assert [wait.rule for _, wait in found.waits] == ([] if goes else ["caps.us-fl"])
