"""Own words: what of a message the person wrote, without reactions, quoted originals, footers and signatures.

A phone's reaction quotes our own "Reply STOP", and so does a mail under the answer: neither is anybody's wish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

_OPENING: Final = '[“"«„]'
_CLOSING: Final = {"“": "”", '"': '"', "«": "»", "„": "“"}
#: Android: the emoji itself, then "to" (or the phone's language for it).
_EMOJI_TO: Final = rf"[^\w\s“\"«‘'.,;:!?()-]{{1,12}}\s*(?:to|a|à)\s*(?P<open>{_OPENING})"
_QUOTED_LINE: Final = re.compile(r"(?m)^[ \t]*>.*$")
_DELIMITER: Final = re.compile(r"(?ms)^-- ?$.*\Z")
#: A quotation this long inside a message is ours, or somebody's, but not what the person says.
_QUOTATION: Final = re.compile(r"[“«][^”»]{40,}[”»]|\"[^\"]{40,}\"")


class Stripper:
    """Leaves a message's own words; its expressions come from the data files."""

    def __init__(
        self,
        reactions: Mapping[str, Sequence[str]],
        media: Sequence[str],
        quotes: Sequence[str],
        signatures: Sequence[str],
        closings: Sequence[str],
    ) -> None:
        """`...` in an expression stands for up to forty characters; `reactions` are by language."""
        self._reactions = [
            (f"reaction.{language}.quote", re.compile(rf"\s*(?:{_any(verbs)})\s*(?P<open>{_OPENING})", re.IGNORECASE))
            for language, verbs in reactions.items()
        ]
        self._reactions.append(("reaction.any.quote", re.compile(rf"\s*{_EMOJI_TO}", re.IGNORECASE)))
        self._media = re.compile(rf"\s*(?:{_any(media)})\s*\.?\s*\Z", re.IGNORECASE)
        self._quotes = re.compile(rf"(?ims)^[ \t]*(?:{_any(quotes)})[ \t]*$.*\Z")
        self._signatures = re.compile(rf"(?im)^[ \t]*(?:{_any(signatures)})\b[^\n]*$")
        self._closings = re.compile(rf"(?ims)^[ \t]*(?:{_any(closings)})[ \t]*[,.!]?[ \t]*\n.*\Z")

    def reaction(self, text: str) -> tuple[str | None, str]:
        """The rule of the reaction that opens the message, if one does, and the person's own words after it."""
        if self._media.match(text):
            return "reaction.any.media", ""
        for rule, pattern in self._reactions:
            if match := pattern.match(text):
                # cut short, the quote never closes: then all of it is ours
                end = text.rfind(_CLOSING[match["open"]], match.end())
                return rule, text[end + 1 :] if end >= 0 else ""
        return None, text

    def own_words(self, text: str) -> str:
        """The message without quoted originals, signatures and what follows a closing such as "Kind regards"."""
        if "\n" in text:
            text = text.replace("\r\n", "\n")
            unquoted = _DELIMITER.sub("", _QUOTED_LINE.sub("", self._quotes.sub("", text)))
            text = self._closings.sub("", self._signatures.sub("", unquoted)).strip() or unquoted
        if any(mark in text for mark in '“«"'):
            # a message that is one quotation is meant as said
            text = _QUOTATION.sub(" ", text) if _QUOTATION.sub("", text).strip() else text
        return text


def _any(expressions: Sequence[str]) -> str:
    return "|".join(re.escape(each).replace(r"\.\.\.", ".{1,40}?").replace(r"\ ", r"\s+") for each in expressions)
