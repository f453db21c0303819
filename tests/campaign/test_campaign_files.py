"""Campaign files: every problem with its line and field, immutable versions, and nothing changed by a repeat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lakeside import NOW
from rulebooks import STANDARD
from sqlalchemy import Engine
from welcome_back import EXAMPLE, REVIEWERS, Lakeside

from domain.ledger import campaigns, texts
from domain.ledger.campaigns import campaign, step
from domain.ledger.lapses import lapse
from domain.ledger.organisations import OrganisationNews, SiteNews, upsert
from domain.ledger.store import reading
from domain.ledger.texts import template, template_event, template_version
from ops.runtime.yamlfile import FileProblems
from producers.campaign_file import read_campaign
from producers.campaigns import CampaignError, start_campaign

Write = Callable[..., Path]


@pytest.fixture
def changed(tmp_path: Path) -> Write:
    """Writes the example with pieces of text replaced: each is given before the one that takes its place."""

    def write(*texts: str) -> Path:
        written = EXAMPLE.read_text()
        for before, after in zip(texts[::2], texts[1::2], strict=True):
            assert before in written
            written = written.replace(before, after, 1)
        path = tmp_path / "campaign.yaml"
        path.write_text(written)
        return path

    return write


def told_of(path: Path) -> FileProblems:
    """What is said of a file that cannot be used."""
    with pytest.raises(FileProblems) as caught:
        read_campaign(path, STANDARD)
    return caught.value


def line_of(path: Path, text: str) -> int:
    return 1 + next(number for number, line in enumerate(path.read_text().splitlines()) if text in line)


def test_the_example_is_fine() -> None:
    found = read_campaign(EXAMPLE, STANDARD).file

    assert (found.campaign, found.cadence, found.holdout) == ("welcome-back", (0, 10, 30, 90, 180), 0.1)


@pytest.mark.parametrize(
    ("before", "after", "field", "told"),
    [
        ("campaign: welcome-back", "campaign: Welcome Back", "campaign", "such as welcome-back"),
        ("holdout: 0.10", "holdout: 0", "holdout", "expected 0.01 or more"),
        ("holdout: 0.10", "holdout: some", "holdout", "expected a number"),
        ("channels: [sms, email]", "channels: [sms, fax]", "channels", "no such channel: fax; there are email, sms"),
        ('send_at: ["10:30", "15:00"]', 'send_at: ["21:00"]', "send_at", "outside the allowed hours 09:00 to 20:00"),
        ("cadence: [0, 10, 30, 90, 180]", "cadence: [0, 3]", "cadence", "at least 7 days apart"),
        ("cadence: [0, 10, 30, 90, 180]", "cadence: [30, 10]", "cadence", "in order"),
        ("graduate_after_days: 30", "graduate_after_days: 1", "graduate_after_days", "expected 7 or more"),
        ("every_months: 4", "every_months: 1", "reminder.every_months", "expected 3 or more"),
        ("service_lines: [primary_care,", "service_lines: [surgery,", "audience.service_lines[0]", "primary_care"),
        ("graduate_after_days:", "graduates:", "graduates", "unknown field"),
        ("holdout: 0.10", "daily_enrolments_per_site: 0", "daily_enrolments_per_site", "expected 1 or more"),
        ("holdout: 0.10", "pace: appointments", "pace", "open_slots"),
        (
            "holdout: 0.10",
            "pace: {by: open_slots, bookings_per_touch: 2}",
            "pace.bookings_per_touch",
            "expected 1 or less",
        ),
        (
            "holdout: 0.10",
            "pace: {by: open_slots, when_unknown: daily_enrolments}",
            "pace",
            "goes by daily_enrolments_per_site, which is not there",
        ),
        ("holdout: 0.10", "daily_touches_per_site: 0", "daily_touches_per_site", "expected 1 or more"),
        ("holdout: 0.10", "blackout: [someday]", "blackout[0]", "expected a date such as 2026-12-24"),
        (
            "holdout: 0.10",
            "blackout: [{first: 2026-12-27, last: 2026-12-24}]",
            "blackout[0]",
            "must end on its first day or later, and within 31 days",
        ),
        ("we miss you!", "we miss you, {name}!", "templates[0].body", "'{name}': unknown variable"),
        (
            'subject: "We would love to see you again"',
            'subject: "Hi {first_name}, please come"',
            "templates[10].body",
            "'{first_name}': unknown variable",
        ),
    ],
)
def test_each_problem_is_told_with_its_line_and_field(
    changed: Write, before: str, after: str, field: str, told: str
) -> None:
    path = changed(before, after)

    found = told_of(path)

    (problem,) = [each for each in found.problems if told in each.reason]
    assert problem.field == field
    assert problem.line > 1 or "campaign:" in before
    assert f"{path}:{problem.line}: {field}: " in str(found)


def test_the_line_told_is_the_one_to_mend(changed: Write) -> None:
    path = changed("graduate_after_days: 30", "graduate_after_days: 1")

    found = told_of(path)

    assert [each.line for each in found.problems] == [line_of(path, "graduate_after_days: 1")]


def test_several_problems_are_told_at_once_in_the_order_of_the_file(changed: Write) -> None:
    found = told_of(changed("at_most: 3", "at_most: 99", "holdout: 0.10", "holdout: 2"))

    assert [each.field for each in found.problems] == ["holdout", "reminder.at_most"]


def test_a_segment_without_words_for_it_is_a_problem(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    general = next(number for number, line in enumerate(lines) if "we miss you!" in line)
    path = tmp_path / "campaign.yaml"
    path.write_text("\n".join([*lines[: general - 2], *lines[general + 1 :]]))

    found = told_of(path)

    assert "no English template for sms, segment 6_12_months, outreach" in str(found)


def test_the_same_file_again_changes_nothing(health: Lakeside) -> None:
    before = [health.rows(table) for table in (campaign, step, template, template_version, template_event)]

    assert health.start(now=NOW) is False

    assert [health.rows(table) for table in (campaign, step, template, template_version, template_event)] == before


def test_comments_and_order_are_no_change(health: Lakeside, tmp_path: Path) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text("# a word\n" + EXAMPLE.read_text())

    assert health.start(path) is False


def test_a_changed_file_becomes_a_new_version_and_the_old_one_enrols_no_more(health: Lakeside, changed: Write) -> None:
    health.lapsed(3)
    health.enrol()
    old = health.only(campaign)["id"]

    assert health.start(changed("[0, 10, 30, 90, 180]", "[0, 14, 60]"), NOW) is True

    versions = health.rows(campaign)
    assert [(each["version"], each["ended_at"]) for each in versions] == [(1, NOW), (2, None)]
    assert [each["offset_days"] for each in health.rows(step, campaign_id=versions[1]["id"])] == [0, 14, 60]
    with reading(health.engine) as conn:
        assert [each.version for each in campaigns.running(conn)] == [2]
        assert campaigns.by_ids(conn, [old])[old].definition["cadence"] == [0, 10, 30, 90, 180]
        # the texts are the same, so they need no new version and no new release
        assert texts.versions_of(conn, old) == texts.versions_of(conn, versions[1]["id"])


def test_lapses_that_found_no_campaign_are_looked_at_again_when_one_starts(health: Lakeside, changed: Write) -> None:
    only_dental = changed("service_lines: [primary_care, dental, chronic_care]", "service_lines: [dental]")
    health.start(only_dental)
    health.lapsed()

    before = health.enrol()
    owed = len(health.rows(lapse, decided_at=None))
    health.start(EXAMPLE, NOW)

    assert (before, owed) == ({"no_campaign": 1}, 0)
    assert health.enrol() == {"treatment": 1}


def test_a_bad_file_starts_nothing(health: Lakeside, changed: Write) -> None:
    with pytest.raises(FileProblems):
        health.start(changed("holdout: 0.10", "holdout: 0.9"))

    assert len(health.rows(campaign)) == 1


def test_the_organisation_must_be_named_where_there_are_several(ledger: Engine) -> None:
    with pytest.raises(CampaignError, match="none yet: import an organisation first"):
        start_campaign(ledger, EXAMPLE, None, STANDARD, NOW)
    with ledger.begin() as conn:
        for key in ("a", "b"):
            upsert(conn, OrganisationNews(key, key.upper(), "+1 303 555 0100", "1 Road"), [SiteNews("s", "S", "UTC")])

    with pytest.raises(CampaignError, match="there are: a, b"):
        start_campaign(ledger, EXAMPLE, None, STANDARD, NOW)
    with pytest.raises(CampaignError, match="there are: a, b"):
        start_campaign(ledger, EXAMPLE, "c", STANDARD, NOW)
    assert start_campaign(ledger, EXAMPLE, "b", STANDARD, NOW, REVIEWERS)[1] is True
