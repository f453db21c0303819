"""How many segments a text takes, where it is cut, and which typographic characters are worth plain ones.

A text is sent in the GSM 7-bit alphabet where every character is in it, else in UCS-2, where a segment holds less than
half as many. Sources: 3GPP TS 23.038 (alphabet, extension table), TS 23.040 (concatenation header of 6 octets).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Encoding(StrEnum):
    """What a text is sent in; decides how much fits into a segment."""

    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"


@dataclass(frozen=True, slots=True)
class SegmentCount:
    """What a text takes on the air and on the bill."""

    encoding: Encoding
    units: int
    """Septets (GSM-7) or UTF-16 code units (UCS-2), padding between segments not counted."""
    segments: int


def segments(text: str) -> SegmentCount:
    """Count exactly: extension characters take two septets; escapes and surrogate pairs never span two segments.

    An empty text is one segment of no units.
    """
    if _BASIC.issuperset(text):
        # most texts, sent by the million: every character is one septet, so nothing can be cut apart
        joined, units = _JOINED[Encoding.GSM_7], len(text)
        return SegmentCount(Encoding.GSM_7, units, 1 if units <= _ALONE[Encoding.GSM_7] else -(-units // joined))
    encoding, widths = _widths(text)
    return SegmentCount(encoding, sum(widths), len(_starts(encoding, widths)))


def cut(text: str) -> list[str]:
    """The text of each segment, in order; joined they are the text.

    Only an escape and a surrogate pair are kept whole. A letter and its combining accent, or the parts of a joined
    emoji, may fall into two segments: the handset joins the segments before it shows them.
    """
    starts = _starts(*_widths(text))
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def is_gsm(text: str) -> bool:
    """Whether every character is in the GSM 7-bit default alphabet or its extension table."""
    return _ALPHABET.issuperset(text)


def outside_gsm(text: str) -> dict[str, int]:
    """The characters that force a text into UCS-2, and how often each is there, in order of appearance."""
    return dict(Counter(char for char in text if char not in _ALPHABET))


def fold(text: str) -> str:
    """Replace smart quotes, dashes, ellipses and odd spaces by plain ones where that saves, else leave the text alone.

    Letters are never touched: á is not a, and "esta" is not "está". So a text that holds one stays as it is written,
    since folding the rest of it would gain nothing. Only the two ways to write one letter are made one: e and a
    combining accent are é, which the alphabet has. Folding twice changes nothing more; it never costs a segment.
    """
    folded = unicodedata.normalize("NFC", text.translate(_FOLDS))
    if folded == text:
        return text
    if is_gsm(folded) and segments(folded).segments <= segments(text).segments:
        return folded
    return text


def plain_for(char: str) -> str | None:
    """What folding puts in the place of a character; None where it leaves it alone."""
    plain = unicodedata.normalize("NFC", char.translate(_FOLDS))
    return plain if plain != char and is_gsm(plain) else None


#: GSM 03.38 basic table in code order, without the escape (0x1B) itself.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: Reached by an escape, so two septets each; \f is the page break.
_EXTENSION = frozenset("\f^{}\\[~]|€")
_ALPHABET = _BASIC | _EXTENSION

_LAST_OF_BASIC_PLANE = 0xFFFF

#: Units a text may have in one segment, and units per segment once the concatenation header takes its share.
_ALONE = {Encoding.GSM_7: 160, Encoding.UCS_2: 70}
_JOINED = {Encoding.GSM_7: 153, Encoding.UCS_2: 67}

#: What a word processor or a copied web page leaves behind, and what was meant.
_FOLDS = str.maketrans(
    dict.fromkeys("‘’‚‛′´`", "'")
    | dict.fromkeys("“”„‟″«»", '"')
    | dict.fromkeys("‐‑‒–—―−•", "-")
    | dict.fromkeys("\t\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " ")
    | dict.fromkeys("\u2028\u2029", "\n")
    | dict.fromkeys("\u00ad\u200b\u2060\ufeff", "")
    | {"…": "..."}
)


def _widths(text: str) -> tuple[Encoding, list[int]]:
    """What the text is sent in, and the units of each of its characters."""
    if is_gsm(text):
        return Encoding.GSM_7, [2 if char in _EXTENSION else 1 for char in text]
    return Encoding.UCS_2, [2 if ord(char) > _LAST_OF_BASIC_PLANE else 1 for char in text]


def _starts(encoding: Encoding, widths: Sequence[int]) -> list[int]:
    """The index of the first character of each segment."""
    starts = [0]
    if sum(widths) <= _ALONE[encoding]:
        return starts
    room, used = _JOINED[encoding], 0
    for index, width in enumerate(widths):
        if used + width > room:
            starts.append(index)
            used = 0
        used += width
    return starts
