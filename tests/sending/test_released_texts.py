"""Nothing is sent in words that two people have not released, and nothing any more once they were recalled."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from household import NOW, StoppedClock, add, row, rows
from practice import Desk, Elapsed, Practice, Provider, Unpaced
from sqlalchemy import Engine, event, update

from domain.ledger import releases, texts
from domain.ledger.explain import explain
from domain.ledger.organisations import organisation
from domain.ledger.patients import patient
from domain.ledger.store import reading
from domain.ledger.texts import VersionNews, template_event, template_version
from domain.ledger.touches import touch, touch_event
from domain.rules.reasons import REASONS
from domain.rules.templates import Template
from domain.rules.vocabulary import Role

HOURS = timedelta(hours=4)


def change(ledger: Engine, practice: Practice, **values: datetime | None) -> None:
    with ledger.begin() as conn:
        conn.execute(update(template_version).where(template_version.c.id == practice.text).values(**values))


def recall(ledger: Engine, practice: Practice, version: int | None = 1) -> releases.Recall:
    with ledger.begin() as conn:
        return releases.recall(
            conn, practice.organisation, "hello", version, who="Sam Reed", why="the number in it is wrong", now=NOW
        )


def release(ledger: Engine, version_id: int, now: datetime = NOW) -> None:
    with ledger.begin() as conn:
        for role, who in ((Role.MARKETING, "Maya Ortiz"), (Role.CLINICAL, "Sam Reed")):
            releases.release(conn, version_id, who=who, role=role, lexicon="0", now=now)


def write(ledger: Engine, practice: Practice, version: int, *written: Template) -> int:
    with ledger.begin() as conn:
        return texts.record(conn, practice.organisation, VersionNews("hello", version, f"c{version}", written), NOW)


def waiting(ledger: Engine, touch_id: int) -> tuple[str, str | None, datetime]:
    found = row(ledger, touch, touch_id)
    return found["state"], found["reason"], found["due_at"]


BETTER = Template(channel="sms", language="en", body="better words from {organisation}")


@pytest.mark.parametrize(
    ("values", "why"),
    [({"released_at": None}, "template_unreleased"), ({"recalled_at": NOW}, "template_recalled")],
    ids=str,
)
def test_a_touch_whose_text_is_held_back_waits_and_says_why(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    provider: Provider,
    values: dict[str, datetime | None],
    why: str,
) -> None:
    who = practice.person()
    change(ledger, practice, **values)

    desk.worker(provider).send([who.touch])

    assert provider.calls == []
    assert waiting(ledger, who.touch) == ("planned", why, NOW + HOURS)
    with reading(ledger) as conn:
        lines = list(explain(conn, row(ledger, patient, who.id)["ref"], NOW).lines())
    assert any(f"not sent yet: {REASONS[why]}" in line for line in lines)
    assert any(f"waits: {REASONS[why]}" in line for line in lines)


def test_what_is_planned_is_told_to_wait_as_soon_as_its_text_is_recalled(ledger: Engine, practice: Practice) -> None:
    who = practice.person(mail="a@example.com")
    practice.plan(who.id, who.enrolment, step=1, channel="email", due_at=NOW + timedelta(days=10))
    release(ledger, write(ledger, practice, 2, BETTER))
    recall(ledger, practice)

    with reading(ledger) as conn:
        ahead = explain(conn, row(ledger, patient, who.id)["ref"], NOW).ahead

    # the successor has words for a text, not for a mail
    assert [each.text for each in ahead] == ["due", f"waits: {REASONS['template_recalled']}"]


def test_a_touch_that_would_wait_for_its_text_until_too_late_expires_and_says_so(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    change(ledger, practice, recalled_at=NOW)
    with ledger.begin() as conn:
        conn.execute(update(touch).values(expires_at=NOW + timedelta(hours=1)))

    desk.worker(provider).send([who.touch])

    assert waiting(ledger, who.touch)[:2] == ("expired", "expired")
    assert [each["reason"] for each in rows(ledger, touch_event, touch_id=who.touch)] == ["template_recalled"]


def test_a_recall_stops_what_is_queued_already(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    queued, planned, mailed = practice.person(), practice.person(), practice.person(mail="a@example.com")
    practice.plan(mailed.id, mailed.enrolment, step=1, channel="email")
    with ledger.begin() as conn:
        conn.execute(
            update(touch).where(touch.c.id == queued.touch).values(dispatched_until=NOW + timedelta(minutes=1))
        )

    stopped = recall(ledger, practice)
    desk.worker(provider).send([queued.touch, planned.touch, mailed.touch])

    assert stopped == releases.Recall(("hello@1",), stopped=4, queued=1)
    assert provider.calls == []
    assert {waiting(ledger, each.touch)[1] for each in (queued, planned, mailed)} == {"template_recalled"}
    (told,) = rows(ledger, template_event)
    assert (told["what"], told["who"], told["why"], told["stopped"]) == (
        "recalled",
        "Sam Reed",
        "the number in it is wrong",
        4,
    )


@pytest.mark.parametrize(("age", "calls"), [(1.5, 0), (0.5, 1)])
def test_a_recall_after_the_claim_is_seen_right_before_the_call_once_the_claim_is_a_second_old(
    ledger: Engine,
    practice: Practice,
    desk: Desk,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    age: float,
    calls: int,
) -> None:
    who = practice.person()
    monkeypatch.setattr("workers.send.time", Elapsed(age))

    desk.worker(provider, Unpaced(before=lambda: recall(ledger, practice) and None)).send([who.touch])

    assert len(provider.calls) == calls
    if not calls:
        assert waiting(ledger, who.touch) == ("planned", "template_recalled", NOW)
        desk.worker(provider).send([who.touch])
        assert waiting(ledger, who.touch) == ("planned", "template_recalled", NOW + HOURS)


def test_an_answer_to_a_patient_needs_no_release(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    change(ledger, practice, recalled_at=NOW, released_at=None)
    answer = practice.plan(
        who.id, None, kind="answer", answer="help", contact_point_id=who.phone, expires_at=NOW + timedelta(minutes=5)
    )

    desk.worker(provider).send([answer])

    assert provider.called == {who.number: 1}


def test_what_waited_is_due_again_once_a_successor_is_released_and_says_its_words(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person()
    recall(ledger, practice)
    worker = desk.worker(provider)
    worker.send([who.touch])
    successor = write(ledger, practice, 2, BETTER)
    worker.send([who.touch])
    assert provider.calls == []

    clock.at += timedelta(hours=1)
    release(ledger, successor, clock.at)
    assert waiting(ledger, who.touch)[2] == clock.at
    worker.send([who.touch])

    assert [each.body for each in provider.calls] == ["better words from Northstar Health"]
    told = [(each["what"], each["reason"]) for each in rows(ledger, touch_event, touch_id=who.touch)]
    assert told == [("waited", "template_recalled"), ("planned", "template_released"), ("accepted", None)]


def test_a_successor_speaks_only_where_it_has_words(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    recall(ledger, practice)
    release(ledger, write(ledger, practice, 2, Template(channel="email", language="en", body="x", subject="y")))

    desk.worker(provider).send([who.touch])

    assert provider.calls == []
    assert waiting(ledger, who.touch)[1] == "template_recalled"


def test_a_successor_changes_nothing_while_its_predecessor_stands(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    release(ledger, write(ledger, practice, 2, BETTER))

    desk.worker(provider).send([who.touch])

    assert [each.body.startswith("sms from") for each in provider.calls] == [True]


def test_of_several_successors_the_newest_that_stands_speaks(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    for version, words in ((2, "second"), (3, "third"), (4, "fourth")):
        written = Template(channel="sms", language="en", body=f"{words} words of {{organisation}}")
        release(ledger, write(ledger, practice, version, written))
    recall(ledger, practice, version=4)
    recall(ledger, practice, version=1)

    desk.worker(provider).send([who.touch])

    assert [each.body for each in provider.calls] == ["third words of Northstar Health"]


def test_another_organisations_text_of_the_same_name_speaks_for_nobody_else(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    with ledger.begin() as conn:
        stranger = add(conn, organisation, key="x", name="Elsewhere", phone="+1 303 555 0199", postal_address="2 Road")
        theirs = texts.record(conn, stranger, VersionNews("hello", 2, "e", (BETTER,)), NOW)
    release(ledger, theirs)
    recall(ledger, practice)

    desk.worker(provider).send([who.touch])

    assert provider.calls == []


def test_the_texts_of_a_batch_are_asked_for_in_one_statement(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    people = [practice.person() for _ in range(20)]
    asked: list[str] = []
    worker = desk.worker(provider)

    def note(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        # an attempt is written with the text it says
        if "template" in statement and not statement.startswith("INSERT"):
            asked.append(statement)

    event.listen(ledger, "before_cursor_execute", note)
    worker.send([each.touch for each in people])
    event.remove(ledger, "before_cursor_execute", note)

    assert len(provider.calls) == 20
    # one in the claim, one to read the words, which are kept
    assert len(asked) == 2
