"""Replies understood, and sends judged by every rule, on one core; no server is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path

from domain.rules.guard import Facts, decide
from domain.rules.replies.intent import prepare, understand
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Intent, Send
from ops.bench.figures import Bar, BenchError, Figure, compared, interleaved, middle
from ops.bench.ground import Ground
from producers.rule_files import read_rules

#: Replies per second of the bar: a day's of a very large fleet in a minute and a half.
_REPLIES = 10_000.0

#: As patients write: keywords most of all, then free words, some of which nobody foresaw.
_WORDS = (
    ("STOP", Intent.OPT_OUT),
    ("stop", Intent.OPT_OUT),
    ("Yes", Intent.BOOK),
    ("C", Intent.BOOK),
    ("please stop texting me", Intent.OPT_OUT),
    ("HELP", Intent.HELP),
    ("remove me from your list please", Intent.OPT_OUT),
    ("wrong number", Intent.WRONG_NUMBER),
    ("no me manden mas mensajes", Intent.OPT_OUT),
    ("My mother saw that the dentist on the {n} was closed, and the bus is late again", None),
    ("ok thanks, number {n} is mine", None),
    ("I was there {n} weeks ago and it rained all day long", None),
)
_ORGANISATIONS = 50
_OWN = """\
organisation: own-{nth}
override:
  - row: hours.default
    limit: {{week: {{mon-fri: 10:00-19:00, sat: 10:00-16:00, sun: none}}}}
    reason: our patients asked for it
"""
#: A Tuesday afternoon in New York.
_NOW = datetime(2026, 3, 3, 19, 0, tzinfo=UTC)


def measure(ground: Ground) -> list[Figure]:
    """Two figures: replies beside the bar, and judgements under many own rules beside the tables alone."""
    count = ground.size.pick(20_000, 5_000, 200)
    rounds = ground.size.pick(7, 3, 2)
    prepare()
    _check_words()
    replies = [_understood(_texts(count, number)) for number in range(rounds)]
    ground.say(f"understanding: {middle(replies):,.0f} replies/s")
    many, none = read_rules(_own_rules(ground.directory / "own-rules")), read_rules()
    sides = {
        f"{_ORGANISATIONS} organisations' own rules": lambda _round: _judged(many, count),
        "the tables alone": lambda _round: _judged(none, count),
    }
    judged = interleaved(rounds, sides, lambda said: ground.say(f"understanding: rule checks, {said}/s"))
    what = "replies understood per second on one core, most texts another : the bar"
    check = f"sends judged on one core by hours, caps, choices and holidays, under {_ORGANISATIONS} files : under none"
    return [
        Figure(
            "replies understood", what, "replies/s", middle(replies), _REPLIES, 1.0, Bar.AT_LEAST, {"ours": replies}
        ),
        compared("rule checks", check, "per second", judged, 0.8, Bar.AT_LEAST),
    ]


def _own_rules(folder: Path) -> Path:
    folder.mkdir()
    for nth in range(_ORGANISATIONS):
        (folder / f"own-{nth}.yaml").write_text(_OWN.format(nth=nth))
    return folder


def _texts(count: int, number: int) -> list[str]:
    return [text.format(n=number * count + nth) for nth, (text, _) in enumerate(islice(cycle(_WORDS), count))]


def _check_words() -> None:
    for text, intent in _WORDS:
        found = understand(text.format(n=7)).intent
        if intent is not None and found is not intent:
            raise BenchError(f"understanding: {text!r} was understood as {found}")


def _understood(texts: Sequence[str]) -> float:
    started = time.perf_counter()
    for text in texts:
        understand(text)
    return len(texts) / (time.perf_counter() - started)


def _judged(rules: Rulebook, count: int) -> float:
    facts = Facts(
        kind="outreach",
        expires_at=_NOW + timedelta(days=3),
        rules=rules.in_force("own-0", {"NY"}),
        zones=("America/Chicago", "America/New_York"),
        sent_to_patient=(_NOW - timedelta(days=4),),
    )
    states = [{"NY", state} for state in ("FL", "TX", "CO", "OH")]
    sent = 0
    started = time.perf_counter()
    for nth in range(count):
        known = replace(facts, rules=rules.in_force(f"own-{nth % _ORGANISATIONS}", states[nth % len(states)]))
        sent += isinstance(decide(known, _NOW + timedelta(seconds=nth % 600)), Send)
    elapsed = time.perf_counter() - started
    if sent != count:
        raise BenchError(f"understanding: {count - sent} of {count} sends were judged as not allowed")
    return count / elapsed
