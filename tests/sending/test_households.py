"""A household has a ceiling of its own, over everybody in it and whatever they are reached by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from household import NOW, StoppedClock, add, meet, row, rows
from practice import SYSTEMS, Desk, Person, Practice, Provider
from rulebooks import STANDARD, rules_from
from sqlalchemy import Engine, insert, update

from domain.ledger import claims, confidential, households
from domain.ledger.attempts import attempt
from domain.ledger.choice_history import Note
from domain.ledger.claimed import Claim
from domain.ledger.explain import explain
from domain.ledger.households import CROWD
from domain.ledger.patients import patient, patient_contact
from domain.ledger.store import reading
from domain.ledger.touches import touch, touch_event
from domain.rules.rulebook import Rulebook

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def share(practice: Practice, *people: Person, mail: str = "family@example.com") -> int:
    """A mailbox that all of them read beside their own phones."""
    with practice.engine.begin() as conn:
        point = meet(conn, practice.vault, practice.organisation, "email", mail)
        conn.execute(insert(patient_contact), [{"patient_id": each.id, "contact_point_id": point} for each in people])
    return point


def waiting(ledger: Engine, touch_id: int) -> tuple[str, str | None, datetime]:
    found = row(ledger, touch, touch_id)
    return found["state"], found["reason"], found["due_at"]


def household_of(ledger: Engine, who: Person) -> set[int]:
    with reading(ledger) as conn:
        return households.of(conn, [who.id]).members(who.id)


def test_a_family_with_phones_of_their_own_gets_two_a_day_even_within_one_batch(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    family = [practice.person() for _ in range(3)]
    neighbour = practice.person()
    share(practice, *family)

    desk.worker(provider).send([each.touch for each in (*family, neighbour)])

    assert provider.called == {family[0].number: 1, family[1].number: 1, neighbour.number: 1}
    assert waiting(ledger, family[2].touch) == ("planned", "cap_household_day", NOW + DAY)


def test_a_family_gets_two_a_day_over_all_channels_and_claims(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    family = [practice.person(mail=f"{name}@example.com") for name in ("ann", "bob", "cid")]
    share(practice, *family)
    mailed = practice.plan(family[1].id, family[1].enrolment, channel="email", step=1)
    desk.worker(provider).send([family[0].touch])
    desk.worker(Provider("email", "email")).send([mailed])

    clock.at = NOW + HOUR
    desk.worker(provider).send([family[2].touch])

    assert provider.called == {family[0].number: 1}
    assert waiting(ledger, family[2].touch) == ("planned", "cap_household_day", NOW + DAY)
    (told,) = rows(ledger, touch_event, touch_id=family[2].touch)
    assert (told["reason"], told["rule"]) == ("cap_household_day", "caps.household.day")
    with reading(ledger) as conn:
        ref = row(ledger, patient, family[2].id)["ref"]
        said = "\n".join(explain(conn, ref, NOW + HOUR).lines())
    assert "this person's household had already been contacted as often as a day allows" in said
    assert "(rule caps.household.day)" in said


def test_the_sixth_of_a_familys_week_waits_for_the_first_to_be_a_week_old(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    family = [practice.person() for _ in range(6)]
    share(practice, *family)
    worker = desk.worker(provider)
    with ledger.begin() as conn:
        conn.execute(update(touch).values(expires_at=NOW + 9 * DAY))

    for number, each in enumerate(family):
        clock.at = NOW + number // 2 * DAY
        worker.send([each.touch])

    assert len(provider.calls) == 5
    assert waiting(ledger, family[5].touch) == ("planned", "cap_household_week", NOW + 7 * DAY)


def test_a_wait_for_the_household_that_outlasts_the_touch_ends_it_and_says_why(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    family = [practice.person() for _ in range(3)]
    share(practice, *family)
    with ledger.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == family[2].touch).values(expires_at=NOW + DAY))

    desk.worker(provider).send([each.touch for each in family])

    assert row(ledger, touch, family[2].touch)["state"] == "expired"
    (told,) = rows(ledger, touch_event, touch_id=family[2].touch)
    assert (told["what"], told["reason"], told["rule"]) == ("expired", "cap_household_day", "caps.household.day")


def claim(ledger: Engine, *people: Person, rules: Rulebook = STANDARD) -> Claim:
    with ledger.begin() as conn:
        ids = [each.touch for each in people]
        return claims.claim(conn, ids, channel="sms", system="phone", systems=SYSTEMS, rules=rules, now=NOW)


def test_an_organisation_may_choose_another_ceiling_without_asking_the_law_of_persons(
    ledger: Engine, practice: Practice, tmp_path: Path
) -> None:
    family = [practice.person() for _ in range(4)]
    share(practice, *family)
    own = rules_from(
        tmp_path, "organisation: o\noverride:\n  - {row: caps.household.day, limit: {at_most: 3, hours: 48}}\n"
    )

    made = claim(ledger, *family, rules=own)

    assert len(made.claimed) == 3
    assert [(id_, wait.until, wait.rule) for id_, wait in made.waits] == [
        (family[3].touch, NOW + 2 * DAY, "caps.household.day")
    ]


def test_somebody_alone_is_a_household_too(ledger: Engine, practice: Practice, tmp_path: Path) -> None:
    who = practice.person()
    again = practice.plan(who.id, who.enrolment, step=1, state="accepted")
    own = rules_from(tmp_path, "override:\n  - {row: caps.household.week, limit: {at_most: 1, hours: 336}}\n")
    with ledger.begin() as conn:
        add(
            conn,
            attempt,
            touch_id=again,
            token="t",
            channel="email",
            provider="email",
            kind="outreach",
            patient_id=who.id,
            contact_point_id=who.phone,
            state="accepted",
            claimed_at=NOW - 10 * DAY,
            lease_until=NOW - 10 * DAY,
        )

    made = claim(ledger, who, rules=own)

    assert [wait.why for _, wait in made.waits] == ["cap_household_week"]


def test_whom_a_third_joins_is_of_one_household(ledger: Engine, practice: Practice) -> None:
    mother, child, father, neighbour = (practice.person() for _ in range(4))
    share(practice, mother, child)
    share(practice, child, father, mail="father@example.com")

    assert household_of(ledger, mother) == {mother.id, child.id, father.id}
    assert household_of(ledger, father) == household_of(ledger, mother)
    assert household_of(ledger, neighbour) == {neighbour.id}


@pytest.mark.parametrize("size", [CROWD, CROWD + 1])
def test_what_more_than_a_family_shares_joins_nobody(ledger: Engine, practice: Practice, size: int) -> None:
    residents = [practice.person() for _ in range(size)]
    share(practice, *residents, mail="none@example.com")

    assert len(household_of(ledger, residents[0])) == (size if size == CROWD else 1)


def test_a_wrong_number_and_a_confidential_one_end_the_tie(ledger: Engine, practice: Practice) -> None:
    one, other = practice.person(), practice.person()
    mail = share(practice, one, other)
    with ledger.begin() as conn:
        confidential.ask(conn, other.id, [other.phone or 0], Note("Maya Ortiz", b"sealed"), NOW, NOW)
    assert household_of(ledger, one) == {one.id}

    with ledger.begin() as conn:
        confidential.ask(conn, other.id, [], Note("Maya Ortiz", b"sealed"), NOW + HOUR, NOW + HOUR)
    assert household_of(ledger, one) == {one.id, other.id}

    with ledger.begin() as conn:
        conn.execute(update(patient_contact).where(patient_contact.c.contact_point_id == mail).values(detached_at=NOW))
    assert household_of(ledger, one) == {one.id}


def test_an_answer_counts_for_no_household_and_waits_for_none(ledger: Engine, practice: Practice) -> None:
    family: Sequence[Person] = [practice.person() for _ in range(3)]
    share(practice, *family)
    for each in family[:2]:
        with ledger.begin() as conn:
            conn.execute(update(touch).where(touch.c.id == each.touch).values(kind="answer", answer="help"))

    made = claim(ledger, *family)

    assert len(made.claimed) == 3
