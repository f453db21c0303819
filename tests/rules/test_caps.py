"""Caps over rolling windows, against a walk over every minute of three weeks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from rulebooks import STANDARD

from domain.rules.caps import Block, Cap, blocked_until

START = datetime(2026, 3, 2, 17, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PATIENT_CAPS, CONTACT_CAPS = STANDARD.in_force(None).person_caps, STANDARD.in_force(None).contact_caps


def is_over(now: datetime, sent: list[datetime], caps: tuple[Cap, ...]) -> bool:
    """Whether one more at `now` would make some window, open at its old end, hold more than its cap."""
    return any(sum(now - cap.window < each <= now for each in sent) + 1 > cap.count for cap in caps)


@settings(max_examples=150, deadline=None)
@given(hours=st.lists(st.integers(0, 240), max_size=8), later=st.integers(0, 300))
def test_a_block_ends_at_the_first_hour_at_which_one_more_breaks_no_cap(hours: list[int], later: int) -> None:
    now = START + later * HOUR
    sent = [START + each * HOUR for each in hours if each <= later]

    block = blocked_until(now, sent, PATIENT_CAPS)

    free = now
    while is_over(free, sent, PATIENT_CAPS):
        free += HOUR
    assert (now if block is None else block.until) == free


@settings(max_examples=60, deadline=None)
@given(gaps=st.lists(st.integers(0, 60), min_size=1, max_size=15))
def test_whoever_waits_as_told_never_breaks_a_cap(gaps: list[int]) -> None:
    now, sent = START, []
    for gap in gaps:
        now += gap * HOUR
        while (block := blocked_until(now, sent, PATIENT_CAPS)) is not None:
            now = block.until
        sent.append(now)

    for cap in PATIENT_CAPS:
        assert all(sum(each <= other < each + cap.window for other in sent) <= cap.count for each in sent)


def test_exactly_a_day_later_is_allowed_and_a_moment_sooner_is_not() -> None:
    moment = timedelta(microseconds=1)

    assert blocked_until(START + DAY, [START], PATIENT_CAPS) is None
    assert blocked_until(START + DAY - moment, [START], PATIENT_CAPS) == Block(
        START + DAY, "cap_day", "caps.person.day"
    )


def test_the_fourth_in_a_week_waits_until_the_first_is_a_week_old() -> None:
    sent = [START, START + 2 * DAY, START + 4 * DAY]

    assert blocked_until(START + 6 * DAY, sent, PATIENT_CAPS) == Block(START + 7 * DAY, "cap_week", "caps.person.week")
    assert blocked_until(START + 7 * DAY, sent, PATIENT_CAPS) is None


def test_the_later_of_two_blocks_names_the_rule() -> None:
    sent = [START, START + DAY, START + 2 * DAY]

    block = blocked_until(START + 2 * DAY + HOUR, sent, CONTACT_CAPS)

    assert block == Block(START + 7 * DAY, "cap_contact_week", "caps.contact.week")


def test_nothing_sent_blocks_nothing_and_old_sends_are_forgotten() -> None:
    assert blocked_until(START, [], PATIENT_CAPS) is None
    assert blocked_until(START, [START - STANDARD.longest_cap] * 9, PATIENT_CAPS) is None
