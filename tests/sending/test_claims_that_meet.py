"""A claim that had to wait for another transaction decides on what that one left behind, and on nothing older.

PostgreSQL reads afresh with every statement, so a claim may see the world change between two of its own: each test
holds it at one lock, lets the other transaction commit, and looks at what the claim made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from household import NOW, add, row, rows
from interleaving import behind, unhurried
from practice import SYSTEMS, Person, Practice
from rulebooks import STANDARD
from sqlalchemy import Connection, Engine, update
from waiting import DEADLINE

from domain.ledger import choices, claims, finishes, receipts, releases, settling, texts, touches
from domain.ledger.attempts import attempt
from domain.ledger.claimed import Claim, Claimed
from domain.ledger.finishes import Finish
from domain.ledger.merging import merge
from domain.ledger.organisations import site
from domain.ledger.patients import lock, patient_contact
from domain.ledger.receipts import ReceiptNews
from domain.ledger.releases import Version
from domain.ledger.texts import VersionNews
from domain.ledger.touches import touch, touch_event
from domain.ledger.vault import Vault
from domain.rules.vocabulary import AttemptState, Role

HOUR = timedelta(hours=1)
NIGHT = NOW + 10 * HOUR


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Engine]:
    """PostgreSQL only: on SQLite one writer at a time is all there is."""
    with unhurried(postgres_url) as engine:
        yield engine


@pytest.fixture
def practice(ledger: Engine, vault: Vault) -> Practice:
    return Practice(ledger, vault)


def claim_on(conn: Connection, *ids: int, now: datetime = NOW) -> Claim:
    return claims.claim(conn, ids, channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=now)


def claim(ledger: Engine, *ids: int, now: datetime = NOW) -> Claim:
    with ledger.begin() as conn:
        return claim_on(conn, *ids, now=now)


def ids_of(made: Claim) -> list[int]:
    return [each.touch_id for each in made.claimed]


def end(conn: Connection, claimed: Claimed, state: AttemptState, retry_at: datetime | None = None) -> None:
    ended = finishes.finish(
        conn, [Finish(claimed.touch_id, claimed.token, state, called_at=NOW, retry_at=retry_at)], NOW
    )
    assert ended == 1


def hold(conn: Connection, who: Person) -> None:
    """Lock a patient, as anything about them does first."""
    lock(conn, [who.id])


def states(ledger: Engine, who: Person) -> list[str]:
    return [each["state"] for each in rows(ledger, attempt, touch_id=who.touch)]


def claim_only(_conn: Connection, _claimed: Claimed) -> None:
    """Its call is still to come."""


def accept(conn: Connection, claimed: Claimed) -> None:
    end(conn, claimed, AttemptState.ACCEPTED)


def put_off(conn: Connection, claimed: Claimed) -> None:
    end(conn, claimed, AttemptState.RETRY, NOW + HOUR)


@pytest.mark.parametrize("then", [claim_only, accept, put_off])
def test_what_another_claimed_while_this_one_waited_is_not_claimed_twice(
    ledger: Engine, practice: Practice, then: Callable[[Connection, Claimed], None]
) -> None:
    who = practice.person()

    with ledger.begin() as first:
        (claimed,) = claim_on(first, who.touch).claimed
        with behind(ledger, first, lambda: claim(ledger, who.touch)) as second:
            then(first, claimed)
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert made == Claim()
    assert len(states(ledger, who)) == 1
    assert rows(ledger, touch_event, what="waited", reason="cap_day") == []


def test_what_was_given_back_while_this_one_waited_is_claimed_once_more_and_only_so(
    ledger: Engine, practice: Practice
) -> None:
    who = practice.person()

    with ledger.begin() as first:
        (claimed,) = claim_on(first, who.touch).claimed
        with behind(ledger, first, lambda: claim(ledger, who.touch)) as second:
            end(first, claimed, AttemptState.RELEASED, NOW)
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert ids_of(made) == [who.touch]
    assert states(ledger, who) == ["released", "sending"]


def test_what_came_back_too_late_for_its_patient_to_be_locked_is_left_for_the_next_claim(
    ledger: Engine, practice: Practice
) -> None:
    held, back = practice.person(), practice.person()
    (before,) = claim(ledger, back.touch).claimed

    with ledger.begin() as first, ledger.begin() as stopping:
        hold(first, held)
        with behind(ledger, first, lambda: claim(ledger, held.touch, back.touch)) as second:
            # sending, so that the STOP finds nothing to revoke; then planned, while the STOP is not committed yet
            practice.stop_on(stopping, back)
            with ledger.begin() as conn:
                end(conn, before, AttemptState.RELEASED, NOW)
            first.commit()
            stopping.commit()
            made = second.result(timeout=DEADLINE)

    assert (ids_of(made), made.nevers) == ([held.touch], [])
    assert states(ledger, back) == ["released"]
    assert claim(ledger, back.touch).nevers == [(back.touch, "enrolment_ended")]


def test_what_a_receipt_settled_while_this_one_waited_is_not_sent_again(ledger: Engine, practice: Practice) -> None:
    who = practice.person()
    (claimed,) = claim(ledger, who.touch).claimed
    with ledger.begin() as conn:
        end(conn, claimed, AttemptState.RETRY, NOW)
        news = [ReceiptNews("sms", "SM1", "delivered", reference=claimed.token)]
        stored = receipts.take(conn, news, NOW)

    with ledger.begin() as first:
        settling.apply(first, stored, NOW)
        with behind(ledger, first, lambda: claim(ledger, who.touch)) as second:
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert made == Claim()
    assert states(ledger, who) == ["accepted"]


@pytest.mark.parametrize("now", [NOW, NIGHT], ids=["would go", "would wait"])
def test_what_expired_while_this_one_waited_is_neither_sent_nor_said_to_wait(
    ledger: Engine, practice: Practice, now: datetime
) -> None:
    who = practice.person()

    with ledger.begin() as first:
        # by the clock of another process, which is ahead
        assert touches.expire(first, NOW + timedelta(days=5)) == 1
        with behind(ledger, first, lambda: claim(ledger, who.touch, now=now)) as second:
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert made == Claim()
    assert states(ledger, who) == []
    assert [each["what"] for each in rows(ledger, touch_event, touch_id=who.touch)] == ["expired"]


def test_an_opt_out_committed_while_the_claim_waited_is_seen(ledger: Engine, practice: Practice) -> None:
    who = practice.person()
    housemate = practice.person(number=who.number)

    with ledger.begin() as first:
        practice.stop_on(first, who)
        with behind(ledger, first, lambda: claim(ledger, who.touch, housemate.touch)) as second:
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert made == Claim()
    assert {row(ledger, touch, each.touch)["state"] for each in (who, housemate)} == {"cancelled"}


def test_an_opt_out_committed_while_the_claim_waited_is_seen_although_the_touch_came_back_planned(
    ledger: Engine, practice: Practice
) -> None:
    who = practice.person()
    (before,) = claim(ledger, who.touch).claimed

    with ledger.begin() as first:
        practice.stop_on(first, who)
        with ledger.begin() as conn:
            end(conn, before, AttemptState.RELEASED, NOW)
        with behind(ledger, first, lambda: claim(ledger, who.touch)) as second:
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert made.nevers == [(who.touch, "enrolment_ended")]
    assert states(ledger, who) == ["released"]


def test_a_housemate_called_while_the_claim_waited_counts_for_the_number(ledger: Engine, practice: Practice) -> None:
    who = practice.person()
    housemate = practice.person(number=who.number)

    with ledger.begin() as first:
        assert ids_of(claim_on(first, housemate.touch)) == [housemate.touch]
        with behind(ledger, first, lambda: claim(ledger, who.touch)) as second:
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert [(touch_id, wait.why) for touch_id, wait in made.waits] == [(who.touch, "cap_contact_day")]


def test_relatives_called_while_the_claim_waited_count_for_the_household_whatever_the_channels(
    ledger: Engine, practice: Practice
) -> None:
    family = [practice.person(mail=f"{name}@example.com") for name in ("ann", "bob", "cid")]
    mails = [practice.plan(each.id, each.enrolment, step=1, channel="email") for each in family[:2]]
    with ledger.begin() as conn:
        # bob shares with ann and with cid, who share nothing with each other
        add(conn, patient_contact, patient_id=family[1].id, contact_point_id=family[0].email)
        add(conn, patient_contact, patient_id=family[1].id, contact_point_id=family[2].phone)

    with ledger.begin() as first:
        mailed = claims.claim(first, mails, channel="email", system="email", systems=SYSTEMS, rules=STANDARD, now=NOW)
        assert ids_of(mailed) == mails[:1]
        with behind(ledger, first, lambda: claim(ledger, family[2].touch)) as second:
            accept(first, mailed.claimed[0])
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert ids_of(made) == [family[2].touch]
    assert [wait.why for _, wait in claim(ledger, family[1].touch).waits] == ["cap_household_day"]


def test_what_another_claim_sent_from_a_site_while_this_one_waited_counts_at_its_ceiling(
    ledger: Engine, practice: Practice
) -> None:
    one, other = practice.person(), practice.person()
    with ledger.begin() as conn:
        conn.execute(update(site).values(daily_touches=1))

    with ledger.begin() as first:
        assert ids_of(claim_on(first, one.touch)) == [one.touch]
        with behind(ledger, first, lambda: claim(ledger, other.touch)) as second:
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert [(touch_id, wait.why) for touch_id, wait in made.waits] == [(other.touch, "site_full")]


def test_a_mail_sent_while_the_claim_of_a_text_waited_counts_for_the_patient(
    ledger: Engine, practice: Practice
) -> None:
    who = practice.person(mail="jane.doe@example.com")
    mail = practice.plan(who.id, who.enrolment, step=1, channel="email")

    with ledger.begin() as first:
        mailed = claims.claim(first, [mail], channel="email", system="email", systems=SYSTEMS, rules=STANDARD, now=NOW)
        with behind(ledger, first, lambda: claim(ledger, who.touch)) as second:
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert ids_of(mailed) == [mail]
    assert [(touch_id, wait.why) for touch_id, wait in made.waits] == [(who.touch, "cap_day")]


def test_a_number_found_bad_while_the_claim_waited_is_not_called(ledger: Engine, practice: Practice) -> None:
    who = practice.person(mail="jane.doe@example.com")

    with ledger.begin() as first:
        choices.mark_bad(first, who.phone or 0, "provider", NOW)
        with behind(ledger, first, lambda: claim(ledger, who.touch)) as second:
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert made.rerouted == [(who.touch, "email", None)]


def test_a_stop_that_waited_for_a_merge_reaches_the_survivor(ledger: Engine, practice: Practice) -> None:
    survivor, gone = practice.person(mail="jane.doe@example.com"), practice.person()
    assert survivor.id < gone.id

    def stop_gone() -> None:
        with ledger.begin() as conn:
            practice.stop_on(conn, gone)

    with ledger.begin() as first:
        lock(first, [survivor.id, gone.id])
        with behind(ledger, first, stop_gone) as stopping:
            merge(first, gone.id, survivor.id, NOW)
            first.commit()
            stopping.result(timeout=DEADLINE)

    assert ids_of(claim(ledger, survivor.touch)) == []
    assert row(ledger, touch, survivor.touch)["state"] == "cancelled"


def test_a_text_recalled_while_a_claim_waited_is_not_claimed(ledger: Engine, practice: Practice) -> None:
    who = practice.person()

    with ledger.begin() as first:
        hold(first, who)
        with behind(ledger, first, lambda: claim(ledger, who.touch)) as second:
            with ledger.begin() as conn:
                releases.recall(conn, practice.organisation, "hello", 1, who="Sam Reed", why="wrong", now=NOW)
            first.commit()
            made = second.result(timeout=DEADLINE)

    assert (ids_of(made), [(id_, wait.why) for id_, wait in made.waits]) == ([], [(who.touch, "template_recalled")])


def test_two_people_who_release_at_once_release(ledger: Engine, practice: Practice) -> None:
    with ledger.begin() as conn:
        version = texts.record(conn, practice.organisation, VersionNews("new", 1, "n", ()), NOW)

    def release(conn: Connection, who: str, role: Role) -> Version:
        return releases.release(conn, version, who=who, role=role, lexicon="L", now=NOW)

    def second_release() -> Version:
        with ledger.begin() as conn:
            return release(conn, "Sam Reed", Role.CLINICAL)

    with ledger.begin() as first:
        begun = release(first, "Maya Ortiz", Role.MARKETING)
        with behind(ledger, first, second_release) as second:
            first.commit()
            done = second.result(timeout=DEADLINE)

    assert (begun.state, done.state) == ("waits for clinical", "released")
