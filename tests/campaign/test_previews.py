"""A preview tells what a start would do, and then the start does it; the preview itself changes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lakeside import NOW, settle
from rulebooks import STANDARD
from sqlalchemy import Engine, func, select
from welcome_back import EXAMPLE, SYSTEMS, Lakeside

from domain.ledger.enrolments import enrolment
from domain.ledger.lapses import lapse
from domain.ledger.store import reading
from domain.ledger.tables import metadata
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from producers.preview import Preview, preview


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

    assert (same.version, same.declined) == (2, {"had_its_turn": 2})
    assert sum(same.enrolled.values(), Counter()).total() == 3
    assert (other.version, other.declined) == (1, {"had_its_turn": 2, "other_campaign": 3})
    assert len(health.rows(enrolment)) == 2


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
