"""Segments are counted as the air counts them, and folding keeps what a text says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.rules.sms_text import Encoding, SegmentCount, fold, is_gsm, segments

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
    units = [list(memoryview(char.encode("utf-16-be", "surrogatepass")).cast("B")) for char in text]
    parts = pack([unit[::2] for unit in units], 70, 67)

    assert segments(text) == SegmentCount(Encoding.UCS_2, sum(map(len, parts)), len(parts))


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
        return "".join(char for char in words if char.isalnum())

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
    ],
)
def test_folding(text: str, expected: str) -> None:
    assert fold(text) == expected
