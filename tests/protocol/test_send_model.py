"""Every interleaving of a small model of the send protocol keeps the promises; without any one part, one is broken."""

from __future__ import annotations

import sys
from dataclasses import fields, replace

import pytest
from exploring import LOST_TOUCH, Explored, explore
from send_model import AT_REST, Protocol

#: What the protocol is left without -> what then goes wrong.
PARTS = {
    "claim_asks_for_planned": "accepted twice",
    "claim_asks_for_choices": "claimed after an opt-out",
    "claim_asks_for_visits": "claimed with an appointment ahead",
    "checks_lease": "called without a lease",
    "checks_again": "called after an opt-out",
    "finish_is_fenced": "accepted became uncertain",
    "uncertain_rests": "accepted twice",
    "reaps": LOST_TOUCH,
    "reaps_by_lease": "called without a lease",
    "reaped_is_uncertain": "accepted twice",
    "receipts_settle": "a receipt changed nothing",
    "asks_by_own_link": "what nobody accepted is accepted",
    "absence_takes_a_day": "what was accepted is rejected",
    "hints_expire": LOST_TOUCH,
    "provider_is_honest": "accepted twice",
    "adjacent_lines_take_no_time": "called after an opt-out",
}


def test_no_interleaving_of_two_workers_a_crash_an_opt_out_a_booking_and_a_receipt_breaks_a_promise(
    explored: Explored,
) -> None:
    sys.stdout.write(f"\n{explored}\n")

    assert explored.violations == {}
    assert {*explored.by_touch} == AT_REST | {"planned", "sending"}
    assert len(explored.came_by) > 50_000


@pytest.mark.parametrize(("part", "violation"), PARTS.items())
def test_without_any_one_part_of_the_protocol_a_promise_is_broken(part: str, violation: str) -> None:
    repeats = 0 if violation == LOST_TOUCH else 1
    found = explore(replace(Protocol(repeats=repeats), **{part: False}), looking_for=violation)

    sys.stdout.write(f"\nwithout {part}: {found}\n")
    assert [*found.violations] == [violation]


def test_every_part_of_the_protocol_is_left_out_once() -> None:
    assert {each.name for each in fields(Protocol)} - {"crashes", "wipes", "repeats"} == {*PARTS}


def test_a_process_that_stands_still_between_its_look_and_its_call_still_sends_nothing_twice() -> None:
    found = explore(Protocol(adjacent_lines_take_no_time=False, wipes=0, repeats=0), looking_for="accepted twice")

    sys.stdout.write(f"\n{found}\n")
    assert found.violations == {}
