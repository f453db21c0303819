"""A campaign paced by open slots enrols, and hands out, no more than the slots of a site and line will take."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from lakeside import settle
from rulebooks import STANDARD
from sqlalchemy import Engine, select, update
from welcome_back import EXAMPLE, SYSTEMS, Lakeside

from domain.ledger import campaigns, claims, rooms, slots
from domain.ledger.enrolments import enrolment
from domain.ledger.explain import explain
from domain.ledger.lapses import lapse
from domain.ledger.organisations import site
from domain.ledger.patients import patient
from domain.ledger.slots import SlotNews, monday
from domain.ledger.store import reading
from domain.ledger.touches import touch, touch_event
from domain.ledger.vault import Vault
from ops.cli.previewing import preview_as_dict, preview_lines
from producers.preview import preview

DAY = timedelta(days=1)
#: Ten in the morning in Denver.
MONDAY = datetime(2026, 3, 2, 17, tzinfo=UTC)
THIS_WEEK = monday(MONDAY.date())


def a_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "paced.yaml"
    text = EXAMPLE.read_text().replace("graduate_after_days:", "\n".join((*lines, "graduate_after_days:")), 1)
    path.write_text(text)
    return path


@pytest.fixture
def health(ledger: Engine, vault: Vault, tmp_path: Path) -> Lakeside:
    """Lakeside Health with a campaign running that is paced by open slots, half a booking expected of a touch."""
    lakeside = Lakeside(ledger, vault, settle(ledger))
    lakeside.start(a_file(tmp_path, "pace: {by: open_slots, bookings_per_touch: 0.5}"))
    return lakeside


def tell(
    health: Lakeside, open_: int, week: date = THIS_WEEK, line: str = "primary_care", now: datetime = MONDAY
) -> None:
    with health.engine.begin() as conn:
        main = conn.scalars(select(site.c.id).where(site.c.key == "main")).one()
        slots.tell(conn, [SlotNews(main, line, week, open_)], now)


def let_in(health: Lakeside, now: datetime) -> int:
    with health.engine.begin() as conn:
        return rooms.let_in(conn, campaigns.running(conn), now)


def enrolled(health: Lakeside) -> int:
    return len(health.rows(enrolment))


def test_as_many_begin_as_the_open_slots_are_expected_to_take(health: Lakeside) -> None:
    tell(health, 2)
    health.lapsed(7)

    done = Counter(health.enrol(MONDAY))

    assert done["no_open_slots"] == 3
    assert done["treatment"] + done["holdout"] == enrolled(health) == 4


def test_where_nobody_told_nobody_begins_until_somebody_does(health: Lakeside) -> None:
    health.lapsed(3)
    assert health.enrol(MONDAY) == {"open_slots_unknown": 3}
    assert let_in(health, MONDAY) == 0

    tell(health, 1)

    assert let_in(health, MONDAY) == 2
    health.enrol(MONDAY)
    assert enrolled(health) == 2
    with reading(health.engine) as conn:
        waits = conn.scalar(
            select(patient.c.ref).join(lapse, lapse.c.patient_id == patient.c.id).where(lapse.c.declined.is_not(None))
        )
        said = "\n".join(explain(conn, str(waits), MONDAY).lines())
    assert "not enrolled: nobody told how many open slots the site has this week, so it waits" in said


def test_slots_of_another_line_or_week_are_none(health: Lakeside) -> None:
    tell(health, 9, line="dental")
    tell(health, 9, week=THIS_WEEK + 7 * DAY)
    health.lapsed(2)

    assert health.enrol(MONDAY) == {"open_slots_unknown": 2}


def test_what_is_late_or_planned_into_the_week_takes_its_slots_first(health: Lakeside) -> None:
    tell(health, 1)
    health.lapsed(5)
    health.enrol(MONDAY)
    # nobody sent their first touch, and the second comes ten days later
    planned = len([each for each in health.rows(touch) if each["step"] < 2])
    next_week = MONDAY + 7 * DAY

    tell(health, 2, week=THIS_WEEK + 7 * DAY)
    full = let_in(health, next_week)
    tell(health, 3, week=THIS_WEEK + 7 * DAY)

    assert planned == 4
    assert (full, let_in(health, next_week)) == (0, 2)


def test_on_a_sunday_the_coming_week_must_have_room_as_well(health: Lakeside) -> None:
    sunday = MONDAY + 6 * DAY
    tell(health, 9)
    tell(health, 1, week=THIS_WEEK + 7 * DAY)
    health.lapsed(5)

    health.enrol(sunday)

    assert enrolled(health) == 2


def test_a_file_may_fall_back_on_its_daily_limit_and_says_so(ledger: Engine, vault: Vault, tmp_path: Path) -> None:
    lakeside = Lakeside(ledger, vault, settle(ledger))
    pace = "pace: {by: open_slots, when_unknown: daily_enrolments}"
    lakeside.start(a_file(tmp_path, "daily_enrolments_per_site: 3", pace))
    lakeside.lapsed(5)

    done = Counter(lakeside.enrol(MONDAY))

    assert done["daily_limit"] == 2
    assert enrolled(lakeside) == 3


def claim(health: Lakeside, now: datetime) -> claims.Claim:
    with health.engine.begin() as conn:
        ids = [each["id"] for each in health.rows(touch, state="planned", channel="sms")]
        return claims.claim(conn, ids, channel="sms", system="phone", systems=SYSTEMS, rules=STANDARD, now=now)


def test_touches_beyond_the_slots_of_the_week_wait_for_the_next_and_expire_with_their_days(health: Lakeside) -> None:
    tell(health, 2)
    health.lapsed(4)
    health.enrol(MONDAY)
    health.into("treatment")
    tell(health, 1)
    at = MONDAY + timedelta(hours=1)
    with health.engine.begin() as conn:
        conn.execute(
            update(touch).where(touch.c.step == 0).values(due_at=MONDAY, channel="sms", expires_at=MONDAY + 9 * DAY)
        )
    texts_count = len(health.rows(touch, step=0))

    made = claim(health, at)

    # eleven in the morning there, after the clocks have changed
    again = datetime(2026, 3, 9, 17, tzinfo=UTC)
    assert texts_count > 2
    assert len(made.claimed) == 2
    assert [(wait.why, wait.rule, wait.until) for _, wait in made.waits] == [
        ("slots_full", "house.open-slots", again)
    ] * (texts_count - 2)
    told = [each["reason"] for each in health.rows(touch_event)]
    assert told == ["slots_full"] * (texts_count - 2)


def test_where_nobody_told_of_the_week_touches_of_those_enrolled_go_on(health: Lakeside) -> None:
    tell(health, 1)
    health.lapsed(2)
    health.enrol(MONDAY)
    health.into("treatment")
    later = MONDAY + 7 * DAY
    with health.engine.begin() as conn:
        conn.execute(
            update(touch).where(touch.c.step == 0).values(due_at=later, channel="sms", expires_at=later + 5 * DAY)
        )

    assert len(claim(health, later).claimed) == len(health.rows(touch, step=0))


def test_a_preview_tells_who_is_held_back_where_and_why(ledger: Engine, vault: Vault, tmp_path: Path) -> None:
    lakeside = Lakeside(ledger, vault, settle(ledger))
    path = a_file(tmp_path, "pace: {by: open_slots, bookings_per_touch: 0.5}")
    lakeside.lapsed(5)
    lakeside.notice(MONDAY)

    def told() -> tuple[str, dict[str, object]]:
        seen = preview(ledger, path, None, STANDARD, ready=SYSTEMS, public_url="https://reach.example.org", now=MONDAY)
        return "\n".join(preview_lines(seen)), preview_as_dict(seen)

    unknown, _ = told()
    tell(lakeside, 1)
    known, machine = told()

    assert "held back: nobody told how many slots are open at main for primary_care: 5" in unknown
    assert "held back: no open slots at main for primary_care: 3" in known
    assert machine["held_back"] == [
        {"reason": "no_open_slots", "site": "main", "service_line": "primary_care", "lapses": 3}
    ]


def test_what_is_told_again_replaces_what_was_told(health: Lakeside) -> None:
    tell(health, 5)
    tell(health, 3, now=MONDAY + DAY)

    with reading(health.engine) as conn:
        found = slots.listed(conn, health.organisation, MONDAY.date())

    assert [(each.key, each.service_line, each.week, each.open) for each in found] == [
        ("main", "primary_care", THIS_WEEK, 3)
    ]
