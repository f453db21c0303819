"""What a patient's whole message means."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from domain.rules.intent import KEYWORDS, keyword
from domain.rules.vocabulary import Intent

_LABELLED = Path(__file__).parents[3] / "shared" / "data" / "replies"
_OURS = (
    "Hi, it's been a while since your last visit to Lakeside. Book: https://lakeside.example/b/7Kq2 Reply STOP to end."
)


@pytest.mark.parametrize(
    "text",
    [
        *("STOP", "stop", "Stop.", "  STOP  ", "STOP!!!", "stop 🛑", "S T O P", "s.t.o.p.", "sToP", "“STOP”", "'stop'"),
        *(
            "Stop\n\nSent from my iPhone",
            "STOP\n-- \nJane Roe\nActuary",
            "*STOP*",
            "(stop)",
            "STOP STOP STOP",
            "\tstop\r\n",
        ),
        *(
            "ＳＴＯＰ",
            "ST\u200bOP",
            "\ufeffSTOP\u2060",
            "S\u00adTOP",
            "𝗦𝗧𝗢𝗣",
            "stop?",
            "STOP PLEASE",
            "Stop. Thank you",
        ),
        *("please stop", "stopall", "STOP ALL", "UNSUBSCRIBE", "unsubscribe.", "Unsuscribe", "sotp", "END", "Quit!!"),
        *("cancel", "Revoke", "opt out", "OPT-OUT", "OptOut", "Remove", "td", "TD"),
        *(
            "ALTO",
            "parar",
            "¡Basta!",
            "no mas",
            "NO MÁS.",
            "no ma\u0301s",
            "CANCELAR",
            "alto🙏",
            "alto por favor",
            "BAJA",
        ),
        *("ARRET", "arrêt", "ARRÊT !", "Arret svp", "Désabonner"),
    ],
)
def test_a_whole_message_of_an_opt_out_word_opts_out(text: str) -> None:
    found = keyword(text)

    assert found is not None
    assert found.intent is Intent.OPT_OUT
    assert found.rule.startswith("optout.")


@pytest.mark.parametrize(
    ("text", "intent", "language", "rule"),
    [
        ("STOP", Intent.OPT_OUT, None, "optout.en.stop"),
        ("ALTO", Intent.OPT_OUT, "es", "optout.es.alto"),
        ("arrêt", Intent.OPT_OUT, "fr", "optout.fr.arret"),
        ("START", Intent.OPT_IN, None, "optin.en.start"),
        ("unstop", Intent.OPT_IN, "en", "optin.en.unstop"),
        ("HELP", Intent.HELP, "en", "help.en.help"),
        ("help?", Intent.HELP, "en", "help.en.help"),
        ("INFO", Intent.HELP, None, "help.en.info"),
        ("ayuda", Intent.HELP, "es", "help.es.ayuda"),
        ("AIDE", Intent.HELP, "fr", "help.fr.aide"),
        ("C", Intent.BOOK, None, "book.any.c"),
        ("c.", Intent.BOOK, None, "book.any.c"),
        ("YES", Intent.BOOK, "en", "book.en.yes"),
        ("yes please!", Intent.BOOK, "en", "book.en.yes"),
        ("sí", Intent.BOOK, "es", "book.es.si"),
        ("SI CONFIRMO 👍🏽", Intent.BOOK, "es", "book.es.confirmo"),
        ("oui", Intent.BOOK, "fr", "book.fr.oui"),
        ("👍", Intent.BOOK, None, "book.any.thumbs_up"),
        ("👍🏿", Intent.BOOK, None, "book.any.thumbs_up"),
        ("R", Intent.RESCHEDULE, None, "reschedule.any.r"),
        ("X", Intent.CANCEL, None, "cancel.any.x"),
        ("x!", Intent.CANCEL, None, "cancel.any.x"),
    ],
)
def test_a_keyword_names_its_intent_language_and_rule(text: str, intent: Intent, language: str, rule: str) -> None:
    found = keyword(text)

    assert found is not None
    assert (found.intent, found.language, found.rule) == (intent, language, rule)


@pytest.mark.parametrize("text", ["YES", "yes", "Sí", "OUI", "ok", "C", "👍", "start?", "START 😡", "please start"])
def test_nothing_but_a_plain_start_or_unstop_ever_resubscribes(text: str) -> None:
    found = keyword(text)

    assert found is None or found.intent is not Intent.OPT_IN


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "   ",
            "?",
            "…",
            "🙂",
            "👎",
            "👍👎",
            "No",
            "no gracias",
            "ok",
            "ok gracias",
            "yes?",
            "yes 👎",
            "sí 😡",
            "r?",
        ),
        *(
            "cancel please",
            "cancel my appt",
            "end of the month works",
            "I'll stop by at 3",
            "don't stop",
            "stop it lol",
        ),
        *(
            "puedo parar en la clinica",
            "no mas digame la hora",
            "tengo el azucar alto",
            "bus stop",
            "weekend",
            "c u",
            "rx",
        ),
        *(
            "help i think i od'd",
            "no puedo respirar bien ayuda",
            "what happens if i reply STOP",
            "yes stop",
            "stop\n\nthe car",
        ),
        "I'm driving right now, I'll get back to you later. (auto-reply)",
        "Thanks for contacting Brightside Plumbing! Reply STOP to unsubscribe, HELP for help.",
        "stop " * 200 + "it",
    ],
)
def test_anything_else_is_left_to_a_person(text: str) -> None:
    assert keyword(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(f"{verb} “{_OURS}”" for verb in ("Liked", "Loved", "Disliked", "Laughed at", "Emphasized", "Questioned")),
        *(f"{verb} “{_OURS[:40]}…”" for verb in ("Reacted 😂 to", "Removed a like from", "Removed a heart from")),
        *(
            f"👍 to “{_OURS}”",
            f"👍\u200a to \u200a“{_OURS}”",
            f"❤️ to “{_OURS}”",
            f'Liked "{_OURS}"',
            f"Liked “{_OURS[:60]}",
        ),
        "Le gustó “Responda ALTO para no recibir más mensajes.”",
        "A aimé « Répondez ARRET pour ne plus recevoir de messages. »",
        "Liked an image",
    ],
)
def test_a_reaction_that_quotes_our_own_words_has_no_effect(text: str) -> None:
    found = keyword(text)

    assert found is not None
    assert found.intent is Intent.REACTION


def test_the_persons_own_words_after_a_reaction_count() -> None:
    assert keyword(f"Disliked “{_OURS}” STOP") == keyword("STOP")
    assert keyword(f"Liked “{_OURS}” see you on monday") is None


def test_every_rule_fits_its_column_and_matches_its_own_words() -> None:
    for row in KEYWORDS:
        assert len(row.rule) <= 48
        for word in row.words:
            found = keyword(word.upper())
            assert found is not None, word
            assert found.rule == row.rule


@pytest.mark.skipif(not _LABELLED.is_dir(), reason="the labelled development replies are not here")
def test_every_labelled_keyword_is_matched_and_nothing_is_mistaken_for_an_opt_out() -> None:
    with (_LABELLED / "replies_dev.csv").open(newline="", encoding="utf-8") as file:
        labelled = list(csv.DictReader(file))
    ordinary = (_LABELLED / "ordinary_messages.txt").read_text(encoding="utf-8").splitlines()

    missed = [
        line["id"]
        for line in labelled
        if line["note"].startswith("keyword")
        and ((found := keyword(line["text"])) is None or found.intent != line["answer_intent"])
    ]
    wrong = [
        line["id"]
        for line in labelled
        if (found := keyword(line["text"])) is not None and found.intent != line["answer_intent"]
    ]
    false_opt_outs = [text for text in ordinary if (found := keyword(text)) and found.intent is Intent.OPT_OUT]

    assert len(ordinary) > 1000
    assert (missed, wrong, false_opt_outs) == ([], [], [])
