"""A campaign enrols no more at a site on one of its days than its file says; the others wait, the urgent first."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from interleaving import behind, unhurried
from lakeside import NOW, settle
from rulebooks import STANDARD
from sqlalchemy import Engine, update
from welcome_back import EXAMPLE, SYSTEMS, Lakeside

from domain.ledger import campaigns, enrolling, halts, rooms
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.vault import Vault
from ops.assembly import means_opted_out
from producers.clock import Rounds
from producers.dispatch import Dispatcher
from producers.preview import preview
from producers.sweep import Sweep

DAY = timedelta(days=1)


@pytest.fixture
def limited(tmp_path: Path) -> Path:
    """The example with room for three a day at each site."""
    path = tmp_path / "limited.yaml"
    text = EXAMPLE.read_text().replace("graduate_after_days:", "daily_enrolments_per_site: 3\ngraduate_after_days:")
    path.write_text(text)
    return path


@pytest.fixture
def health(ledger: Engine, vault: Vault, limited: Path) -> Lakeside:
    """Lakeside Health with the limited campaign running."""
    lakeside = Lakeside(ledger, vault, settle(ledger))
    lakeside.start(limited)
    return lakeside


def let_in(health: Lakeside, days: int) -> int:
    with health.engine.begin() as conn:
        return rooms.let_in(conn, campaigns.running(conn), NOW + days * DAY)


def enrolled(health: Lakeside) -> int:
    return len(health.rows(enrolment))


def test_as_many_begin_as_there_is_room_for_and_the_others_wait(health: Lakeside) -> None:
    health.lapsed(8)

    done = Counter(health.enrol())

    assert done["daily_limit"] == 5
    assert done["treatment"] + done["holdout"] == enrolled(health) == 3


def test_those_who_wait_begin_on_the_next_days(health: Lakeside) -> None:
    health.lapsed(8)
    health.enrol()

    begun = []
    for day in (0, 1, 2, 3):
        let_in(health, day)
        health.enrol(NOW + day * DAY)
        begun.append(enrolled(health))

    assert begun == [3, 6, 8, 8]


def test_the_clock_lets_them_in_by_itself(health: Lakeside) -> None:
    health.lapsed(5)
    health.enrol()
    rounds = Rounds(
        engine=health.engine,
        dispatcher=Dispatcher(health.engine, {}, lambda _job: None),
        sweep=Sweep(health.engine, SYSTEMS, STANDARD, lambda _job: None, means_opted_out),
        scan=lambda _now: 0,
        relay=lambda _now: 0,
        scan_every=timedelta(minutes=15),
    )

    rounds.run(NOW + timedelta(hours=1))
    same_day = enrolled(health)
    rounds.run(NOW + DAY)

    assert (same_day, enrolled(health)) == (3, 5)


def test_the_most_urgent_of_those_who_wait_begin_first(health: Lakeside) -> None:
    health.lapsed(6)
    health.enrol()
    waiting = [each["id"] for each in health.rows(lapse, declined="daily_limit")]
    with health.engine.begin() as conn:
        conn.execute(update(lapse).where(lapse.c.id == waiting[-1]).values(priority=10))
        conn.execute(update(lapse).where(lapse.c.id == waiting[0]).values(priority=50))
        conn.execute(enrolment.update().where(enrolment.c.id == 1).values(enrolled_at=NOW - 2 * DAY))

    assert let_in(health, 0) == 1

    assert [each["id"] for each in health.rows(lapse, decided_at=None)] == [waiting[-1]]


def test_a_day_is_the_sites_own(health: Lakeside) -> None:
    # five in the morning UTC is still the day before in Denver
    late = NOW.replace(hour=5) + DAY
    health.lapsed(4)
    health.enrol()

    with health.engine.begin() as conn:
        early = rooms.let_in(conn, campaigns.running(conn), late)
        after = rooms.let_in(conn, campaigns.running(conn), late + timedelta(hours=3))

    assert (early, after) == (0, 1)


def test_sites_have_their_own_room(health: Lakeside) -> None:
    health.lapsed(4)
    found = health.notice()
    with health.engine.begin() as conn:
        conn.execute(update(lapse).where(lapse.c.id == found[-1]).values(site_id=2))

    health.enrol()

    assert Counter(each["site_id"] for each in health.rows(enrolment)) == {1: 3, 2: 1}


def test_a_higher_limit_or_a_stop_looks_at_those_who_wait_again(health: Lakeside, limited: Path) -> None:
    health.lapsed(8)
    health.enrol()
    limited.write_text(limited.read_text().replace("per_site: 3", "per_site: 5"))

    health.start(limited)
    health.enrol()
    higher = enrolled(health)
    with health.engine.begin() as conn:
        halts.stop(conn, health.organisation, "welcome-back", who="Sam Reed", why="over", now=NOW)

    # two more: who began in the older version today counts
    assert higher == 5
    assert health.enrol() == {"no_campaign": 3}


def test_a_paused_campaign_lets_nobody_in(health: Lakeside) -> None:
    health.lapsed(4)
    health.enrol()
    with health.engine.begin() as conn:
        halts.pause(conn, health.organisation, "welcome-back", who="Sam Reed", why="not now", now=NOW)

    assert let_in(health, 1) == 0


def test_a_preview_spreads_the_beginnings_over_days(ledger: Engine, vault: Vault, limited: Path) -> None:
    health = Lakeside(ledger, vault, settle(ledger))
    health.lapsed(8)
    health.notice()

    options = {"ready": SYSTEMS, "public_url": "https://reach.example.org", "now": NOW}
    seen = preview(ledger, limited, None, STANDARD, **options)  # type: ignore[arg-type]

    begins = Counter((each.first_day - NOW.date()).days for each in seen.people if each.first_day is not None)
    assert sum(seen.enrolled.values(), Counter()).total() == 8
    assert set(begins) <= {0, 1, 2}
    assert max(begins.values()) <= 3


def test_two_that_enrol_at_once_let_in_no_more_than_one(postgres_url: str, vault: Vault, limited: Path) -> None:
    with unhurried(postgres_url) as engine:
        health = Lakeside(engine, vault, settle(engine))
        health.start(limited)
        health.lapsed(8)
        found = health.notice()
        first = engine.connect()
        enrolling.enrol_lapses(first, found[:4], SYSTEMS, STANDARD, NOW)

        def other() -> Counter[str]:
            with engine.begin() as conn:
                return enrolling.enrol_lapses(conn, found[4:], SYSTEMS, STANDARD, NOW)

        with behind(engine, first, other) as late:
            first.commit()
        first.close()

        assert late.result() == {"daily_limit": 4}
        assert enrolled(health) == 3


def test_the_ceiling_of_touches_in_a_file_is_where_every_claim_reads_it(
    ledger: Engine, vault: Vault, tmp_path: Path
) -> None:
    path = tmp_path / "ceiling.yaml"
    path.write_text(
        EXAMPLE.read_text().replace("graduate_after_days:", "daily_touches_per_site: 7\ngraduate_after_days:")
    )
    lakeside = Lakeside(ledger, vault, settle(ledger))

    lakeside.start(path)

    assert [each["daily_touches"] for each in lakeside.rows(campaigns.campaign)] == [7]
