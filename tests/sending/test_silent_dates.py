"""On a campaign's blackout dates nothing of it is sent, even if it was due or queued before; other days go on."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from household import NOW, StoppedClock, row, rows
from lakeside import settle
from practice import Desk, Practice, Provider
from sqlalchemy import Engine, update
from welcome_back import EXAMPLE, Lakeside

from domain.ledger.campaigns import campaign
from domain.ledger.touches import touch, touch_event
from domain.ledger.vault import Vault

TODAY = date(2026, 3, 4)


def silence(ledger: Engine, first: date, last: date) -> None:
    with ledger.begin() as conn:
        conn.execute(update(campaign).values(blackout=f"{first}/{last}"))


def test_a_touch_waits_for_the_end_of_the_blackout_and_then_goes(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider, clock: StoppedClock
) -> None:
    who = practice.person()
    silence(ledger, TODAY, TODAY + timedelta(days=1))

    desk.worker(provider).send([who.touch])
    held, told = row(ledger, touch, who.touch), rows(ledger, touch_event, touch_id=who.touch)
    clock.at = held["due_at"]
    desk.worker(provider).send([who.touch])

    assert (held["state"], held["reason"]) == ("planned", "blackout")
    assert held["due_at"].date() == TODAY + timedelta(days=2)
    assert [each["rule"] for each in told] == ["house.blackout"]
    assert provider.called == {who.number: 1}


@pytest.mark.parametrize("day", [TODAY - timedelta(days=1), TODAY + timedelta(days=1)])
def test_on_other_days_it_goes(ledger: Engine, practice: Practice, desk: Desk, provider: Provider, day: date) -> None:
    who = practice.person()
    silence(ledger, day, day)

    desk.worker(provider).send([who.touch])

    assert provider.called == {who.number: 1}


def test_what_a_long_blackout_outlasts_expires(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    silence(ledger, TODAY, TODAY + timedelta(days=9))

    desk.worker(provider).send([who.touch])

    assert row(ledger, touch, who.touch)["state"] == "expired"
    assert [each["reason"] for each in rows(ledger, touch_event, touch_id=who.touch)] == ["blackout"]


def test_an_answer_to_a_patient_goes_on_any_day(
    ledger: Engine, practice: Practice, desk: Desk, provider: Provider
) -> None:
    who = practice.person()
    silence(ledger, TODAY, TODAY)
    answer = practice.plan(
        who.id, None, kind="answer", answer="help", contact_point_id=who.phone, expires_at=NOW + timedelta(minutes=5)
    )

    desk.worker(provider).send([answer])

    assert provider.called == {who.number: 1}


def test_the_dates_of_a_file_are_kept_with_its_version_and_nothing_is_planned_on_them(
    ledger: Engine, vault: Vault, tmp_path: Path
) -> None:
    health = Lakeside(ledger, vault, settle(ledger))
    path = tmp_path / "silent.yaml"
    days = "blackout: [2026-03-31, {first: 2026-03-01, last: 2026-03-03}]"
    path.write_text(EXAMPLE.read_text().replace("graduate_after_days:", f"{days}\ngraduate_after_days:"))
    health.start(path)
    health.lapsed(5)
    health.enrol()

    planned = {each["due_at"].date() for each in health.rows(touch)}

    assert health.only(campaign)["blackout"] == "2026-03-01/2026-03-03 2026-03-31/2026-03-31"
    assert min(planned) == date(2026, 3, 4)
    assert date(2026, 3, 31) not in planned
