"""Every plain way of opting out, put together from its parts, is one; and the ordinary sentences beside it are none.

What a patient writes is nearly always verb, object, person, time and a courtesy. Each table of plain_sentences.yaml is
one way to say it, and what can be made of it is read, so that no plain combination is missed because nobody thought of
writing it down. Of a large table a fixed sample is read.
"""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest
import yaml

from domain.rules.replies.intent import understand
from domain.rules.vocabulary import Effect

_TABLES = yaml.safe_load((Path(__file__).parent / "plain_sentences.yaml").read_text(encoding="utf-8"))
_SENTENCES_A_TABLE = 900


def _sentences(section: str, table: str) -> list[str]:
    parts = [_TABLES["lists"][part[1:-1]] if isinstance(part, str) else part for part in _TABLES[section][table]]
    sentences = [" ".join(filter(None, words)) for words in product(*parts)]
    if len(sentences) <= _SENTENCES_A_TABLE:
        return sentences
    return random.Random(table).sample(sentences, _SENTENCES_A_TABLE)  # noqa: S311  (a sample, no secret)


def _opts_out(text: str) -> bool:
    return Effect.OPT_OUT in understand(text).effects


@pytest.mark.parametrize("table", _TABLES["english"])
def test_every_plain_opt_out_in_english_is_seen(table: str) -> None:
    sentences = _sentences("english", table)

    missed = [text for text in sentences if not _opts_out(text)]

    assert missed == []


@pytest.mark.parametrize("table", _TABLES["spanish"])
def test_every_plain_opt_out_in_spanish_is_seen(table: str) -> None:
    sentences = _sentences("spanish", table)

    missed = [text for text in sentences if not _opts_out(text)]

    assert missed == []


@pytest.mark.parametrize("table", _TABLES["ordinary"])
def test_the_ordinary_sentences_beside_them_are_none(table: str) -> None:
    sentences = _sentences("ordinary", table)

    mistaken = [text for text in sentences if _opts_out(text)]

    assert mistaken == []
