"""Steps: which channel each takes, given what came of the earlier ones, and when the cadence is over."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rulebooks import DEFAULT_HOURS

from domain.rules.cadence import Cadence, channel_of, from_definition, over_after, plan, review_after
from domain.rules.steps import Answer, Heard, Silence, Step, from_entry

NOW = datetime(2026, 3, 4, 15, tzinfo=UTC)
DAY = timedelta(days=1)
BOTH = ("email", "phone", "sms")


def cadence(*entries: Any, **more: Any) -> Cadence:
    return from_definition(
        {
            "cadence": list(entries),
            "channels": ["sms", "email"],
            "send_at": ["10:30:00"],
            "graduate_after_days": 30,
            "reminder": {"every_months": 4, "at_most": 1},
            **more,
        }
    )


def channels(its: Cadence, reachable: tuple[str, ...] = BOTH, *, high_risk: bool = False, **heard: Any) -> list[Any]:
    return [
        channel_of(its, nth, reachable=reachable, preferred=None, high_risk=high_risk, heard=Heard(**heard))
        for nth in range(len(its.offsets))
    ]


def test_a_step_takes_the_first_of_its_own_channels_that_reaches_the_patient() -> None:
    its = cadence(0, {"day": 10, "channels": ["phone", "sms"]}, 30)

    assert channels(its) == ["sms", "phone", "sms"]
    assert channels(its, ("email", "sms")) == ["sms", "sms", "sms"]


def test_where_none_of_its_own_reaches_the_patient_it_takes_the_campaigns() -> None:
    assert channels(cadence(0, {"day": 10, "channels": ["phone"]}), ("email",)) == ["email", "email"]


def test_a_campaigns_own_preference_is_the_patients_and_a_steps_order_is_the_files() -> None:
    its = cadence(0, {"day": 10, "channels": ["sms", "email"]})

    found = [channel_of(its, nth, reachable=("email", "sms"), preferred="email", high_risk=False) for nth in range(2)]

    assert found == ["email", "sms"]


@pytest.mark.parametrize(
    ("silence", "heard", "is_so"),
    [
        ("no_reply", {}, True),
        ("no_reply", {"replied_at": NOW}, False),
        ("no_reply", {"clicked_at": NOW}, True),
        ("no_click", {}, True),
        ("no_click", {"clicked_at": NOW}, False),
        ("undelivered", {}, False),
        ("undelivered", {"is_undelivered": True}, True),
    ],
)
def test_a_step_escalates_where_the_earlier_ones_came_to_nothing(
    silence: str, heard: dict[str, Any], is_so: bool
) -> None:
    its = cadence(0, {"day": 10, "channels": ["phone"], "escalate_if": silence})

    assert Heard(**heard).shows(Silence(silence)) is is_so
    assert channels(its, **heard) == ["sms", "phone" if is_so else "email"]


def test_patients_at_high_risk_are_called_from_their_step_on_and_others_never() -> None:
    its = cadence(0, 10, 30, high_risk={"phone_from_step": 1})

    assert channels(its, high_risk=True) == ["sms", "phone", "phone"]
    assert channels(its) == ["sms", "email", "sms"]
    assert channels(its, ("email",), high_risk=True) == ["email", "email", "email"]
    assert its.every_channel == {"sms", "email", "phone"}


@given(
    zone=st.sampled_from(["America/New_York", "America/Denver", "America/Phoenix", "Pacific/Honolulu"]),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2029, 12, 31)).map(lambda at: at.replace(tzinfo=UTC)),  # noqa: DTZ001
    days=st.lists(st.integers(7, 70), min_size=1, max_size=5),
)
def test_steps_that_say_more_fall_where_plain_days_would(zone: str, start: datetime, days: list[int]) -> None:
    offsets = [0]
    for gap in days:
        offsets.append(offsets[-1] + gap)
    told: dict[str, Any] = {
        "start": start, "zone": zone, "hours": DEFAULT_HOURS, "reachable": BOTH, "preferred": None, "draw": 0.0
    }  # fmt: skip

    plain = plan(cadence(*offsets), **told)
    more = plan(
        cadence(0, *({"day": day, "channels": ["email"], "only_if": "no_reply"} for day in offsets[1:])), **told
    )

    assert [(each.step, each.due_at) for each in more] == [(each.step, each.due_at) for each in plain]
    assert {each.channel for each in more[1:]} == {"email"}
    assert {each.due_at.astimezone(ZoneInfo(zone)).time() for each in more} <= {time(10, 30), time(9), time(12)}


def test_only_touches_since_the_last_answer_of_the_kinds_that_count_are_unanswered() -> None:
    heard = Heard(
        replied_at=NOW + 15 * DAY,
        clicked_at=NOW + 35 * DAY,
        sent_at=tuple(NOW + days * DAY for days in (0, 10, 30, 60)),
    )

    assert heard.unanswered([Answer.REPLY]) == 2
    assert heard.unanswered([Answer.CLICK]) == 1
    assert heard.unanswered([Answer.REPLY, Answer.CLICK]) == 1
    assert Heard(sent_at=heard.sent_at).unanswered([Answer.REPLY, Answer.CLICK]) == 4


def test_a_campaign_is_looked_at_after_as_many_touches_as_may_go_unanswered() -> None:
    its = cadence(0, 10, 30, 60, 90, 120, graduation={"after_unanswered": 4})

    assert review_after(its, NOW) == NOW + (60 + 30) * DAY
    assert over_after(its, NOW) == NOW + (120 + 30) * DAY


@pytest.mark.parametrize(("months", "day"), [(6, datetime(2026, 9, 4, 15, tzinfo=UTC)), (12, NOW + 365 * DAY)])
def test_it_is_over_after_so_many_months_at_the_latest(months: int, day: datetime) -> None:
    its = cadence(0, 182 if months == 6 else 350, graduation={"within_months": months}, graduate_after_days=90)

    assert over_after(its, NOW) == day


def test_a_day_alone_is_a_step_that_says_nothing_more() -> None:
    assert from_entry(30) == Step(30) == from_entry({"day": 30})
    assert cadence(0, 30).steps == ()
