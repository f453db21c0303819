"""A preview tells what a start would do, and then the start does it; the preview itself changes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lakeside import NOW, settle, take, visit_of
from rulebooks import STANDARD
from sqlalchemy import Engine, func, select, update
from welcome_back import AWAY, EXAMPLE, SYSTEMS, Lakeside

from domain.ledger.campaigns import campaign
from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.organisations import site
from domain.ledger.patients import patient
from domain.ledger.store import reading
from domain.ledger.tables import metadata
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from domain.rules.vocabulary import ServiceLine
from ops.cli.previewing import preview_lines
from producers.preview import Preview, preview

DAY = timedelta(days=1)


@pytest.fixture
def health(ledger: Engine, vault: Vault) -> Lakeside:
    """Lakeside Health, no campaign running."""
    return Lakeside(ledger, vault, settle(ledger))


def seen(health: Lakeside, path: Path = EXAMPLE, **more: Any) -> Preview:
    options = {"ready": SYSTEMS, "public_url": "https://reach.example.org", "now": NOW} | more
    return preview(health.engine, path, None, STANDARD, **options)


def contents(engine: Engine) -> dict[str, int]:
    with reading(engine) as conn:
        return {name: conn.scalar(select(func.count()).select_from(table)) for name, table in metadata.tables.items()}


def changed(tmp_path: Path, before: str, after: str) -> Path:
    path = tmp_path / "changed.yaml"
    text = EXAMPLE.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    return path


def test_what_a_preview_foresees_is_what_the_start_then_does(health: Lakeside) -> None:
    health.lapsed(20, mail=True, language="es")
    health.lapsed(10)
    health.lapsed(3, phone=False)
    health.notice()

    before = seen(health)
    health.start()
    done = health.enrol()

    assert sum(before.enrolled.values(), Counter()) == {arm: done[arm] for arm in ("treatment", "holdout")}
    assert before.declined == {"unreachable": done["unreachable"]} == {"unreachable": 3}
    planned = Counter((each["kind"], each["step"], each["channel"]) for each in health.rows(touch))
    told: Counter[tuple[str, int, str]] = Counter()
    for (kind, step, said), messages in before.said.items():
        if kind == "outreach":
            told[kind, step, said.channel] += messages
    assert told == planned
    days = Counter((each["due_at"].date(), each["channel"]) for each in health.rows(touch))
    assert {key: before.days[key[0]][key[1]] for key in days} == days


def test_a_preview_writes_nothing(health: Lakeside) -> None:
    health.lapsed(3)
    health.notice()
    before = contents(health.engine)

    seen(health)

    assert contents(health.engine) == before
    assert {each["decided_at"] for each in health.rows(lapse)} == {None}


def test_texts_are_counted_in_the_patients_own_language_as_they_will_be_sent(health: Lakeside) -> None:
    health.lapsed(4, language="es")
    health.lapsed(4, language="fr")
    health.notice()

    costs = [each for each in seen(health).costs() if each["step"] == 0]

    assert [(each["channel"], each["language"]) for each in costs] == [("sms", "en"), ("sms", "es")]
    assert all(each["segments"] == each["messages"] > 0 for each in costs)


def test_a_longer_text_costs_more_segments(health: Lakeside, tmp_path: Path) -> None:
    health.lapsed(4)
    health.notice()
    words = "it has been a while, and we would love to see you."
    longer = changed(tmp_path, words, f"{words} We are glad to help with getting here, and the parking is free.")

    short, long = seen(health), seen(health, longer)

    assert short.segments == short.said.total() > 0
    assert long.segments == 2 * short.segments


def test_who_is_enrolled_already_or_belongs_to_another_campaign_is_told_so(health: Lakeside, tmp_path: Path) -> None:
    health.lapsed(2)
    health.start()
    health.enrol()
    health.lapsed(3)
    health.notice()

    same = seen(health)
    other = seen(health, changed(tmp_path, "campaign: welcome-back", "campaign: another"))

    assert (same.version, same.declined) == (2, {"goes_on": 2})
    assert sum(same.enrolled.values(), Counter()).total() == 3
    assert (other.version, other.declined) == (1, {"in_another_campaign": 2, "other_campaign": 3})
    assert len(health.rows(enrolment)) == 2
    assert (other.elsewhere, other.elsewhere_until) == ({"welcome-back": 2}, {"welcome-back": date(2026, 9, 27)})
    assert "  in another campaign: welcome-back: 2, until 2026-09-27 at least, if nobody answers" in preview_lines(
        other
    )


def test_who_left_another_campaign_is_told_apart_from_who_is_in_it(health: Lakeside, tmp_path: Path) -> None:
    health.lapsed(1)
    health.start()
    health.enrol()
    with health.engine.begin() as conn:
        conn.execute(update(enrolment).values(ended_at=NOW, state="finished", review_at=None))

    same, other = seen(health), seen(health, changed(tmp_path, "campaign: welcome-back", "campaign: another"))

    assert same.declined == {"had_its_turn": 1}
    assert other.declined == {"in_another_campaign": 1}
    assert "  in another campaign: welcome-back: 1, ended there by now" in preview_lines(other)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whoever_lapsed_gets_what_the_preview_said_for_the_reason_it_said(
    health: Lakeside, tmp_path: Path, seed: int
) -> None:
    drawn = Random(seed)  # noqa: S311 - a fixed population
    earlier = changed(tmp_path, "[primary_care, dental, chronic_care]", "[dental]")
    earlier = earlier.rename(tmp_path / "dental.yaml")
    earlier.write_text(earlier.read_text().replace("campaign: welcome-back", "campaign: dental-only"))
    people(health, drawn, 12)
    if drawn.random() < 0.7:
        health.start(earlier)
    if drawn.random() < 0.7:
        health.start()
    health.enrol()
    people(health, drawn, 25)
    health.notice()
    changing = changed(tmp_path, "holdout: 0.10", f"holdout: {drawn.choice([0.01, 0.2, 0.5])}")

    said = seen(health, changing)
    health.start(changing)
    health.enrol()

    done = outcomes(health)
    assert {(each.patient, each.service_line) for each in said.people} == set(done)
    for each in said.people:
        real = done[each.patient, each.service_line]
        first = real["days"][0] if real["days"] else None
        if each.outcome in {"other_campaign", "in_another_campaign"}:
            assert real["campaign"] != "welcome-back"
        else:
            assert (each.outcome, each.first_day) == (real["what"], first if real["is_new"] else None)
            assert each.messages == (len(real["days"]) + 3 if real["days"] and real["is_new"] else 0)


def people(health: Lakeside, drawn: Random, count: int) -> None:
    """So many who are away, some from the dentist as well, some whom nothing reaches."""
    for _ in range(count):
        reached = drawn.choice([(True, True), (True, False), (False, True), (False, False)])
        (number,) = health.lapsed(phone=reached[0], mail=reached[1], language=drawn.choice(["en", "es"]))
        if drawn.random() < 0.4:
            teeth = visit_of(health.organisation, number, AWAY, service_line=ServiceLine.DENTAL, source_id=f"t{number}")
            take(health.engine, health.vault, teeth, now=AWAY)


def outcomes(health: Lakeside) -> dict[tuple[str, str], dict[str, Any]]:
    """What became of each lapse."""
    refs = {each["id"]: each["ref"] for each in health.rows(patient)}
    newest = max(each["id"] for each in health.rows(campaign))
    found: dict[tuple[str, str], dict[str, Any]] = {}
    days: defaultdict[int, list[date]] = defaultdict(list)
    for each in health.rows(touch):
        days[each["enrolment_id"]].append(each["due_at"].astimezone(ZoneInfo("America/Denver")).date())
    by_lapse = {each["lapse_id"]: each for each in health.rows(enrolment)}
    by_patient = {each["patient_id"]: each for each in by_lapse.values()}
    for each in health.rows(lapse):
        own = by_lapse.get(each["id"])
        its = own or by_patient.get(each["patient_id"])
        is_new = own is not None and own["campaign_id"] == newest
        found[refs[each["patient_id"]], each["service_line"]] = {
            "campaign": its["campaign_key"] if its else None,
            "what": each["declined"] or (own["arm"] if is_new else "goes_on"),
            "days": sorted(days[own["id"]]) if own else [],
            "is_new": is_new,
        }
    return found


@pytest.mark.parametrize("whose", ["campaign", "site"])
def test_what_a_day_cannot_take_is_told_on_the_days_after_it(health: Lakeside, tmp_path: Path, whose: str) -> None:
    health.lapsed(12)
    health.notice()
    if whose == "campaign":
        path = changed(tmp_path, "graduate_after_days:", "daily_touches_per_site: 4\ngraduate_after_days:")
    else:
        path = EXAMPLE
        with health.engine.begin() as conn:
            conn.execute(update(site).values(daily_touches=4))

    free, result = seen(health), seen(health, path)

    begun = sum(free.enrolled.values(), Counter())["treatment"]
    firsts = sorted(each.first_day for each in result.people if each.first_day)
    assert begun > 8
    assert max(channels.total() for channels in result.days.values()) == 4
    assert Counter(firsts) == {NOW.date(): 4, NOW.date() + DAY: 4, NOW.date() + 2 * DAY: begun - 8}
    assert result.late > begun - 4
    assert result.lost == 0
    assert any(f"{result.late} of them later than their step" in line for line in preview_lines(result))


def test_what_finds_no_place_within_its_five_days_is_told_as_not_sent(health: Lakeside, tmp_path: Path) -> None:
    health.lapsed(12)
    health.notice()
    path = changed(tmp_path, "graduate_after_days:", "daily_touches_per_site: 1\ngraduate_after_days:")

    free, result = seen(health), seen(health, path)

    assert result.lost > 0
    assert result.said.total() + result.lost == free.said.total()
    assert any(line.startswith(f"  {result.lost} more find no place") for line in preview_lines(result))


def test_places_that_other_enrolments_take_are_not_given_twice(health: Lakeside, tmp_path: Path) -> None:
    health.lapsed(4)
    health.start()
    health.enrol()
    health.into("treatment")
    taken = len(health.rows(touch, step=0))
    health.lapsed(6)
    health.notice()
    path = changed(tmp_path, "graduate_after_days:", "daily_touches_per_site: 5\ngraduate_after_days:")

    result = seen(health, path)

    assert result.days[NOW.date()].total() == 5 - taken


def test_outside_the_audience_nobody_is_enrolled(health: Lakeside, tmp_path: Path) -> None:
    health.lapsed(2)
    health.notice()

    result = seen(health, changed(tmp_path, "[primary_care, dental, chronic_care]", "[dental]"))

    assert (result.enrolled, result.declined) == ({}, {"no_campaign": 2})


def test_a_limit_looks_at_so_many_patients(health: Lakeside) -> None:
    health.lapsed(5)
    health.notice()

    assert len(seen(health, limit=2).people) == 2


def test_a_channel_that_is_not_set_up_is_told_and_counted(health: Lakeside) -> None:
    health.lapsed(2, mail=True)
    health.notice()

    result = seen(health, ready={"sms": "phone"})

    assert result.unready == ("email",)
    assert any(each["channel"] == "email" for each in result.costs())
