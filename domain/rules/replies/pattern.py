"""Patterns: how a readable row such as `<please> stop [ever] <contacting> ... me` is matched against a normal form.

A pattern is words and these signs: `(a|b c)` one of them · `[a]` may be missing · `<name>` one of a word class ·
`..` up to two words, `...` up to five · `_` any one word · `unsub*` a word that begins so · `*ing` one that ends so ·
`<digits>` a number · `?` a question mark · `&` both sides, in whatever order, in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from domain.rules.replies.form import Form
from domain.rules.replies.normalise import fold

#: Where a pattern has to stand: it is the whole message or a whole sentence, it opens the message, starts or ends a
#: sentence (courtesies around it left out), or it stands anywhere.
PLACES: Final = ("whole", "sentence", "opens", "start", "end", "anywhere")

_AT_THE_START: Final = frozenset({"whole", "sentence", "opens", "start"})

_SIGNS: Final = re.compile(r"\s*(\.\.\.|\.\.|[()\[\]|&?]|<[\w ]+>|[^\s()\[\]|&<>?]+)")
_SHAPE: Final = re.compile(r"[^\W_]+\*?\Z")
_WORD: Final = "[^ .?]+ "
_AT_THE_END: Final = r"\Z"
#: A pattern is looked up by the rarest words it needs; these are common, the first in nearly every message.
_VERY_COMMON: Final = frozenset(re.findall(r"\w+", "i you to not is the a and do me in it my"))
_COMMON: Final = frozenset(
    re.findall(
        r"\w+",
        """of for on at be have are this that your we us he she they them can will would please no so but if or am was
        with up out get go de la el que mi y en es un una lo se los las por para con ya si su al del le te thanks ok
        yes need want just any from been there now had number call know one phone see how back all text message send
        take more off come let going did here stop good later when make work again done who keep like day time what""",
    )
)


class PatternError(ValueError):
    """A pattern that cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of a pattern: its regular expression, and the words of which one must be there (None: it may be empty)."""

    source: str
    keys: frozenset[str] | None
    needs: tuple[frozenset[str], ...] = ()
    """Sets of words of each of which one must be there."""
    firsts: frozenset[str] | None = None
    """The words it can begin with (None: any)."""
    may_be_missing: bool = False


_ANY: Final = _Node(_WORD, None)
_MARKS: Final = {
    "...": _Node(f"(?:{_WORD}){{0,5}}?", None, may_be_missing=True),
    "..": _Node(f"(?:{_WORD}){{0,2}}?", None, may_be_missing=True),
    "<digits>": _Node("[0-9][^ .?]* ", None),
    "_": _ANY,
    "?": _Node(r"\? ", frozenset("?"), (frozenset("?"),)),
}


@dataclass(frozen=True)
class Pattern:
    """One pattern of a rule, in its place."""

    text: str
    place: str
    sources: tuple[str, ...]
    keys: frozenset[str]
    """The rarest words of which one must be there; a key that ends in `*` is the beginning of a word."""
    needs: tuple[frozenset[str], ...]
    """More such sets."""
    firsts: frozenset[str] | None
    """The words it can begin with (None: any)."""

    @cached_property
    def _parts(self) -> tuple[re.Pattern[str], ...]:
        # at first use: most patterns are never candidates in the life of a process
        return tuple(re.compile(source) for source in self.sources)

    def spans(self, form: Form) -> Iterator[tuple[int, int]]:
        """Where it matches: the span of the sentence of each match. To be asked where it is not out of place."""
        if self.place == "anywhere":
            if len(form.sentences) == 1 and len(self.sources) == 1:
                # being not out of place is all of it then
                yield form.sentences[0]
                return
            yield from (sentence for sentence in form.sentences if self.is_within(form, sentence))
            return
        (part,) = self._parts
        match self.place:
            case "opens":
                opening = form.sentences[:1]
                found = [
                    span for first, span in form.starts if span in opening and part.match(form.text, first, span[1])
                ]
            case "start":
                found = [span for first, span in form.starts if part.match(form.text, first, span[1])]
            case "end":
                found = [span for last, span in form.ends if part.search(form.text, span[0], last)]
            case _:
                found = [
                    span
                    for first, span in form.starts
                    if part.match(form.text, first, span[1])
                    and any(part.fullmatch(form.text, first, last) for last, other in form.ends if other == span)
                ]
        yield from found

    def is_out_of_place(self, form: Form) -> bool:
        """Whether it surely does not match: what most patterns that are tried come to, told at the least cost."""
        if self.place == "anywhere":
            return self._search(form.text) is None
        return self.place in _AT_THE_START and self.firsts is not None and form.first_words.isdisjoint(self.firsts)

    @cached_property
    def _search(self) -> Callable[[str], object]:
        return self._parts[0].search

    def is_somewhere(self, text: str) -> bool:
        """Whether its words stand in `text` at all, wherever: without them no clause can match."""
        return self._search_loosely(text) is not None

    @cached_property
    def _search_loosely(self) -> Callable[[str], object]:
        return re.compile(self.sources[0].removesuffix(_AT_THE_END)).search

    def is_within(self, form: Form, sentence: tuple[int, int]) -> bool:
        """Whether it matches in that sentence; of patterns that may stand anywhere."""
        return all(part.search(form.text, *sentence) is not None for part in self._parts)


class Classes:
    """Word classes by name (one may use others, but not itself), and what spellings stand for."""

    def __init__(self, entries: Mapping[str, Sequence[str]], spellings: Mapping[str, str]) -> None:
        self._entries = entries
        self._spellings = spellings
        self._nodes: dict[str, _Node] = {}

    def spelt(self, word: str) -> str:
        """The word or words a spelling stands for: a pattern may be written with "don't" or "u"."""
        return self._spellings.get(word, word)

    def node(self, name: str, inside: tuple[str, ...] = ()) -> _Node:
        """The class as a part of a pattern. Raises PatternError."""
        if name in inside:
            raise PatternError(f"the word class <{name}> contains itself")
        if name not in self._entries:
            raise PatternError(f"there is no word class <{name}>")
        if name not in self._nodes:
            readers = [_Reader(entry, self, (*inside, name)).read() for entry in self._entries[name]]
            self._nodes[name] = _either([node for nodes in readers for node in nodes])
        return self._nodes[name]


def compile_pattern(text: str, place: str, classes: Classes) -> Pattern:
    """Read a pattern as written in a data file. Raises PatternError."""
    parts = _Reader(text, classes, ()).read()
    if len(parts) > 1 and place != "anywhere":
        raise PatternError("`&` is for patterns that may stand anywhere")
    keyed = [part.keys for part in parts if part.keys is not None]
    if not keyed:
        raise PatternError("it has no word that must be there, so it would match nearly everything")
    keys = min(keyed, key=_cost)
    needs = sorted({need for part in parts for need in part.needs if need != keys}, key=_cost)
    sources = tuple(_placed(part.source, place) for part in parts)
    return Pattern(text, place, sources, keys, tuple(needs), parts[0].firsts)


def _placed(source: str, place: str) -> str:
    # every match begins with the blank before its first word, which the search finds fastest
    return f" {source}{_AT_THE_END}" if place == "end" else f" {source}"


class _Reader:
    """Reads one pattern from left to right."""

    def __init__(self, text: str, classes: Classes, inside: tuple[str, ...]) -> None:
        self._signs = _SIGNS.findall(text)
        if "".join("".join(self._signs).split()) != "".join(text.split()) or not self._signs:
            raise PatternError(f"`{text}` cannot be read")
        self._at = 0
        self._classes = classes
        self._inside = inside

    def read(self) -> list[_Node]:
        parts = [self._alternatives()]
        while self._take("&"):
            parts.append(self._alternatives())
        if self._at < len(self._signs):
            raise PatternError(f"`{self._signs[self._at]}` has no beginning")
        return parts

    def _alternatives(self) -> _Node:
        found = [self._sequence()]
        while self._take("|"):
            found.append(self._sequence())
        return _either(found)

    def _sequence(self) -> _Node:
        nodes: list[_Node] = []
        while self._at < len(self._signs) and self._signs[self._at] not in ("|", ")", "]", "&"):
            nodes.append(self._one())
        if not nodes:
            raise PatternError("a part of it is empty")
        keyed = [node.keys for node in nodes if node.keys is not None]
        needs = tuple(need for node in nodes for need in node.needs)
        return _Node(
            "".join(node.source for node in nodes), min(keyed, key=_cost) if keyed else None, needs, *_beginning(nodes)
        )

    def _one(self) -> _Node:
        sign = self._signs[self._at]
        self._at += 1
        if sign in ("(", "["):
            inner = self._alternatives()
            if not self._take(")" if sign == "(" else "]"):
                raise PatternError(f"`{sign}` is never closed")
            return inner if sign == "(" else _Node(f"(?:{inner.source})?", None, (), inner.firsts, may_be_missing=True)
        if sign in _MARKS:
            return _MARKS[sign]
        if sign.startswith("<"):
            return self._classes.node(sign[1:-1], self._inside)
        return self._word(sign)

    def _word(self, written: str) -> _Node:
        bare = fold(written.strip("*").replace("'", "").replace("’", ""))
        if not _SHAPE.match(bare) or len(written) - len(written.strip("*")) > 1:
            raise PatternError(f"`{written}` is no word (write without hyphens, as separate words)")
        if written.startswith("*"):
            return _Node(f"[^ .?]*{bare} ", None)
        if written.endswith("*"):
            return _Node(f"{bare}[^ .?]* ", *_keyed(f"{bare}*"))
        words = self._classes.spelt(bare).split()
        return _Node(f"{' '.join(words)} ", *_keyed(*words), frozenset(words[:1]))

    def _take(self, sign: str) -> bool:
        if self._at < len(self._signs) and self._signs[self._at] == sign:
            self._at += 1
            return True
        return False


def _keyed(*keys: str) -> tuple[frozenset[str], tuple[frozenset[str], ...]]:
    needs = tuple(frozenset((key,)) for key in keys)
    return min(needs, key=_cost), needs


def _beginning(nodes: Sequence[_Node]) -> tuple[frozenset[str] | None, bool]:
    """With which words a sequence can begin, and whether all of it may be missing."""
    firsts: frozenset[str] = frozenset()
    for node in nodes:
        if node.firsts is None:
            return None, all(each.may_be_missing for each in nodes)
        firsts |= node.firsts
        if not node.may_be_missing:
            return firsts, False
    return firsts, True


def _either(nodes: Sequence[_Node]) -> _Node:
    if len(nodes) == 1:
        return nodes[0]
    keys: frozenset[str] | None = frozenset()
    for node in nodes:
        keys = None if keys is None or node.keys is None else keys | node.keys
    # the longest first, so that "text messages" is not left standing at "text"
    sources = sorted({node.source for node in nodes}, key=len, reverse=True)
    firsts: frozenset[str] | None = frozenset()
    for node in nodes:
        firsts = None if firsts is None or node.firsts is None else firsts | node.firsts
    may_be_missing = any(node.may_be_missing for node in nodes)
    return _Node(f"(?:{'|'.join(sources)})", keys, (keys,) if keys is not None else (), firsts, may_be_missing)


def _cost(keys: frozenset[str]) -> int:
    return sum(120 if key in _VERY_COMMON else 30 if key in _COMMON else 1 for key in keys)
