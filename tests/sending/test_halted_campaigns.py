"""Nothing of a paused or stopped campaign is sent, even if it is queued; what waited goes on without a crowd."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from halting import KEY, pause, resume, stop
from household import NOW, StoppedClock, add, row, rows
from lakeside import settle
from practice import Desk, Elapsed, Practice, Provider, Unpaced
from sqlalchemy import Engine, event, insert, select

from domain.ledger import halts
from domain.ledger.campaigns import campaign
from domain.ledger.explain import explain
from domain.ledger.halts import Halt
from domain.ledger.patients import patient
from domain.ledger.store import reading
from domain.ledger.touches import touch, touch_event
from domain.ledger.vault import Vault
from domain.rules.reasons import REASONS

HOURS = timedelta(hours=4)
MINUTE = timedelta(minutes=1)


def waiting(ledger: Engine, touch_id: int) -> tuple[str, str | None, datetime]:
    found = row(ledger, touch, touch_id)
    return found["state"], found["reason"], found["due_at"]


def told_of(ledger: Engine, patient_id: int, now: datetime = NOW) -> list[str]:
    with reading(ledger) as conn:
        return list(explain(conn, row(ledger, patient, patient_id)["ref"], now).lines())


def test_a_touch_of_a_paused_campaign_waits_even_if_it_is_queued_and_says_why(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who, other = practice.person(), practice.person()
    done = pause(ledger, practice.organisation)

    desk.worker(provider).send([who.touch])

    assert provider.calls == []
    assert done == Halt(is_new=True, enrolments=2, touches=2)
    assert waiting(ledger, who.touch) == ("planned", "campaign_paused", NOW + HOURS)
    assert [each["rule"] for each in rows(ledger, touch_event, touch_id=who.touch)] == ["house.campaign"]
    lines = told_of(ledger, who.id)
    assert any(f"not sent yet: {REASONS['campaign_paused']} (rule house.campaign)" in line for line in lines)
    assert any("campaign welcome-back: paused by a person" in line for line in lines)
    # nobody has looked at this one yet
    assert any(f"waits: {REASONS['campaign_paused']}" in line for line in told_of(ledger, other.id))


def test_another_campaign_and_another_organisations_of_the_same_name_go_on(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, vault: Vault
) -> None:
    who = practice.person()
    elsewhere = settle(ledger)
    with ledger.begin() as conn:
        common = {"version": 1, "checksum": "0", "definition": {}, "holdout": 0.1, "started_at": NOW}
        add(conn, campaign, organisation_id=elsewhere, key=KEY, **common)
        add(conn, campaign, organisation_id=practice.organisation, key="other", **common)
    pause(ledger, elsewhere)
    with ledger.begin() as conn:
        halts.pause(conn, practice.organisation, "other", who="Maya Ortiz", why="not now", now=NOW)

    desk.worker(provider).send([who.touch])

    assert provider.called == {who.number: 1}


@pytest.mark.parametrize(("age", "calls"), [(0.5, 1), (1.5, 0)])
@pytest.mark.parametrize("halt", [pause, stop])
def test_a_claim_older_than_a_second_asks_again_whether_its_campaign_goes_on(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    halt: object,
    age: float,
    calls: int,
) -> None:
    who = practice.person()
    monkeypatch.setattr("workers.send.time", Elapsed(age))

    desk.worker(provider, Unpaced(before=lambda: halt(ledger, practice.organisation) and None)).send([who.touch])  # type: ignore[operator]

    assert len(provider.calls) == calls
    if not calls:
        assert waiting(ledger, who.touch)[0] == "planned"
        desk.worker(provider).send([who.touch])
        ends = {pause: ("planned", "campaign_paused"), stop: ("suppressed", "enrolment_ended")}
        assert waiting(ledger, who.touch)[:2] == ends[halt]  # type: ignore[index]


def test_answers_to_patients_go_on_while_their_campaign_is_paused(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    pause(ledger, practice.organisation)
    answer = practice.plan(
        who.id, None, kind="answer", answer="help", contact_point_id=who.phone, expires_at=NOW + 5 * MINUTE
    )

    desk.worker(provider).send([answer])

    assert provider.called == {who.number: 1}


def test_the_claim_asks_for_the_pause_without_a_statement_of_its_own(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    people = [practice.person() for _ in range(4)]
    asked: list[str] = []
    event.listen(ledger, "before_cursor_execute", lambda *args: asked.append(args[2]))

    desk.worker(provider).send([each.touch for each in people])

    assert sum("paused_at" in statement for statement in asked) == 1


def test_what_waited_goes_on_one_a_minute_the_longest_due_first(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    people = [practice.person() for _ in range(3)]
    old = practice.plan(people[0].id, people[0].enrolment, step=1, expires_at=NOW + timedelta(days=1))
    practice.plan(people[0].id, people[0].enrolment, step=2, due_at=NOW + timedelta(days=9))
    pause(ledger, practice.organisation)
    desk.worker(provider).send([*(each.touch for each in people), old])

    done = resume(ledger, practice.organisation, NOW + MINUTE)

    first = NOW + MINUTE
    assert done == Halt(is_new=True, enrolments=3, touches=4, later=1)
    assert [waiting(ledger, id_)[2] for id_ in (old, *(each.touch for each in people))] == [
        first + nth * MINUTE for nth in range(4)
    ]
    clock.at = first + 10 * MINUTE
    desk.worker(provider).send([each.touch for each in people])
    assert len(provider.calls) == 3
    assert any("planned again: the campaign goes on" in line for line in told_of(ledger, people[1].id, clock.at))


def test_a_big_backlog_is_spread_over_four_hours_and_no_minute_has_a_crowd(ledger: Engine, practice: Practice) -> None:
    who = practice.person()
    with ledger.begin() as conn:
        values = {
            "organisation_id": practice.organisation,
            "site_id": practice.site,
            "patient_id": who.id,
            "enrolment_id": who.enrolment,
            "kind": "outreach",
            "channel": "sms",
            "state": "planned",
            "reason": "campaign_paused",
            "due_at": NOW + HOURS,
            "expires_at": NOW + timedelta(days=3),
        }
        conn.execute(insert(touch), [values | {"step": step} for step in range(1, 961)])
    pause(ledger, practice.organisation)

    resume(ledger, practice.organisation)

    with reading(ledger) as conn:
        due = conn.scalars(select(touch.c.due_at).where(touch.c.reason == "campaign_paused")).all()
    per_minute = [due.count(NOW + nth * MINUTE) for nth in range(240)]
    assert sum(per_minute) == 960
    assert set(per_minute) == {4}


def test_what_waited_too_long_expires_and_says_for_what(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person()
    pause(ledger, practice.organisation)
    clock.at = NOW + timedelta(days=5) - HOURS

    desk.worker(provider).send([who.touch])
    resume(ledger, practice.organisation, clock.at)
    desk.worker(provider).send([who.touch])

    assert provider.calls == []
    assert waiting(ledger, who.touch)[:2] == ("expired", "expired")
    assert any("expired while it waited: the campaign is paused" in line for line in told_of(ledger, who.id, clock.at))
