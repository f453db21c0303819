"""A site sends no more on one of its days than was set, in all and for each campaign; the rest waits for the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from household import NOW, StoppedClock, add, row, rows
from practice import SYSTEMS, Desk, Person, Practice, Provider
from rulebooks import STANDARD
from sqlalchemy import Engine, update

from channels.kit.contract import Outcome, OutcomeKind
from domain.ledger import claims
from domain.ledger.attempts import attempt
from domain.ledger.campaigns import campaign
from domain.ledger.claimed import Claim
from domain.ledger.enrolments import enrolment
from domain.ledger.explain import explain
from domain.ledger.organisations import site
from domain.ledger.patients import patient
from domain.ledger.store import reading
from domain.ledger.touches import touch, touch_event

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def limit_site(practice: Practice, daily: int | None) -> None:
    with practice.engine.begin() as conn:
        conn.execute(update(site).where(site.c.id == practice.site).values(daily_touches=daily))


def limit_campaign(practice: Practice, daily: int) -> None:
    with practice.engine.begin() as conn:
        conn.execute(update(campaign).where(campaign.c.id == practice.campaign).values(daily_touches=daily))


def waiting(ledger: Engine, who: Person) -> tuple[str, str | None, datetime]:
    found = row(ledger, touch, who.touch)
    return found["state"], found["reason"], found["due_at"]


def claim(ledger: Engine, *people: Person, now: datetime = NOW) -> Claim:
    with ledger.begin() as conn:
        ids = [each.touch for each in people]
        return claims.claim(conn, ids, channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=now)


def test_what_is_beyond_a_sites_ceiling_waits_for_the_same_time_tomorrow(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    limit_site(practice, 2)
    people = [practice.person() for _ in range(5)]
    worker = desk.worker(provider)
    worker.send([each.touch for each in people[:3]])

    clock.at = NOW + HOUR
    worker.send([each.touch for each in people[3:]])

    assert len(provider.calls) == 2
    # not all at the same minute: each at the time at which it would have gone
    assert [waiting(ledger, each) for each in people[2:]] == [
        ("planned", "site_full", NOW + DAY),
        ("planned", "site_full", NOW + HOUR + DAY),
        ("planned", "site_full", NOW + HOUR + DAY),
    ]
    clock.at = NOW + HOUR + DAY
    worker.send([each.touch for each in people[2:]])
    assert len(provider.calls) == 4


def test_explain_names_the_ceiling_and_its_rule(ledger: Engine, practice: Practice) -> None:
    limit_site(practice, 1)
    people = [practice.person() for _ in range(2)]
    claim(ledger, *people)

    with reading(ledger) as conn:
        said = "\n".join(explain(conn, row(ledger, patient, people[1].id)["ref"], NOW).lines())

    assert "not sent yet: the site had sent as much as it may on one day (rule house.site-day)" in said


def test_the_day_is_the_sites_own(ledger: Engine, practice: Practice) -> None:
    limit_site(practice, 1)
    one, other = practice.person(zone="Pacific/Honolulu"), practice.person(zone="Pacific/Honolulu")
    for each in (one, other):
        practice.change_zones(each.phone, "")
    with ledger.begin() as conn:
        conn.execute(update(site).where(site.c.id == practice.site).values(zone="America/New_York"))
    # half an hour before midnight in New York is half past six in Hawaii
    evening = datetime(2026, 3, 5, 4, 30, tzinfo=UTC)
    claim(ledger, one, now=evening)

    before = claim(ledger, other, now=evening + HOUR / 4)
    with ledger.begin() as conn:
        conn.execute(update(touch).where(touch.c.id == other.touch).values(due_at=evening))
    after = claim(ledger, other, now=evening + HOUR)

    assert [len(before.claimed), len(after.claimed)] == [0, 1]


def test_a_campaigns_ceiling_is_its_own_and_a_sites_counts_them_all(ledger: Engine, practice: Practice) -> None:
    limit_campaign(practice, 2)
    limit_site(practice, 3)
    people = [practice.person() for _ in range(5)]
    with ledger.begin() as conn:
        other = add(
            conn,
            campaign,
            organisation_id=practice.organisation,
            key="other",
            version=1,
            checksum="0",
            definition={},
            holdout=0.1,
            started_at=NOW,
        )
        conn.execute(
            update(enrolment)
            .where(enrolment.c.id.in_([each.enrolment for each in people[3:]]))
            .values(campaign_id=other, campaign_key="other")
        )

    made = claim(ledger, *people)

    assert [each.touch_id for each in made.claimed] == [people[nth].touch for nth in (0, 1, 3)]
    assert [(id_, wait.why, wait.rule) for id_, wait in made.waits] == [
        (people[2].touch, "campaign_full", "house.campaign-site-day"),
        (people[4].touch, "site_full", "house.site-day"),
    ]


def test_the_running_versions_ceiling_binds_who_is_in_an_older_one(ledger: Engine, practice: Practice) -> None:
    people = [practice.person() for _ in range(2)]
    with ledger.begin() as conn:
        conn.execute(update(campaign).where(campaign.c.id == practice.campaign).values(ended_at=NOW))
        add(
            conn,
            campaign,
            organisation_id=practice.organisation,
            key="welcome-back",
            version=2,
            checksum="1",
            definition={},
            holdout=0.1,
            started_at=NOW,
            daily_touches=1,
        )

    made = claim(ledger, *people)

    assert len(made.claimed) == 1
    assert [wait.why for _, wait in made.waits] == ["campaign_full"]


def test_what_did_not_reach_anybody_gives_its_place_back(
    ledger: Engine, practice: Practice, desk: Desk, clock: StoppedClock
) -> None:
    limit_site(practice, 1)
    one, other = practice.person(), practice.person()
    refusing = Provider(answer=lambda _: Outcome(OutcomeKind.REJECTED, code="21211"))
    desk.worker(refusing).send([one.touch])
    taking = Provider()

    desk.worker(taking).send([other.touch])

    assert (len(refusing.calls), len(taking.calls)) == (1, 1)


def test_answers_pass_a_ceiling_and_count_for_none(ledger: Engine, practice: Practice) -> None:
    limit_site(practice, 1)
    people = [practice.person() for _ in range(3)]
    with ledger.begin() as conn:
        answers = touch.c.id.in_([each.touch for each in people[:2]])
        conn.execute(update(touch).where(answers).values(kind="answer", answer="help"))

    made = claim(ledger, *people)

    assert len(made.claimed) == 3
    assert [each["site_id"] for each in rows(ledger, attempt)].count(practice.site) == 1


def test_what_would_go_too_late_expires_and_says_for_what_it_waited(ledger: Engine, practice: Practice) -> None:
    limit_site(practice, 1)
    people = [practice.person() for _ in range(2)]
    with ledger.begin() as conn:
        conn.execute(update(touch).values(expires_at=NOW + DAY))

    claim(ledger, *people)

    assert row(ledger, touch, people[1].touch)["state"] == "expired"
    (told,) = rows(ledger, touch_event, touch_id=people[1].touch)
    assert (told["what"], told["reason"], told["rule"]) == ("expired", "site_full", "house.site-day")


def test_a_site_without_a_ceiling_leaves_no_trace_of_one(ledger: Engine, practice: Practice) -> None:
    limit_site(practice, None)
    people = [practice.person() for _ in range(3)]

    assert len(claim(ledger, *people).claimed) == 3
    assert {each["site_id"] for each in rows(ledger, attempt)} == {None}
