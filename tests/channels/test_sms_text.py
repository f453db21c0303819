"""Segments are counted as the air counts them, and folding keeps what a text says."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.rules.sms_text import Encoding, SegmentCount, cut, fold, is_gsm, outside_gsm, plain_for, segments

#: GSM 03.38, written out independently of the module: basic table by code, extension table by code.
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}

FOLDABLE = "‘’‚‛′´`“”„‟″«»‐‑‒–—―−•…\t\u00a0\u202f\u2009\u2028\u00ad\u200b\ufeff"
gsm_texts = st.text(st.sampled_from(BASIC.replace("\x1b", "") + "".join(EXTENSION.values())), max_size=700)
texts = st.one_of(
    gsm_texts,
    st.text(max_size=400),
    st.text(st.sampled_from("aé€^á👍…’—\u00a0"), max_size=400),
    st.text(st.sampled_from("abc 12.," + FOLDABLE), max_size=400),
)
thoroughly = settings(deadline=None, max_examples=300)


def septets(text: str) -> list[list[int]]:
    """Encode to GSM 7-bit codes, one list per character."""
    codes = {char: [0x1B, code] for code, char in EXTENSION.items()}
    codes |= {char: [code] for code, char in enumerate(BASIC) if char != "\x1b"}
    return [codes[char] for char in text]


def utf_16(text: str) -> list[list[int]]:
    """Encode to UTF-16 code units, one list per character."""
    encoded = (char.encode("utf-16-be", "surrogatepass") for char in text)
    return [[int.from_bytes(each[at : at + 2]) for at in range(0, len(each), 2)] for each in encoded]


def pack(characters: list[list[int]], alone: int, joined: int) -> list[list[int]]:
    """Cut into segments the plain way: as much as fits, whole characters only."""
    if sum(map(len, characters)) <= alone:
        return [[unit for character in characters for unit in character]]
    parts: list[list[int]] = [[]]
    for character in characters:
        if len(parts[-1]) + len(character) > joined:
            parts.append([])
        parts[-1] += character
    return parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", SegmentCount(Encoding.GSM_7, 0, 1)),
        ("a" * 160, SegmentCount(Encoding.GSM_7, 160, 1)),
        ("a" * 161, SegmentCount(Encoding.GSM_7, 161, 2)),
        ("a" * 306, SegmentCount(Encoding.GSM_7, 306, 2)),
        ("a" * 307, SegmentCount(Encoding.GSM_7, 307, 3)),
        ("€" * 80, SegmentCount(Encoding.GSM_7, 160, 1)),
        ("€" * 80 + "a", SegmentCount(Encoding.GSM_7, 161, 2)),
        # 153 is odd: an escape would straddle the border, so each segment holds 76 of them
        ("€" * 152, SegmentCount(Encoding.GSM_7, 304, 2)),
        ("€" * 153, SegmentCount(Encoding.GSM_7, 306, 3)),
        ("á" * 70, SegmentCount(Encoding.UCS_2, 70, 1)),
        ("á" * 71, SegmentCount(Encoding.UCS_2, 71, 2)),
        ("á" * 134, SegmentCount(Encoding.UCS_2, 134, 2)),
        ("á" * 135, SegmentCount(Encoding.UCS_2, 135, 3)),
        ("👍" * 35, SegmentCount(Encoding.UCS_2, 70, 1)),
        # 67 is odd, too: 33 surrogate pairs a segment
        ("👍" * 66, SegmentCount(Encoding.UCS_2, 132, 2)),
        ("👍" * 67, SegmentCount(Encoding.UCS_2, 134, 3)),
        ("ñé¿¡ü", SegmentCount(Encoding.GSM_7, 5, 1)),
        ("ç", SegmentCount(Encoding.UCS_2, 1, 1)),
    ],
)
def test_segments_at_the_borders(text: str, expected: SegmentCount) -> None:
    assert segments(text) == expected


@thoroughly
@given(gsm_texts)
def test_a_gsm_text_takes_what_encoding_and_cutting_it_takes(text: str) -> None:
    parts = pack(septets(text), 160, 153)

    assert segments(text) == SegmentCount(Encoding.GSM_7, sum(map(len, parts)), len(parts))
    assert all(part[-1:] != [0x1B] for part in parts)


@thoroughly
@given(texts.filter(lambda text: not is_gsm(text)))
def test_any_other_text_takes_what_utf_16_takes(text: str) -> None:
    parts = pack(utf_16(text), 70, 67)

    assert segments(text) == SegmentCount(Encoding.UCS_2, sum(map(len, parts)), len(parts))


@thoroughly
@given(texts)
def test_a_text_is_cut_where_encoding_it_is_cut(text: str) -> None:
    parts = pack(septets(text), 160, 153) if is_gsm(text) else pack(utf_16(text), 70, 67)

    cuts = cut(text)

    assert "".join(cuts) == text
    encode = septets if is_gsm(text) else utf_16
    assert [[unit for character in encode(each) for unit in character] for each in cuts] == parts


@pytest.mark.parametrize("char", [each for each in BASIC if each != "\x1b"])
def test_every_character_of_the_basic_table_takes_one_septet(char: str) -> None:
    assert segments(char) == SegmentCount(Encoding.GSM_7, 1, 1)
    assert segments(char * 160).segments == 1
    assert segments(char * 161).segments == 2


@pytest.mark.parametrize("char", EXTENSION.values())
def test_no_character_of_the_extension_table_is_cut_in_two(char: str) -> None:
    assert segments(char) == SegmentCount(Encoding.GSM_7, 2, 1)

    # its escape would be the 153rd septet
    assert cut("a" * 152 + char + "b" * 10) == ["a" * 152, char + "b" * 10]
    # so a text may need one segment more than its septets divided by 153
    moved = "a" * 152 + char + "b" * 152
    assert segments(moved) == SegmentCount(Encoding.GSM_7, 306, 3)
    assert segments("a" + moved[:-1].replace(char, "cc")).segments == 2


def test_nothing_else_of_unicode_is_in_the_alphabet() -> None:
    inside = {chr(code) for code in range(0x110000) if is_gsm(chr(code))}

    assert inside == (set(BASIC) - {"\x1b"}) | set(EXTENSION.values())


def test_a_surrogate_pair_is_never_cut_in_two() -> None:
    assert cut("á" * 66 + "👍" + "é" * 10) == ["á" * 66, "👍" + "é" * 10]


@pytest.mark.parametrize("joined", ["e\u0301", "👩\u200d👩\u200d👧", "\U0001f44d\U0001f3fd", "✔\ufe0f"])
def test_what_only_the_screen_joins_is_cut_like_any_other_characters(joined: str) -> None:
    parts = cut("á" * 66 + joined + "á" * 67)

    assert "".join(parts) == "á" * 66 + joined + "á" * 67
    first = joined[0] if ord(joined[0]) <= 0xFFFF else ""
    assert parts[0] == "á" * 66 + first


def test_the_characters_that_force_ucs_2_are_told_in_order_and_counted() -> None:
    assert outside_gsm("Está “ahí”, ñ, á€") == {"á": 2, "“": 1, "í": 1, "”": 1}
    assert outside_gsm("plain [text] for 5 €") == {}


@pytest.mark.parametrize(
    ("char", "plain"),
    [("’", "'"), ("“", '"'), ("—", "-"), ("…", "..."), ("\u00a0", " "), ("\u200b", ""), ("\u2126", "Ω")]
    + [(letter, None) for letter in "áíóúÁÍÓÚçãê👍a"],
)
def test_what_a_character_folds_to(char: str, plain: str | None) -> None:
    assert plain_for(char) == plain


@thoroughly
@given(texts)
def test_folding_never_costs_a_segment_and_is_done_once(text: str) -> None:
    folded = fold(text)

    assert segments(folded).segments <= segments(text).segments
    assert fold(folded) == folded


@thoroughly
@given(gsm_texts)
def test_a_gsm_text_is_left_alone(text: str) -> None:
    assert fold(text) == text


@thoroughly
@given(texts)
def test_folding_changes_no_letter_and_no_digit(text: str) -> None:
    def said(words: str) -> str:
        # é and e with a combining accent are one letter, written in two ways
        return "".join(char for char in unicodedata.normalize("NFC", words) if char.isalnum())

    assert said(fold(text)) == said(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It’s “time” – now…", 'It\'s "time" - now...'),
        ("a\u00a0b\u202fc\u00add\u200be", "a b cde"),
        # the á forces UCS-2 in any case, so nothing is gained and nothing is changed
        ("Está “listo”…", "Está “listo”…"),
        # folded it would need two segments instead of one
        ("…" * 70, "…" * 70),
        # the alphabet has é and ñ, so two code points that mean them are one of its letters; á it has not
        ("cafe\u0301 man\u0303ana", "café mañana"),
        ("esta\u0301", "esta\u0301"),
    ],
)
def test_folding(text: str, expected: str) -> None:
    assert fold(text) == expected
