"""What a provider's list proves of an uncertain send, and what it leaves open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.rules.asking import ABSENT_AFTER, Answered, Asked, Listed, Said, Span, judge

NOON = datetime(2026, 3, 4, 12, 0, 0, 700_000, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
SPAN = Span(NOON, NOON + MINUTE)
EARLY, LATE = NOON + 15 * MINUTE, SPAN.lease_until + ABSENT_AFTER
MINE, ANOTHERS, NO_LINK = frozenset({7}), frozenset({8}), frozenset[int]()


def listed(touches: frozenset[int], at: datetime = NOON, ref: str = "SM1") -> Listed:
    return Listed(ref, at, touches, "sent")


def said(
    *messages: Listed, now: datetime, is_whole: bool = True, kind: str = "cadence", others: tuple[Span, ...] = ()
) -> Said:
    return judge(Asked(7, kind, SPAN, others), Answered(messages, is_whole), now)[0]


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("now", [EARLY, LATE])
def test_its_own_link_proves_it_at_any_time_and_in_any_part_of_the_list(now: datetime, is_whole: bool) -> None:
    own = listed(MINE)

    assert judge(Asked(7, "cadence", SPAN, ()), Answered([listed(ANOTHERS), own], is_whole), now) == (Said.TAKEN, own)


@pytest.mark.parametrize("touches", [ANOTHERS, NO_LINK])
def test_any_other_message_proves_nothing_within_the_day(touches: frozenset[int]) -> None:
    assert said(listed(touches), now=EARLY) is Said.NOTHING


@pytest.mark.parametrize(
    ("now", "is_whole", "expected"),
    [
        (EARLY, True, Said.NOTHING),
        (LATE - SECOND, True, Said.NOTHING),
        (LATE, True, Said.NEVER_TAKEN),
        (LATE, False, Said.NOTHING),
    ],
)
def test_absence_proves_it_after_a_day_and_only_in_a_whole_list(now: datetime, is_whole: bool, expected: Said) -> None:
    assert said(now=now, is_whole=is_whole) is expected


@pytest.mark.parametrize(
    ("touches", "at", "kind", "expected"),
    [
        (ANOTHERS, NOON, "cadence", Said.NEVER_TAKEN),
        (ANOTHERS, NOON, "answer", Said.NOTHING),
        (NO_LINK, NOON, "cadence", Said.NOTHING),
        (NO_LINK, NOON - MINUTE, "answer", Said.NOTHING),
        (NO_LINK, NOON + 2 * MINUTE, "answer", Said.NOTHING),
        (NO_LINK, NOON - MINUTE - SECOND, "answer", Said.NEVER_TAKEN),
        (NO_LINK, NOON + 2 * MINUTE + SECOND, "cadence", Said.NEVER_TAKEN),
    ],
)
def test_a_message_at_its_time_that_may_be_it_keeps_it_open(
    touches: frozenset[int], at: datetime, kind: str, expected: Said
) -> None:
    assert said(listed(touches, at), now=LATE, kind=kind) is expected


@pytest.mark.parametrize(
    ("at", "others", "expected"),
    [
        (NOON.replace(microsecond=0), (Span(NOON - 9 * MINUTE, NOON - 8 * MINUTE),), Said.TAKEN),
        (NOON - 9 * MINUTE, (Span(NOON - 9 * MINUTE, NOON - 8 * MINUTE),), Said.NOTHING),
        (NOON, (Span(NOON - MINUTE, NOON),), Said.NOTHING),
    ],
)
def test_of_several_attempts_only_the_one_whose_time_it_was_is_proven(
    at: datetime, others: tuple[Span, ...], expected: Said
) -> None:
    assert said(listed(MINE, at), now=LATE, others=others) is expected


def test_two_messages_with_its_link_are_not_told_apart() -> None:
    assert said(listed(MINE), listed(MINE, ref="SM2"), now=LATE) is Said.NOTHING
