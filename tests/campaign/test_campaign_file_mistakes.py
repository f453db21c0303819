"""What is wrong with the steps, seasons and incentives of a file is told on its line; the page's examples are fine."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rulebooks import STANDARD

from ops.runtime.yamlfile import FileProblems
from producers.campaign_file import read_campaign
from producers.templates import read_library

ROOT = Path(__file__).parents[2]
EVERYTHING = ROOT / "docs/examples/campaign-with-everything.yaml"
PAGE = ROOT / "docs/campaigns.md"

Write = Callable[[str, str], Path]


@pytest.fixture
def changed(tmp_path: Path) -> Write:
    """Writes the example with one piece of text replaced."""

    def write(before: str, after: str) -> Path:
        text = EVERYTHING.read_text()
        assert before in text
        path = tmp_path / "campaign.yaml"
        path.write_text(text.replace(before, after, 1))
        return path

    return write


@pytest.mark.parametrize("path", sorted((ROOT / "docs/examples").glob("campaign*.yaml")), ids=lambda path: path.name)
def test_every_example_is_fine(path: Path) -> None:
    assert read_campaign(path, STANDARD).file.campaign


@pytest.mark.parametrize(
    ("before", "after", "field", "told"),
    [
        ("{day: 60, channels: [phone]", "{day: 60, channels: [fax]", "cadence[3].channels", "no such channel: fax"),
        ("{day: 60,", "{dya: 60,", "cadence[3].dya", "unknown field"),
        ("{day: 60,", "{day: soon,", "cadence[3].day", "expected a whole number"),
        ("only_if: no_reply", "only_if: no_luck", "cadence[2].only_if", "'no_reply', 'no_click' or 'undelivered'"),
        ("channels: [phone], escalate_if", "escalate_if", "cadence[3]", "escalate_if wants `channels`"),
        ("  - 0\n", "  - {day: 0, only_if: no_reply}\n", "cadence", "nothing comes before the first step"),
        ("- {day: 14,", "- {day: 4,", "cadence", "at least 7 days apart"),
        ("- 120", "- 350", "cadence", "beyond day 334"),
        ("phone_from_step: 1", "phone_from_step: 5", "high_risk.phone_from_step", "the last step is 4"),
        ("after_unanswered: 4", "after_unanswered: 3", "graduation.after_unanswered", "expected 4 or more"),
        ("after_unanswered: 4", "after_unanswered: 7", "graduation.after_unanswered", "expected 6 or less"),
        ("within_months: 11", "within_months: 13", "graduation.within_months", "expected 12 or less"),
        ("within_months: 11", "within_months: 5", "graduation.within_months", "expected 6 or more"),
        ("answers: [reply, click]", "answers: [smile]", "graduation.answers[0]", "'reply' or 'click'"),
        ("first: 09-01", "first: 09-31", "seasons.flu.first", "no year has the day 09-31"),
        ("community-month: oct", "community-month: someday", "seasons.community-month", "expected a month (jan, feb"),
        ("{weeks_before_reset: 8}", "{weeks_before_reset: 30}", "seasons.before-reset.weeks_before_reset", "20"),
        ("{weeks_before_reset: 8}", "{first: 09-01}", "seasons.before-reset", "wants first and last"),
        ("last: 01-31}", "last: 01-31, weeks_after_reset: 2}", "seasons.flu", "wants first and last"),
        ("commercial: 1", "commercial: 13", "benefit_year.commercial", "expected 12 or less"),
        ("commercial: 1", "blue: 1", "benefit_year.blue", "unknown field"),
        ("enrol_in: [flu,", "enrol_in: [fluh,", "enrol_in[0]", "no such season: fluh; there are after-reset"),
        ("season: community-month", "season: comunity", "templates[2].season", "no such season: comunity"),
        ("incentive: bottle", "incentive: botle", "templates[8].incentive", "`incentives` has bottle"),
        ("item: water bottle", "item: gift card", "incentives[0].item", "never cash"),
        ("kind: thing", "kind: cash", "incentives[0].kind", "'thing', 'meal', 'ride' or 'class'"),
        ("dollars: 8", "dollars: 0", "incentives[0].dollars", "expected more than 0"),
        (
            "    step: 0\n    incentive: bottle",
            "    incentive: bottle\n    step: 9",
            "templates[8].step",
            "expected 5 or less",
        ),
        ("    step: 0\n    incentive: bottle\n", "    step: 0\n", "templates[8].body", "declare it as `incentive:`"),
    ],
)
def test_each_mistake_is_told_with_its_line_and_field(
    changed: Write, before: str, after: str, field: str, told: str
) -> None:
    path = changed(before, after)

    with pytest.raises(FileProblems) as caught:
        read_campaign(path, STANDARD)

    found = [each for each in caught.value.problems if told in each.reason]
    assert [each.field for each in found] == [field], str(caught.value)
    line = path.read_text().splitlines()[found[0].line - 1]
    name = re.sub(r"\[\d+\]", "", field).split(".")[-1]
    assert found[0].line > 1
    assert name in line or after.strip() in line or line.lstrip().startswith("- "), line


def test_words_for_a_season_alone_are_no_words_for_the_rest_of_the_year(changed: Write) -> None:
    path = changed("    language: en\n    body", "    language: en\n    season: flu\n    body")

    with pytest.raises(FileProblems, match=r"no English template for sms.*one for all year that offers nothing"):
        read_campaign(path, STANDARD)


def test_a_step_by_phone_wants_words_to_say(changed: Write) -> None:
    text = EVERYTHING.read_text()
    path = changed(text[text.index("  - channel: phone") :], "")

    with pytest.raises(FileProblems, match="no English template for phone"):
        read_campaign(path, STANDARD)


def test_a_template_of_the_library_says_in_which_season_it_is_used(tmp_path: Path) -> None:
    text = (ROOT / "docs/examples/campaign-from-library.yaml").read_text()
    path = tmp_path / "campaign.yaml"
    path.write_text(f"{text}  - spring-walk@1\n  - welcome-bottle@1\n")

    found = {text for each in read_campaign(path, STANDARD).news for text in each.texts}

    assert {text.season for text in found} == {"", "spring"}
    assert {(text.incentive, text.cents) for text in found} == {("", 0), ("water-bottle", 800)}


def test_an_old_text_keeps_its_checksum_though_texts_can_say_more_now() -> None:
    # of 6-12-invite@1 before seasons and incentives were read
    (entry,) = [each for (key, _), each in read_library().entries.items() if key == "6-12-invite"]

    assert entry.news().checksum == "6b43d090c623fc889ddcc61adeb8b9202aa7c273f1dc6277d8df75d2308480a3"


def snippets() -> list[str]:
    """The indented pieces of the page that are pieces of a campaign file."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE.read_text(), re.MULTILINE)
    plain = (re.sub(r"^    ", "", block, flags=re.MULTILINE).strip() for block in blocks)
    return [block for block in plain if block and not block.startswith("reactivate")]


@pytest.mark.parametrize("snippet", snippets(), ids=lambda text: text.split(":")[0])
def test_every_piece_of_a_campaign_file_on_the_page_may_stand_in_one(snippet: str, tmp_path: Path) -> None:
    whole: dict[str, Any] = yaml.load(EVERYTHING.read_text(), yaml.BaseLoader)  # noqa: S506 - makes nothing but text
    piece = yaml.load(snippet, yaml.BaseLoader)  # noqa: S506 - the same
    path = tmp_path / "campaign.yaml"
    for name in ("templates", "incentives"):
        whole[name] += piece.pop(name, [])
    path.write_text(yaml.safe_dump(whole | piece, allow_unicode=True, sort_keys=False))

    assert read_campaign(path, STANDARD).file.campaign
