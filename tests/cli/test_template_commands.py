"""`reactivate template`: files are judged line by line, versions released by two people, recalled by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from lakeside import settle
from sqlalchemy import Engine

from domain.ledger.store import open_ledger

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/templates.yaml"
CAMPAIGN = ROOT / "docs/examples/campaign.yaml"


@pytest.fixture
def lakeside(ledger_file: Path) -> Engine:
    """A ledger with one organisation."""
    engine = open_ledger(f"sqlite:///{ledger_file}")
    settle(engine)
    engine.dispose()
    return engine


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The example, to be changed."""
    path = tmp_path / "mine.yaml"
    path.write_text(EXAMPLE.read_text())
    return path


def test_the_library_that_comes_along_and_the_example_are_fine(run: Run) -> None:
    for path, count in (((), 32), ((str(EXAMPLE),), 2)):
        shown = run("template", "check", *path)

        assert shown.exit_code == 0
        assert f"fine. {count} templates, judged by lexicon " in shown.output


def test_findings_are_told_with_file_line_rule_words_and_advice_and_exit_with_1(run: Run, mine: Path) -> None:
    mine.write_text(mine.read_text().replace("whenever you are ready, we are here", "your diabetes is overdue"))
    line = 1 + next(nth for nth, each in enumerate(mine.read_text().splitlines()) if "diabetes" in each)

    shown, told = run("template", "check", str(mine)), run("template", "check", str(mine), "--json")

    assert (shown.exit_code, told.exit_code) == (1, 1)
    assert f"{mine}:{line}: still-around@1: clinical.condition: 'diabetes': it names or hints at" in shown.stdout
    assert "2 findings; nothing of these templates can be released" in shown.stderr
    assert [(each["line"], each["rule"], each["words"]) for each in json.loads(told.stdout)] == [
        (line, "tone.pressure", "overdue"),
        (line, "clinical.condition", "diabetes"),
    ]


def test_a_file_that_is_no_file_of_templates_is_a_mistake(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("templates: 7")

    broken, empty = run("template", "check", str(tmp_path)), run("template", "check", str(tmp_path / "nowhere"))

    assert (broken.exit_code, empty.exit_code) == (2, 2)
    assert "broken.yaml:1: templates: " in broken.stderr
    assert "no such file" in empty.stderr


def test_a_preview_is_what_a_patient_would_get_and_shows_its_segments(run: Run) -> None:
    shown = run("template", "preview", str(EXAMPLE), "spring-walk", "--language", "es", "--channel", "sms")

    assert shown.exit_code == 0
    assert "Northstar Health: con la primavera, le esperamos: https://reach.example.org/b/" in shown.output
    assert "segment 1 of 1: " in shown.output


def test_a_preview_of_a_mail_shows_its_subject(run: Run) -> None:
    library = str(ROOT / "ops/templates")
    options = ("--channel", "email", "--patient-like", "chronic_overdue", "--step", "2", "--json")

    shown = json.loads(run("template", "preview", library, "soon-tip@1", *options).output)

    assert (shown["template"], shown["subject"]) == ("soon-tip@1", "Good company, and easy ways to book")
    assert shown["body"].endswith("Northstar Health\n1 Main St, Denver, CO 80014\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing",), "has no template nothing; there are spring-walk@1, still-around@1"),
        (("spring-walk@7",), "has no template spring-walk@7; there are spring-walk@1"),
        (("spring-walk", "--language", "fr"), "spring-walk@1 has no sms text in fr for anybody at step 0"),
        (("spring-walk", "--step", "3"), "has no sms text in en for anybody at step 3"),
    ],
)
def test_a_preview_of_what_is_not_there_is_a_mistake(run: Run, arguments: tuple[str, ...], told: str) -> None:
    shown = run("template", "preview", str(EXAMPLE), *arguments)

    assert shown.exit_code == 2
    assert told in shown.stderr


def test_the_library_is_listed_with_where_each_template_fits(run: Run) -> None:
    lines = run("template", "list").output.splitlines()
    rows = json.loads(run("template", "list", "--json").output)

    assert "soon-tip@1  chronic_overdue, outreach 2, 3  [sms email] [en es]" in lines
    assert len(rows) == len(lines) == 32
    assert {"6-12-invite@1", "winter-light@1", "by-postcard@1"} <= {each["template"] for each in rows}


def test_two_people_release_a_template_and_one_recalls_it(run: Run, lakeside: Engine) -> None:
    def release(who: str, role: str) -> Result:
        return run("template", "release", "6-12-invite", "--as", who, "--role", role)

    first, same, second = (
        release("Maya Ortiz", "marketing"),
        release("maya ortiz", "clinical"),
        release("Sam Reed", "clinical"),
    )
    recalled = run("template", "recall", "6-12-invite@1", "--as", "Sam Reed", "--why", "a wrong word")
    again = release("Maya Ortiz", "marketing")

    assert first.output == "6-12-invite@1: waits for clinical\n"
    assert (same.exit_code, second.output) == (2, "6-12-invite@1: released\n")
    assert "was released for marketing by Maya Ortiz: for clinical somebody else must" in same.stderr
    assert recalled.output == "6-12-invite@1: recalled. 0 planned touches wait, 0 of them were queued\n"
    assert (again.exit_code, "6-12-invite@1 was recalled: write a new version" in again.stderr) == (2, True)
    told = run("template", "status", "6-12-invite").output.splitlines()
    assert told[0] == "6-12-invite@1: recalled"
    assert [line.partition("Z ")[2] for line in told[1:]] == [
        "released for marketing by Maya Ortiz",
        "released for clinical by Sam Reed",
        "recalled by Sam Reed: a wrong word",
    ]


def test_the_texts_of_a_campaign_file_are_released_by_its_name_and_then_it_starts(run: Run, lakeside: Engine) -> None:
    refused = run("campaign", "start", str(CAMPAIGN))
    for who, role in (("Maya Ortiz", "marketing"), ("Sam Reed", "clinical")):
        run("template", "release", "campaign:welcome-back", "--from", str(CAMPAIGN), "--as", who, "--role", role)
    started = run("campaign", "start", str(CAMPAIGN))

    assert refused.exit_code == 2
    assert "reactivate template release campaign:welcome-back@1 --from" in refused.stderr
    assert started.output == "welcome-back version 1 started\n"


def test_what_is_recorded_can_be_released_without_its_file(run: Run, lakeside: Engine, mine: Path) -> None:
    run("template", "release", "still-around", "--from", str(mine), "--as", "Maya Ortiz", "--role", "marketing")

    second = run("template", "release", "still-around@1", "--as", "Sam Reed", "--role", "clinical")

    assert second.output == "still-around@1: released\n"


def test_a_version_with_other_words_than_the_recorded_is_refused(run: Run, lakeside: Engine, mine: Path) -> None:
    run("template", "release", "still-around", "--from", str(mine), "--as", "Maya Ortiz", "--role", "marketing")
    mine.write_text(mine.read_text().replace("we are here", "here we are"))

    refused = run("template", "release", "still-around", "--from", str(mine), "--as", "Sam Reed", "--role", "clinical")

    assert refused.exit_code == 2
    assert "still-around@1 is recorded with other texts: give what you changed a new version" in refused.stderr


def test_a_template_with_a_finding_is_not_released(run: Run, lakeside: Engine, mine: Path) -> None:
    mine.write_text(mine.read_text().replace("we are here", "your test is here"))

    refused = run(
        "template", "release", "still-around", "--from", str(mine), "--as", "Maya Ortiz", "--role", "marketing"
    )
    other = run("template", "release", "spring-walk", "--from", str(mine), "--as", "Maya Ortiz", "--role", "marketing")

    assert refused.exit_code == 2
    assert "clinical.test: 'test'" in refused.stderr
    assert other.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("release", "nothing", "--as", "Maya Ortiz", "--role", "clinical"), "neither in the library that comes along"),
        (("release", "a@b", "--as", "Maya Ortiz", "--role", "clinical"), "write it as KEY or KEY@VERSION"),
        (("release", "6-12-invite", "--as", " ", "--role", "clinical"), "--as: give your name"),
        (("release", "campaign:x", "--as", "Maya Ortiz", "--role", "clinical"), "name its file with --from"),
        (("recall", "6-12-invite", "--as", "Maya Ortiz", "--why", "x"), "no such version; recorded are none of this"),
        (("recall", "6-12-invite", "--as", "Maya Ortiz", "--why", " "), "say in 1 to 500 characters why"),
        (("status", "--organisation", "elsewhere"), "there are: lakeside"),
    ],
)
def test_mistakes_are_told_in_a_sentence(run: Run, lakeside: Engine, arguments: tuple[str, ...], told: str) -> None:
    shown = run("template", *arguments)

    assert shown.exit_code == 2
    assert told in shown.stderr
    assert "Traceback" not in shown.output


@pytest.mark.parametrize("people", ["Maya Ortiz", "boss=Maya Ortiz", "marketing= "])
def test_who_released_is_said_with_a_role(run: Run, lakeside: Engine, people: str) -> None:
    shown = run("campaign", "start", str(CAMPAIGN), "--released-by", people)

    assert shown.exit_code == 2
    assert "write it as marketing=NAME or clinical=NAME" in shown.stderr


def test_before_anything_is_released_the_status_says_so(run: Run, lakeside: Engine) -> None:
    assert "no template is recorded" in run("template", "status").output
    assert json.loads(run("template", "status", "--json").output) == []


def test_the_status_for_machines_has_the_whole_history(run: Run, lakeside: Engine) -> None:
    run("campaign", "start", str(CAMPAIGN), "--released-by", "marketing=Maya Ortiz", "--released-by", "clinical=Sam R")

    (told,) = json.loads(run("template", "status", "--json").output)

    assert (told["template"], told["state"]) == ("campaign:welcome-back@1", "released")
    assert [(each["role"], each["who"], each["checksum"]) for each in told["events"]] == [
        ("marketing", "Maya Ortiz", told["checksum"]),
        ("clinical", "Sam R", told["checksum"]),
    ]


def test_a_preview_of_a_text_with_an_unknown_variable_is_a_mistake_and_no_bug(run: Run, mine: Path) -> None:
    mine.write_text(mine.read_text().replace("{organisation}: spring", "{name}: spring"))

    shown = run("template", "preview", str(mine), "spring-walk")

    assert shown.exit_code == 2
    assert "spring-walk@1, sms, en: no value for variable {name}: `reactivate template check" in shown.stderr


def test_the_status_of_a_key_that_is_not_there_ends_with_one_and_names_those_that_are(
    run: Run, lakeside: Engine
) -> None:
    run("template", "release", "6-12-invite@1", "--as", "Maya Ortiz", "--role", "marketing")

    shown = run("template", "status", "nonesuch")
    for_machines = run("template", "status", "nonesuch", "--json")

    assert (shown.exit_code, for_machines.exit_code) == (1, 1)
    assert "no template nonesuch is recorded; recorded are 6-12-invite\n" in shown.stderr
    assert json.loads(for_machines.stdout) == []
