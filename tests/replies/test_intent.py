"""What a patient's whole message means."""

from __future__ import annotations

import pytest

from domain.rules.replies.intent import LONGEST, Understood, understand
from domain.rules.vocabulary import Effect, Intent

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
    found = understand(text)

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
    found = understand(text)

    assert found.is_keyword
    assert (found.intent, found.language, found.rule) == (intent, language, rule)


@pytest.mark.parametrize("text", ["YES", "yes", "Sí", "OUI", "ok", "C", "👍", "start?", "START 😡", "please start"])
def test_nothing_but_a_plain_start_or_unstop_ever_resubscribes(text: str) -> None:
    found = understand(text)

    assert Effect.OPT_IN not in found.effects


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
        ),
        "I'm driving right now, I'll get back to you later. (auto-reply)",
        "Thanks for contacting Brightside Plumbing! Reply STOP to unsubscribe, HELP for help.",
    ],
)
def test_nothing_else_chooses_agrees_or_lifts_anything(text: str) -> None:
    found = understand(text)

    assert {Effect.OPT_OUT, Effect.OPT_IN, Effect.BOOK}.isdisjoint(found.effects)
    assert not found.is_keyword


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
    found = understand(text)

    assert found.intent is Intent.REACTION


def test_the_persons_own_words_after_a_reaction_count() -> None:
    assert understand(f"Disliked “{_OURS}” STOP") == understand("STOP")
    assert understand(f"Liked “{_OURS}” see you on monday").intent is Intent.BOOK


@pytest.mark.parametrize(
    ("text", "intent", "effects"),
    [
        ("stop texting me. i am going to end my life", Intent.EMERGENCY, {"urgent", "human", "opt_out"}),
        ("Stop sending these to my mother she died in May", Intent.OPT_OUT, {"opt_out", "deceased", "human"}),
        ("wrong number stop", Intent.OPT_OUT, {"opt_out", "wrong_number"}),
        ("stop texting me, worst clinic ever", Intent.OPT_OUT, {"opt_out", "pause", "human"}),
        ("I have a new doctor. please take me off your list", Intent.OPT_OUT, {"opt_out", "leave_campaign"}),
        ("Stop these texts. and cancel my visit on the 9th", Intent.OPT_OUT, {"opt_out", "human"}),
        ("he died, and this is not his number anymore", Intent.DECEASED, {"deceased", "human", "wrong_number"}),
        ("we moved to Ohio. can you send our records?", Intent.MOVED, {"leave_campaign", "human"}),
        ("yes but will you take my new plan?", Intent.QUESTION, {"human"}),
        ("cancel the 9th and find me something in july", Intent.CANCEL, {"human"}),
        ("X", Intent.CANCEL, {"none"}),
        ("help", Intent.HELP, {"none"}),
        ("purple monkey dishwasher", Intent.OTHER, {"human"}),
    ],
)  # fmt: skip
def test_the_first_match_answers_and_what_else_was_said_takes_effect_too(
    text: str, intent: Intent, effects: set[str]
) -> None:
    found = understand(text)

    assert (found.intent, {effect.value for effect in found.effects}) == (intent, effects)


def test_an_auto_reply_says_nothing_whatever_its_footer_says() -> None:
    found = understand("Out of office until Monday. To unsubscribe reply STOP. In an emergency call 911, chest pain.")

    assert (found.intent, found.effects) == (Intent.AUTO_REPLY, (Effect.NONE,))


@pytest.mark.parametrize(
    "text",
    [
        "Yes, please book me.\n\nOn Tue, Mar 4, 2025 at 9:12 AM Lakeside <hello@lakeside.example> wrote:\n> Reply STOP",
        "Yes, please book me.\n\n> stop texting me",
        "Yes, please book me.\n-- \nstop texting me",
        "Yes, please book me.\nKind regards,\nstop texting me",
        "Yes, please book me.\n\n-----Original Message-----\nFrom: Lakeside\nstop texting me",
        "Sí, quiero una cita.\n\nEl lun, 3 mar 2025, Lakeside escribió:\n> Responda ALTO",
        "“Hi Jane, it's been a while. Reply STOP to stop texting me.” yes, please book me",
    ],
)
def test_what_was_quoted_or_signed_does_not_count(text: str) -> None:
    found = understand(text)

    assert (found.intent, found.effects) == (Intent.BOOK, (Effect.BOOK,))


@pytest.mark.parametrize(
    "text", ["C\n\nSent from my phone", "C\n-- \nJane Roe", "C\n\nKind regards,\nJane", "C\n\n> Reply C"]
)
def test_a_keyword_with_a_signature_is_still_the_whole_message(text: str) -> None:
    found = understand(text)

    assert (found.rule, found.is_keyword) == ("book.any.c", True)


def test_a_quotation_that_is_the_whole_message_is_meant_as_said() -> None:
    assert understand("“please stop sending me these text messages right now”").intent is Intent.OPT_OUT


def test_of_what_is_too_long_to_be_read_a_person_reads_the_rest() -> None:
    long = "yes please book me. " + "la " * LONGEST + "stop texting me"

    found = understand(long)

    assert found.intent is Intent.BOOK
    assert Effect.HUMAN in found.effects


def test_what_no_rule_knows_names_no_rule() -> None:
    assert understand("purple monkey dishwasher") == Understood(Intent.OTHER, (Effect.HUMAN,))


@pytest.mark.parametrize(
    "text", ["\x00", "\ud800", "🏳️‍🌈" * 50, "\u202e POTS", "a" * 100_000, "? " * 5_000, "stop " * 5_000]
)
def test_no_message_is_too_odd_to_be_read(text: str) -> None:
    assert understand(text).effects


@pytest.mark.parametrize("text", ["sto p", "un subscribe", "st op!", "S TOP"])
def test_an_opt_out_word_with_a_blank_in_it_is_still_one(text: str) -> None:
    found = understand(text)

    assert (found.intent, found.is_keyword) == (Intent.OPT_OUT, True)


@pytest.mark.parametrize("text", ["ye s", "si p", "c c", "he lp"])
def test_no_other_word_is_made_of_pieces(text: str) -> None:
    assert not understand(text).is_keyword
