"""The guard's table: what is refused, what waits and how long, which reason wins, and what answers may do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from rulebooks import STANDARD

from domain.rules.blackouts import Blackout
from domain.rules.guard import RULES, Facts, decide, with_sent
from domain.rules.vocabulary import Never, Send, TouchKind, Wait

#: A Wednesday, ten in the morning in Denver.
NOW = datetime(2026, 3, 4, 17, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DENVER = ("America/Denver",)
TWO_DAYS = Blackout(((date(2026, 3, 4), date(2026, 3, 5)),))
FINE = Facts(kind=TouchKind.OUTREACH, expires_at=NOW + 30 * DAY, zones=DENVER, rules=STANDARD.in_force(None))

REFUSALS = [
    ({"expires_at": NOW}, "expired"),
    ({"deceased": True}, "deceased"),
    ({"merged": True}, "merged"),
    ({"live": False}, "enrolment_ended"),
    ({"unwanted": "unanswered"}, "unanswered"),
    ({"reachable": False}, "unreachable"),
    ({"suppressed_contact": True}, "suppressed_contact"),
    ({"suppressed_patient": True}, "suppressed_patient"),
    ({"consent_revoked": True}, "no_consent"),
]
NAMES = [why for _, why in REFUSALS]


def test_what_nothing_speaks_against_may_go_until_the_window_closes() -> None:
    assert decide(FINE, NOW) == Send(valid_until=datetime(2026, 3, 5, 3, tzinfo=UTC), rule="hours.default")


@pytest.mark.parametrize("kind", [TouchKind.OUTREACH, TouchKind.REMINDER])
@pytest.mark.parametrize(("facts", "why"), REFUSALS, ids=NAMES)
def test_each_refusal_is_for_ever_and_says_why(facts: dict[str, Any], why: str, kind: TouchKind) -> None:
    assert decide(replace(FINE, kind=kind, **facts), NOW) == Never(why, rule=RULES[why])


@pytest.mark.parametrize("stronger", range(len(REFUSALS) - 1), ids=NAMES[:-1])
def test_of_two_refusals_the_first_in_the_table_is_told(stronger: int) -> None:
    (first, why), (second, _) = REFUSALS[stronger], REFUSALS[stronger + 1]

    assert decide(replace(FINE, **first, **second), NOW) == Never(why, rule=RULES[why])


@pytest.mark.parametrize(("facts", "why"), REFUSALS, ids=NAMES)
def test_a_refusal_wins_over_everything_that_would_only_wait(facts: dict[str, Any], why: str) -> None:
    waiting = replace(FINE, channel_paused=True, sent_to_patient=(NOW,), appointment_ahead=NOW + DAY)

    assert decide(replace(waiting, **facts), NOW) == Never(why, rule=RULES[why])


@pytest.mark.parametrize(
    ("facts", "until", "why", "rule"),
    [
        ({"channel_paused": True}, NOW + timedelta(minutes=15), "channel_paused", "house.paused"),
        ({"choices_kept": True}, NOW + timedelta(seconds=5), "choices_kept", "house.kept"),
        ({"campaign_paused": True}, NOW + 4 * HOUR, "campaign_paused", "house.campaign"),
        # two silent days, a Wednesday and a Thursday: on to Friday, nine o'clock
        ({"blackout": TWO_DAYS}, datetime(2026, 3, 6, 16, tzinfo=UTC), "blackout", "house.blackout"),
        ({"appointment_ahead": NOW + 2 * DAY}, NOW + 3 * DAY, "booked", "house.booked"),
        ({"appointment_ahead": NOW}, NOW + DAY, "booked", "house.booked"),
        ({"sent_to_patient": (NOW - HOUR,)}, NOW + 23 * HOUR, "cap_day", "caps.person.day"),
        (
            {"sent_to_household": (NOW - HOUR, NOW - HOUR)},
            NOW + 23 * HOUR,
            "cap_household_day",
            "caps.household.day",
        ),
        ({"sent_to_contact": (NOW - HOUR,)}, NOW + 23 * HOUR, "cap_contact_day", "caps.contact.day"),
        # the week's end is a Sunday before noon: on to twelve o'clock in Denver (MDT by then)
        (
            {"sent_to_patient": (NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY)},
            datetime(2026, 3, 8, 18, tzinfo=UTC),
            "cap_week",
            "caps.person.week",
        ),
        (
            {"sent_to_contact": (NOW - 6 * DAY, NOW - 5 * DAY, NOW - 4 * DAY)},
            NOW + DAY,
            "cap_contact_week",
            "caps.contact.week",
        ),
    ],
)
def test_each_wait_names_its_instant_its_reason_and_its_rule(
    facts: dict[str, Any], until: datetime, why: str, rule: str
) -> None:
    assert decide(replace(FINE, **facts), NOW) == Wait(until, why, rule)


def test_quiet_hours_wait_for_the_very_instant_of_opening() -> None:
    night = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)

    assert decide(FINE, night) == Wait(datetime(2026, 3, 5, 16, tzinfo=UTC), "quiet_hours", "hours.default")


def test_the_longest_wait_wins_and_is_pushed_into_allowed_hours_under_its_own_reason() -> None:
    evening = NOW + 9 * HOUR
    facts = replace(FINE, channel_paused=True, sent_to_patient=(evening - 21 * HOUR,))

    assert decide(facts, evening) == Wait(datetime(2026, 3, 5, 16, tzinfo=UTC), "cap_day", "caps.person.day")


def test_every_candidate_zone_must_allow_the_instant() -> None:
    both = replace(FINE, zones=("America/Denver", "America/Los_Angeles"))

    assert decide(both, NOW - timedelta(minutes=1)) == Wait(NOW, "quiet_hours", "hours.default")
    assert decide(both, NOW) == Send(valid_until=datetime(2026, 3, 5, 3, tzinfo=UTC), rule="hours.default")


@pytest.mark.parametrize(
    ("zones", "rule"), [((), "house.reachable"), (("America/New_York", "Asia/Shanghai"), "hours.default")]
)
def test_without_a_zone_or_a_common_hour_nobody_is_ever_contacted(zones: tuple[str, ...], rule: str) -> None:
    assert decide(replace(FINE, zones=zones), NOW) == Never("no_common_hour", rule=rule)


def test_a_wait_that_outlasts_the_touch_is_a_never() -> None:
    capped = replace(FINE, sent_to_patient=(NOW - HOUR,))

    assert decide(replace(capped, expires_at=NOW + 23 * HOUR), NOW) == Never(
        "expired", waited_for="cap_day", rule="caps.person.day"
    )
    assert decide(replace(capped, expires_at=NOW + 23 * HOUR + timedelta(seconds=1)), NOW) == Wait(
        NOW + 23 * HOUR, "cap_day", "caps.person.day"
    )


def test_a_touch_found_too_late_keeps_what_it_had_waited_for() -> None:
    late = replace(FINE, expires_at=NOW, waited_for="pacing")

    assert decide(late, NOW) == Never("expired", waited_for="pacing", rule="house.expired")
    assert decide(replace(late, expires_at=NOW + DAY, deceased=True), NOW) == Never("deceased", rule="house.deceased")


def test_what_an_appointment_already_passed_no_longer_holds_back() -> None:
    assert isinstance(decide(replace(FINE, appointment_ahead=NOW - HOUR), NOW), Send)


def test_a_send_of_the_same_claim_counts_at_once() -> None:
    again = with_sent(FINE, to_patient=[], to_household=[], to_contact=[NOW])

    assert isinstance(decide(FINE, NOW), Send)
    assert decide(again, NOW) == Wait(NOW + DAY, "cap_contact_day", "caps.contact.day")


ANSWER = replace(FINE, kind=TouchKind.ANSWER, expires_at=NOW + timedelta(minutes=5))


@pytest.mark.parametrize("answer", ["opt_out_confirmation", "opt_in_confirmation", "help", "booking_link"])
def test_an_answer_goes_at_any_hour_and_past_every_cap_and_pause(answer: str) -> None:
    night = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
    facts = replace(
        ANSWER,
        answer=answer,
        expires_at=night + timedelta(minutes=5),
        sent_to_patient=(night,) * 3,
        sent_to_contact=(night,) * 3,
        appointment_ahead=night + DAY,
        channel_paused=True,
        zones=(),
    )

    assert decide(facts, night) == Send(valid_until=night + timedelta(minutes=5), rule="hours.answers")


@pytest.mark.parametrize("stop", ["suppressed_contact", "suppressed_patient", "consent_revoked"])
@pytest.mark.parametrize(
    ("answer", "goes"),
    [("opt_out_confirmation", True), ("help", True), ("booking_link", False), ("opt_in_confirmation", False)],
)
def test_only_the_confirmation_and_help_reach_someone_who_opted_out(stop: str, answer: str, goes: bool) -> None:
    decision = decide(replace(ANSWER, answer=answer, **{stop: True}), NOW)

    assert isinstance(decision, Send if goes else Never)


@pytest.mark.parametrize(
    ("answer", "decision"),
    [("opt_out_confirmation", Send), ("help", Send), ("booking_link", Wait), ("opt_in_confirmation", Wait)],
)
def test_while_choices_may_be_kept_elsewhere_only_what_may_follow_an_opt_out_goes(answer: str, decision: type) -> None:
    assert isinstance(decide(replace(ANSWER, answer=answer, choices_kept=True), NOW), decision)


@pytest.mark.parametrize("kind", [TouchKind.OUTREACH, TouchKind.REMINDER])
def test_no_outreach_borrows_an_answers_exemption(kind: TouchKind) -> None:
    posing = replace(FINE, kind=kind, answer="help", suppressed_contact=True)

    assert decide(posing, NOW) == Never("suppressed_contact", rule="opting_out.honour")


@pytest.mark.parametrize(("facts", "why"), [each for each in REFUSALS[:5] if each[1] != "merged"])
def test_even_a_confirmation_is_not_sent_late_nor_to_the_dead(facts: dict[str, Any], why: str) -> None:
    assert decide(replace(ANSWER, answer="opt_out_confirmation", **facts), NOW) == Never(why, rule=RULES[why])


@pytest.mark.parametrize(
    ("answer", "goes"),
    [("opt_out_confirmation", True), ("help", True), ("emergency", True), ("booking_link", False)],
)
def test_what_is_for_the_number_that_wrote_goes_though_its_record_was_merged(answer: str, goes: bool) -> None:
    decision = decide(replace(ANSWER, answer=answer, merged=True), NOW)

    assert isinstance(decision, Send) if goes else decision == Never("merged", rule="house.merged")
