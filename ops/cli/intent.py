"""The command that tells what a reply means: one text, or a file of them, which it can also judge by their labels."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

import click
from rich.table import Table

from domain.rules.replies.intent import PRECEDENCE, Understood, understand
from domain.rules.vocabulary import Effect, Intent
from ops.cli.base import JSON, Terminal, fail, print_json

_COLUMNS: Final = ("answer_intent", "effects", "rule")
_TOLD_EVERY: Final = 100_000


@click.command(epilog="Example: reactivate intent --csv replies.csv --column text > understood.csv")
@click.argument("text", required=False)
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), help="A file of texts, any size.")
@click.option("--column", default="text", show_default=True, help="The column of the file that holds the text.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here, not to standard output.")
@click.option("--label", help="A column with the right intent: tell how often the rules find it, not each text.")
@JSON
def intent(
    text: str | None, csv_file: Path | None, column: str, out: Path | None, label: str | None, as_json: bool
) -> None:
    """Tell what a reply means: its intent, what it has for effects, and the rule that says so.

    A dash for the TEXT reads it from standard input, so that a patient's words need not stand in a shell's history.
    Nothing is stored or sent, and no text is logged. Of a file, each row of output is one of input: its `id`, if it
    has one, answer_intent, effects and rule.
    """
    if (text is None) == (csv_file is None):
        fail("give either a TEXT or --csv FILE")
    if csv_file is None:
        if out is not None or label is not None:
            fail("--out and --label are for --csv")
        _tell(understand(sys.stdin.read() if text == "-" else text or ""), as_json=as_json)
    elif label is not None:
        if out is not None:
            fail("--out is for what each text means; with --label the rates are printed")
        _tell_scores(_score(csv_file, column, label), as_json=as_json)
    else:
        if as_json:
            fail("--json is for one TEXT, or for --label")
        _understand_file(csv_file, column, out)


def _tell(found: Understood, *, as_json: bool) -> None:
    if as_json:
        print_json({"intent": found.intent, "effects": list(found.effects), "rule": found.rule})
        return
    click.echo(f"intent   {found.intent}")
    click.echo(f"effects  {_joined(found)}")
    click.echo(f"rule     {found.rule or 'none: a person reads it'}")


def _understand_file(path: Path, column: str, out: Path | None) -> None:
    if out is not None and out.exists() and out.samefile(path):
        fail(f"--out {out} is the file that is read")
    rows = _rows(path, (column,))
    first = next(rows, None)
    with _writing(out) as target:
        has_id = first is not None and "id" in first[1]
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow((*(("id",) if has_id else ()), *_COLUMNS))
        for number, (_, row) in enumerate(_again(first, rows), 1):
            found = understand(row[column])
            told = (found.intent.value, _joined(found), found.rule or "")
            writer.writerow((row["id"], *told) if has_id else told)
            if number % _TOLD_EVERY == 0:
                click.echo(f"{number:,} texts", err=True)


@dataclass
class _Scores:
    """How often the rules find what the labels say."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Texts by label and by intent found."""
    opted_out: Counter[str] = field(default_factory=Counter)
    """Texts with the effect of an opt-out, by label: it applies whatever else wins."""

    def labelled(self, label: str) -> int:
        """Texts with this label."""
        return sum(count for (wanted, _), count in self.pairs.items() if wanted == label)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        labels = _in_order({wanted for wanted, _ in self.pairs})
        others = [label for label in labels if label != Intent.OPT_OUT]
        return {
            "texts": self.pairs.total(),
            "right": sum(self.pairs[label, label] for label in labels),
            "by_label": {label: self._row(label) for label in labels},
            "opt_outs": {"texts": self.labelled(Intent.OPT_OUT), "honoured": self.opted_out[Intent.OPT_OUT]},
            "opted_out_beside_another_label": {
                "texts": sum(self.labelled(label) for label in others),
                "opted_out": sum(self.opted_out[label] for label in others),
            },
        }

    def _row(self, label: str) -> dict[str, Any]:
        found = {each: self.pairs[label, each] for each in _in_order(set(Intent)) if self.pairs[label, each]}
        return {"texts": self.labelled(label), "right": self.pairs[label, label], "found": found}


def _score(path: Path, column: str, label: str) -> _Scores:
    scores = _Scores()
    for number, (line, row) in enumerate(_rows(path, (column, label)), 1):
        wanted = row[label].strip()
        if wanted not in set(Intent):
            fail(f"{path}:{line}: {label}: `{wanted}` is no intent; there are {', '.join(sorted(Intent))}")
        found = understand(row[column])
        scores.pairs[wanted, found.intent.value] += 1
        scores.opted_out[wanted] += Effect.OPT_OUT in found.effects
        if number % _TOLD_EVERY == 0:
            click.echo(f"{number:,} texts", err=True)
    return scores


def _tell_scores(scores: _Scores, *, as_json: bool) -> None:
    told = scores.as_dict()
    if as_json:
        print_json(told)
        return
    table = Table("label", "texts", "right", "", "found instead", title="Intents", title_justify="left")
    for column in table.columns[1:4]:
        column.justify = "right"
    for label, row in told["by_label"].items():
        instead = ", ".join(f"{found} {count:,}" for found, count in row["found"].items() if found != label)
        table.add_row(label, f"{row['texts']:,}", f"{row['right']:,}", _percent(row["right"], row["texts"]), instead)
    terminal = Terminal()
    terminal.print(table)
    click.echo(f"right: {_share(told['right'], told['texts'])}")
    honoured, beside = told["opt_outs"], told["opted_out_beside_another_label"]
    click.echo(f"opt-outs honoured: {_share(honoured['honoured'], honoured['texts'])}")
    # an emergency, say, can be an opt-out as well
    click.echo(f"opted out under another label: {_share(beside['opted_out'], beside['texts'])}")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of a CSV file, each with the line it ends on. Ends the command where the file is none."""
    csv.field_size_limit(sys.maxsize)
    reader = None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                there = ", ".join(reader.fieldnames or ()) or "nothing"
                fail(f"{path}:1: there is no column `{missing[0]}`; the first line names {there}")
            for row in reader:
                if any(row[column] is None for column in columns):
                    fail(f"{path}:{reader.line_num}: the row is too short: it has no `{columns[-1]}`")
                yield reader.line_num, row
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        fail(f"{path}:{(reader.line_num if reader else 0) + 1}: not UTF-8 text, here or a little further on")
    except csv.Error as error:
        fail(f"{path}:{reader.line_num if reader else 1}: not CSV: {error}")


def _again(
    first: tuple[int, Mapping[str, str]] | None, rest: Iterator[tuple[int, Mapping[str, str]]]
) -> Iterator[tuple[int, Mapping[str, str]]]:
    if first is not None:
        yield first
    yield from rest


@contextmanager
def _writing(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        file = out.open("w", newline="", encoding="utf-8")
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror}")
    with file:
        yield file


def _in_order(intents: set[str]) -> list[str]:
    return [intent.value for intent in PRECEDENCE if intent.value in intents]


def _joined(found: Understood) -> str:
    return ";".join(found.effects)


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({_percent(part, whole)})"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
