"""The library that comes along: fit by the lexicon, in both languages, for everybody at every step, in one segment."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.rules.neutral_text import phi_in
from domain.rules.sms_text import Encoding, fold, segments
from domain.rules.templates import SAMPLES, Template, choose, render
from domain.rules.vocabulary import Segment, TouchKind
from ops.runtime.yamlfile import FileProblems
from ops.simulator.lexicon import tells_care
from producers.lexicon import form_file
from producers.templates import MOST_GIVEN, TemplateFileError, read_library

LIBRARY = read_library()
TEXTS = [(entry.name, text) for entry in LIBRARY.entries.values() for text in entry.templates()]
OWN = [text for entry in LIBRARY.entries.values() if entry.segments for text in entry.templates()]
GENERAL = [text for entry in LIBRARY.entries.values() if not entry.segments for text in entry.templates()]
STEPS = [*((TouchKind.OUTREACH, step) for step in range(6)), *((TouchKind.REMINDER, step) for step in (5, 6, 7))]


def test_nothing_is_wrong_with_the_library() -> None:
    assert [str(each.finding) for each in LIBRARY.judged] == []


def test_neither_the_audit_nor_the_witness_who_judge_for_themselves_find_anything() -> None:
    said = [f"{text.subject or ''} {text.body}" for _, text in TEXTS]

    assert [text for text in said if phi_in(text) or tells_care(text)] == []


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("channel", ["sms", "email"])
@pytest.mark.parametrize("segment", [each.value for each in Segment])
def test_every_segment_has_words_of_its_own_for_every_step(segment: str, channel: str, language: str) -> None:
    chosen = [
        choose(OWN, channel=channel, language=language, segment=segment, step_kind=kind, step=step)
        for kind, step in STEPS
    ]

    assert {(each.language, each.segment) for each in chosen} == {(language, segment)}
    bodies = [each.body for each in chosen]
    # an invitation, a tip and easy ways to book, still here to help; then light reminders
    assert bodies[0] == bodies[1]
    assert bodies[2] == bodies[3]
    assert bodies[4] == bodies[5]
    assert len({bodies[0], bodies[2], bodies[4], bodies[6]}) == 4


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("channel", ["phone", "voicemail", "push", "postcard"])
@pytest.mark.parametrize("kind", [TouchKind.OUTREACH, TouchKind.REMINDER])
def test_every_other_channel_has_words_for_everybody(kind: TouchKind, channel: str, language: str) -> None:
    chosen = choose(GENERAL, channel=channel, language=language, segment="any", step_kind=kind, step=0)

    assert chosen.language == language


def test_every_channel_that_has_a_form_has_words() -> None:
    assert {text.channel for _, text in TEXTS} == set(form_file().channels)


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=f"{name}-{text.language}") for name, text in TEXTS if text.channel == "sms"]
)
def test_a_text_takes_one_segment_and_two_where_the_organisations_name_is_long(text: Template) -> None:
    ordinary = segments(fold(render(text.body, SAMPLES)))
    long = segments(fold(render(text.body, {**SAMPLES, "organisation": "Northern Plains Community Health Network"})))

    assert (ordinary.encoding, ordinary.segments) == (Encoding.GSM_7, 1)
    assert long.segments <= 2


def test_there_are_variants_for_every_season_and_with_a_small_gift() -> None:
    entries = LIBRARY.entries.values()

    assert {each.season for each in entries} == {None, "spring", "summer", "autumn", "winter"}
    assert all(each.incentive.worth_dollars <= MOST_GIVEN for each in entries if each.incentive)
    assert any(each.incentive for each in entries)


def test_a_segment_that_tells_of_care_due_uses_no_word_that_no_other_would() -> None:
    def words(texts: list[Template]) -> set[str]:
        return {word for text in texts for word in text.body.casefold().split()}

    careful = words([each for each in OWN if each.segment == Segment.CHRONIC_OVERDUE])
    others = words([each for each in [*OWN, *GENERAL] if each.segment != Segment.CHRONIC_OVERDUE])

    # what is new is about friends and company, and nothing else
    assert len(careful - others) < 30
    assert {"overdue", "care", "due", "vencida"} & careful == set()


ENTRY = """
templates:
  - key: hello
    version: 1
    texts:
      - {channel: sms, language: en, body: "{organisation}: hello {link} Reply STOP to end."}
      - {channel: sms, language: es, body: "{organisation}: hola {link} Responda STOP para terminar."}
"""


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("version: 1", "version: 0", ":4: templates[0].version: "),
        ("key: hello", "key: Hello", ":3: templates[0].key: "),
        ("version: 1", "version: 1\n    steps: [1]", ":3: templates[0]: steps belong to `step_kind: outreach`"),
        ("language: es", "language: en", "templates[0]: two texts for sms in en"),
        (
            "version: 1",
            "version: 1\n    incentive: {item: telescope, worth_dollars: 300}",
            "templates[0].incentive.worth_dollars: expected 15 or less",
        ),
        ("channel: sms, language: en", "channel: sms, colour: en", "unknown field"),
    ],
)
def test_a_file_that_is_not_right_is_told_where(tmp_path: Path, before: str, after: str, told: str) -> None:
    path = tmp_path / "library.yaml"
    path.write_text(ENTRY.replace(before, after))

    with pytest.raises(FileProblems) as caught:
        read_library(path)

    assert told in str(caught.value)


def test_a_key_and_version_in_two_files_is_told(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(ENTRY)

    with pytest.raises(FileProblems, match=r"b.yaml:3: templates\[0\].key: hello@1 is there twice"):
        read_library(tmp_path)


def test_a_folder_without_templates_is_told(tmp_path: Path) -> None:
    with pytest.raises(TemplateFileError, match=r"has no .yaml file"):
        read_library(tmp_path)


def test_a_missing_language_is_a_finding_unless_the_template_says_which_it_has(tmp_path: Path) -> None:
    path = tmp_path / "library.yaml"
    path.write_text("\n".join(line for line in ENTRY.splitlines() if "language: es" not in line) + "\n")

    (judged,) = read_library(path).judged
    path.write_text(path.read_text() + "    languages: [en]\n")

    assert (judged.finding.rule, judged.finding.words) == ("language.missing", "es")
    assert read_library(path).judged == ()


def test_who_offers_something_must_declare_it(tmp_path: Path) -> None:
    path = tmp_path / "library.yaml"
    path.write_text(ENTRY.replace("hello {", "a small gift {"))

    (judged,) = read_library(path).judged

    assert (judged.finding.rule, judged.finding.words, judged.problem.line) == ("incentive.undeclared", "gift", 6)


def test_a_finding_is_on_the_line_of_its_words(tmp_path: Path) -> None:
    path = tmp_path / "library.yaml"
    path.write_text(
        "templates:\n  - key: hello\n    version: 1\n    languages: [en]\n    texts:\n      - channel: email\n"
        "        language: en\n        subject: Your knee\n        body: |\n          {organisation}\n\n"
        "          and your diabetes\n          {postal_address}\n"
    )

    places = {each.finding.words: (each.problem.line, each.problem.field) for each in read_library(path).judged}

    assert places == {
        "diabetes": (12, "templates[0].texts[0].body"),
        "knee": (8, "templates[0].texts[0].subject"),
    }
