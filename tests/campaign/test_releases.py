"""A template version goes out when two people in two roles let it, and only then does a campaign start with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from household import NOW, add, rows
from lakeside import settle
from rulebooks import STANDARD
from sqlalchemy import Engine
from welcome_back import EXAMPLE, REVIEWERS, Lakeside

from domain.ledger import releases, texts
from domain.ledger.campaigns import campaign
from domain.ledger.organisations import organisation
from domain.ledger.releases import ReleaseError, Version
from domain.ledger.texts import ChangedTextError, VersionNews, template, template_event, template_version
from domain.ledger.vault import Vault
from domain.rules.templates import Template
from domain.rules.vocabulary import Role
from ops.runtime.yamlfile import FileProblems
from producers.campaign_file import read_campaign
from producers.campaigns import CampaignError, start_campaign
from producers.lexicon import lexicon

SMS = Template(channel="sms", language="en", body="{organisation}: hello")
HELLO = VersionNews("hello", 1, "one", (SMS,))


@pytest.fixture
def owner(ledger: Engine) -> int:
    with ledger.begin() as conn:
        return add(conn, organisation, key="o", name="Northstar", phone="+1 303 555 0100", postal_address="1 Road")


def record(ledger: Engine, owner: int, news: VersionNews = HELLO) -> int:
    with ledger.begin() as conn:
        return texts.record(conn, owner, news, NOW)


def release(ledger: Engine, version: int, who: str, role: Role) -> Version:
    with ledger.begin() as conn:
        return releases.release(conn, version, who=who, role=role, lexicon="L", now=NOW)


@pytest.mark.parametrize("first", Role)
def test_it_takes_one_person_in_each_role_in_whatever_order(ledger: Engine, owner: int, first: Role) -> None:
    version = record(ledger, owner)
    second = next(role for role in Role if role != first)

    begun = release(ledger, version, "Maya Ortiz", first)
    done = release(ledger, version, "Sam Reed", second)

    assert (begun.state, begun.released_at) == (f"waits for {second.value}", None)
    assert (done.state, done.released_at) == ("released", NOW)
    told = rows(ledger, template_event)
    assert [(each["what"], each["role"], each["who"], each["checksum"], each["lexicon"]) for each in told] == [
        ("released", first.value, "Maya Ortiz", "one", "L"),
        ("released", second.value, "Sam Reed", "one", "L"),
    ]


@pytest.mark.parametrize("again", ["Maya Ortiz", "  maya   ORTIZ "])
def test_one_person_never_counts_for_both_roles(ledger: Engine, owner: int, again: str) -> None:
    version = record(ledger, owner)
    release(ledger, version, "Maya Ortiz", Role.MARKETING)

    with pytest.raises(ReleaseError, match="hello@1 was released for marketing by Maya Ortiz: for clinical somebody"):
        release(ledger, version, again, Role.CLINICAL)

    assert rows(ledger, template_version)[0]["released_at"] is None


def test_two_people_in_one_role_are_not_enough(ledger: Engine, owner: int) -> None:
    version = record(ledger, owner)

    for who in ("Maya Ortiz", "Noa Lind"):
        told = release(ledger, version, who, Role.MARKETING)

    assert told.state == "waits for clinical"


def test_releasing_again_adds_nothing(ledger: Engine, owner: int) -> None:
    version = record(ledger, owner)

    for _ in range(2):
        release(ledger, version, "Maya Ortiz", Role.MARKETING)

    assert len(rows(ledger, template_event)) == 1


def test_a_recalled_version_is_never_released_again(ledger: Engine, owner: int) -> None:
    version = record(ledger, owner)
    with ledger.begin() as conn:
        releases.recall(conn, owner, "hello", None, who="Sam Reed", why="no", now=NOW)

    with pytest.raises(ReleaseError, match="hello@1 was recalled: write a new version"):
        release(ledger, version, "Maya Ortiz", Role.MARKETING)
    with ledger.begin() as conn, pytest.raises(ReleaseError, match="was recalled before"):
        releases.recall(conn, owner, "hello", 1, who="Sam Reed", why="no", now=NOW)


def test_what_is_not_there_cannot_be_recalled(ledger: Engine, owner: int) -> None:
    record(ledger, owner)

    with ledger.begin() as conn, pytest.raises(ReleaseError, match="no such version; recorded are hello@1"):
        releases.recall(conn, owner, "hello", 2, who="Sam Reed", why="no", now=NOW)
    with ledger.begin() as conn, pytest.raises(ReleaseError, match="none of this key"):
        releases.recall(conn, owner, "other", None, who="Sam Reed", why="no", now=NOW)


def test_a_version_keeps_its_texts_for_good(ledger: Engine, owner: int) -> None:
    version = record(ledger, owner)

    with pytest.raises(ChangedTextError, match="hello@1 is recorded with other texts"):
        record(ledger, owner, VersionNews("hello", 1, "two", (SMS,)))

    assert record(ledger, owner) == version
    assert record(ledger, owner, VersionNews("hello", 2, "two", (SMS,))) != version


def test_texts_without_a_version_get_the_next_one_when_they_are_new(ledger: Engine, owner: int) -> None:
    numbers = [record(ledger, owner, VersionNews("own", None, sum_, (SMS,))) for sum_ in ("a", "b", "a")]

    assert [each["version"] for each in rows(ledger, template_version)] == [1, 2]
    assert numbers[0] == numbers[2]


def test_a_campaign_starts_only_with_released_texts(ledger: Engine, vault: Vault) -> None:
    health = Lakeside(ledger, vault, settle(ledger))

    with pytest.raises(
        CampaignError, match=r"campaign:welcome-back@1 waits for marketing and clinical .*--released-by"
    ):
        start_campaign(ledger, EXAMPLE, None, STANDARD, NOW)

    assert [health.rows(table) for table in (campaign, template_version, template)] == [[], [], []]


def test_one_role_is_not_enough_to_start_and_one_person_in_both_neither(ledger: Engine) -> None:
    settle(ledger)

    with pytest.raises(CampaignError, match="waits for clinical"):
        start_campaign(ledger, EXAMPLE, None, STANDARD, NOW, {Role.MARKETING: "Maya Ortiz"})
    with pytest.raises(CampaignError, match="for clinical somebody else must"):
        start_campaign(ledger, EXAMPLE, None, STANDARD, NOW, dict.fromkeys(Role, "Maya Ortiz"))
    assert rows(ledger, template_version) == []


def test_a_start_can_record_both_releases_in_one_go(ledger: Engine) -> None:
    settle(ledger)

    _, is_new = start_campaign(ledger, EXAMPLE, None, STANDARD, NOW, REVIEWERS)

    assert is_new
    told = rows(ledger, template_event)
    assert [(each["role"], each["who"], each["lexicon"]) for each in told] == [
        ("marketing", "Maya Ortiz", lexicon().version),
        ("clinical", "Sam Reed", lexicon().version),
    ]
    # what was released once needs nobody again
    assert start_campaign(ledger, EXAMPLE, None, STANDARD, NOW)[1] is False


def test_changed_words_need_a_new_release_and_a_changed_cadence_does_not(ledger: Engine, tmp_path: Path) -> None:
    settle(ledger)
    start_campaign(ledger, EXAMPLE, None, STANDARD, NOW, REVIEWERS)
    path = tmp_path / "campaign.yaml"

    path.write_text(EXAMPLE.read_text().replace("[0, 10, 30, 90, 180]", "[0, 20]"))
    assert start_campaign(ledger, path, None, STANDARD, NOW)[1] is True

    path.write_text(EXAMPLE.read_text().replace("we miss you!", "we think of you!"))
    with pytest.raises(CampaignError, match="campaign:welcome-back@2 waits for"):
        start_campaign(ledger, path, None, STANDARD, NOW)


def test_a_campaign_whose_words_were_recalled_does_not_start_again(ledger: Engine) -> None:
    owner = settle(ledger)
    start_campaign(ledger, EXAMPLE, None, STANDARD, NOW, REVIEWERS)
    with ledger.begin() as conn:
        releases.recall(conn, owner, "campaign:welcome-back", None, who="Sam Reed", why="no", now=NOW)

    with pytest.raises(CampaignError, match="campaign:welcome-back@1 was recalled: use, or write, a newer version"):
        start_campaign(ledger, EXAMPLE, None, STANDARD, NOW)


FROM_LIBRARY = """
campaign: from-library
cadence: [0, 10]
channels: [sms]
library: library.yaml
use: [hello@1, later@1]
"""
LIBRARY = """
templates:
  - key: hello
    version: 1
    step_kind: outreach
    texts:
      - {channel: sms, language: en, body: "{organisation}: hello {link} Reply STOP to end."}
      - {channel: sms, language: es, body: "{organisation}: hola {link} Responda STOP para terminar."}
  - key: later
    version: 1
    step_kind: reminder
    texts:
      - {channel: sms, language: en, body: "{organisation}: still here {link} Reply STOP to end."}
      - {channel: sms, language: es, body: "{organisation}: le saludamos {link} Responda STOP para terminar."}
"""


def write(folder: Path, campaign_text: str = FROM_LIBRARY, library_text: str = LIBRARY) -> Path:
    (folder / "library.yaml").write_text(library_text)
    path = folder / "campaign.yaml"
    path.write_text(campaign_text)
    return path


def test_a_campaign_takes_its_words_from_a_library(ledger: Engine, tmp_path: Path) -> None:
    settle(ledger)
    path = write(tmp_path)

    with pytest.raises(CampaignError, match=r"hello@1 waits .* \(and 1 more\).* hello@1 --from .*library.yaml"):
        start_campaign(ledger, path, None, STANDARD, NOW)
    start_campaign(ledger, path, None, STANDARD, NOW, REVIEWERS)

    assert [(each["key"], each["version"]) for each in rows(ledger, template_version)] == [("hello", 1), ("later", 1)]
    assert len(rows(ledger, template)) == 4


def test_a_library_version_with_other_words_is_refused(ledger: Engine, tmp_path: Path) -> None:
    settle(ledger)
    start_campaign(ledger, write(tmp_path), None, STANDARD, NOW, REVIEWERS)
    changed = write(tmp_path, library_text=LIBRARY.replace(": hello {", ": good day {"))

    with pytest.raises(CampaignError, match="hello@1 is recorded with other texts"):
        start_campaign(ledger, changed, None, STANDARD, NOW, REVIEWERS)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "use: [hello@1, later@1]",
            "use: [hello@2, later@1]",
            ":6: use[0]: .*has no template hello@2; there are hello@1",
        ),
        ("use: [hello@1, later@1]", "use: [hello, later@1]", ":6: use[0]: "),
        ("use: [hello@1, later@1]", "use: [hello@1, later@1, hello@2]", ":6: use: hello is there twice"),
        ("library: library.yaml", "library: nowhere.yaml", "no such file"),
        ("use: [hello@1, later@1]", "use: [hello@1]", "no English template for sms, segment 6_12_months, reminder"),
        ("channels: [sms]", "channels: [sms, email]", "no English template for email"),
    ],
)
def test_a_campaign_that_cannot_use_its_library_is_told_where(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    path = write(tmp_path, FROM_LIBRARY.replace(before, after))

    with pytest.raises(FileProblems, match=told.replace("[", r"\[").replace("]", r"\]")):
        read_campaign(path, STANDARD)


def test_a_language_in_which_somebody_would_find_no_words_is_told(tmp_path: Path) -> None:
    lines = [line for line in LIBRARY.splitlines() if "le saludamos" not in line]
    lines.insert(lines.index("  - key: later"), "")
    english = "\n".join(lines).replace("- key: later", "- languages: [en]\n    key: later")
    path = write(tmp_path, library_text=english)

    with pytest.raises(FileProblems, match="no Spanish template for sms, segment 6_12_months, reminder"):
        read_campaign(path, STANDARD)

    path = write(tmp_path, FROM_LIBRARY + "languages: [en]\n", english)
    assert read_campaign(path, STANDARD).file.languages == ("en",)


def test_a_template_with_a_finding_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, library_text=LIBRARY.replace("still here", "your diabetes"))

    with pytest.raises(FileProblems, match=r"use\[1\]: later@1 has 1 findings: `reactivate template check"):
        read_campaign(path, STANDARD)


def test_two_templates_for_the_same_place_are_told(tmp_path: Path) -> None:
    twice = LIBRARY.replace("step_kind: reminder", "step_kind: outreach")

    with pytest.raises(FileProblems, match="hello@1 and later@1 both have the text for sms in en, any"):
        read_campaign(write(tmp_path, library_text=twice), STANDARD)


def test_a_text_that_is_twice_in_a_campaign_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(EXAMPLE.read_text().replace("    segment: 12_24_months\n", ""))

    with pytest.raises(FileProblems, match="campaign:welcome-back has twice the text for sms in en, any segment"):
        read_campaign(path, STANDARD)
