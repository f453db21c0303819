"""A paused campaign enrols nobody, a stopped one ends for everybody, and who did it is on record."""

from __future__ import annotations

import pytest
from halting import pause, resume, stop
from household import NOW
from interleaving import behind, unhurried
from lakeside import settle
from rulebooks import STANDARD
from welcome_back import AWAY, SYSTEMS, Lakeside

from domain.ledger import enrolling, halts
from domain.ledger.campaigns import campaign, campaign_event
from domain.ledger.enrolments import enrolment
from domain.ledger.halts import Halt, HaltError
from domain.ledger.lapses import lapse
from domain.ledger.touches import touch
from domain.ledger.vault import Vault


def test_nobody_is_enrolled_in_a_paused_campaign_and_its_lapses_are_decided_about_afterwards(health: Lakeside) -> None:
    health.lapsed(3)
    pause(health.engine, health.organisation)

    assert health.enrol() == {"campaign_paused": 3}
    assert health.notice() == []
    resume(health.engine, health.organisation)

    assert sum(health.enrol().values()) == 3
    assert len(health.rows(enrolment)) == 3


def test_a_new_version_of_a_paused_campaign_begins_paused(health: Lakeside) -> None:
    pause(health.engine, health.organisation)
    with health.engine.begin() as conn:
        conn.execute(campaign.update().values(checksum="another"))

    assert health.start()

    assert [each["paused_at"] for each in health.rows(campaign)] == [NOW, NOW]


def test_a_stopped_campaign_ends_its_enrolments_in_both_arms_and_revokes_what_was_planned(health: Lakeside) -> None:
    health.lapsed(20)
    arms = health.enrol()
    planned = len(health.rows(touch))

    done = stop(health.engine, health.organisation)

    assert done == Halt(is_new=True, enrolments=20, touches=planned)
    assert arms["holdout"] > 0
    ended = {(each["state"], each["reason"], each["ended_at"], each["review_at"]) for each in health.rows(enrolment)}
    assert ended == {("finished", "campaign_ended", NOW, None)}
    assert {(each["state"], each["reason"]) for each in health.rows(touch)} == {("cancelled", "campaign_ended")}
    assert health.only(campaign)["ended_at"] == NOW
    health.lapsed(1)
    assert health.enrol() == {"no_campaign": 1}


def test_a_stopped_campaign_can_neither_be_paused_nor_stopped_again_but_started_anew(health: Lakeside) -> None:
    pause(health.engine, health.organisation)
    stop(health.engine, health.organisation)

    for halt in (pause, stop):
        with pytest.raises(HaltError, match="welcome-back has ended"):
            halt(health.engine, health.organisation)

    assert health.start()
    assert [(each["version"], each["ended_at"], each["paused_at"]) for each in health.rows(campaign)] == [
        (1, NOW, None),
        (2, None, None),
    ]


def test_lapses_that_waited_for_a_campaign_find_another_when_it_is_stopped(health: Lakeside) -> None:
    health.lapsed(2)
    pause(health.engine, health.organisation)
    health.enrol()

    stop(health.engine, health.organisation)

    assert len(health.rows(lapse, decided_at=None)) == 2
    assert health.enrol() == {"no_campaign": 2}


def test_who_paused_resumed_and_stopped_it_is_on_record_once_each(health: Lakeside) -> None:
    again = [pause(health.engine, health.organisation).is_new for _ in range(2)]
    again += [resume(health.engine, health.organisation).is_new for _ in range(2)]
    stop(health.engine, health.organisation)

    assert again == [True, False, True, False]
    assert [(each["what"], each["who"], each["why"]) for each in health.rows(campaign_event)] == [
        ("paused", "Maya Ortiz", "phones are down"),
        ("resumed", "Maya Ortiz", None),
        ("stopped", "Sam Reed", "a new one follows"),
    ]


def test_a_campaign_that_is_not_there_is_told_with_those_that_are(health: Lakeside) -> None:
    with health.engine.begin() as conn, pytest.raises(HaltError, match="no campaign is called other; there are welc"):
        halts.pause(conn, health.organisation, "other", who="Maya Ortiz", why="no", now=NOW)


def test_a_stop_waits_for_an_enrolment_under_way_and_ends_it_too(postgres_url: str, vault: Vault) -> None:
    with unhurried(postgres_url) as engine:
        health = Lakeside(engine, vault, settle(engine))
        health.start(now=AWAY)
        health.lapsed(1)
        found = health.notice()
        enrolling_now = engine.connect()
        enrolling.enrol_lapses(enrolling_now, found, SYSTEMS, STANDARD, NOW)

        with behind(engine, enrolling_now, lambda: stop(engine, health.organisation)) as late:
            enrolling_now.commit()
        enrolling_now.close()

        assert late.result().enrolments == 1
        assert health.only(enrolment)["reason"] == "campaign_ended"
