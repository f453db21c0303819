"""The command that counts: what a text costs on the air, where it is cut, and why."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import click

from domain.rules.sms_text import Encoding, cut, fold, outside_gsm, plain_for
from domain.rules.sms_text import segments as count
from ops.cli.base import JSON, fail, print_json

#: Units of one segment alone and of each of several, as the first line tells them.
_ROOM = {Encoding.GSM_7: "160 alone, 153 each of several", Encoding.UCS_2: "70 alone, 67 each of several"}


@click.command(epilog='Example: reactivate segments "Northstar Health: it’s time" --fold')
@click.argument("text")
@click.option("--fold", "is_folded", is_flag=True, help="Count the text as the SMS channel sends it: folded.")
@JSON
def segments(text: str, is_folded: bool, as_json: bool) -> None:
    """Count the SMS segments of TEXT (`-`: of standard input, without its last line break)."""
    text = _checked(_piped() if text == "-" else text)
    told = _told(fold(text) if is_folded else text)
    told["forces_ucs2"] = [_forcing(char, times) for char, times in outside_gsm(text).items()]
    told["folded"] = None if is_folded or fold(text) == text else _told(fold(text))
    if as_json:
        print_json(told)
        return
    _print(told)
    for each in told["forces_ucs2"]:
        what = f"{each['code_point']} {each['name']}, {_number(each['times'], 'time')}"
        click.echo(f"  not in GSM-7: {what}; {_folding(each['character'], each['folds_to'])}")
    if told["folded"] is not None:
        click.echo("folded, as the SMS channel sends it:")
        _print(told["folded"])
    elif told["forces_ucs2"]:
        click.echo("folding leaves it alone: it would save nothing")


def _folding(char: str, plain: str | None) -> str:
    if unicodedata.combining(char):
        return "made one letter with the one before it, where GSM-7 has that"
    if plain is None:
        return "never folded: it would change what is said"
    return f"could fold to {plain!r}" if plain else "could be left out"


def _print(told: dict[str, Any]) -> None:
    encoding = Encoding(told["encoding"])
    click.echo(
        f"{encoding}: {_number(told['units'], 'unit')}, {_number(told['segments'], 'segment')} ({_ROOM[encoding]})"
    )
    for nth, each in enumerate(told["texts"], 1):
        click.echo(f"  {nth}: {each['units']:>3} {each['text']!r}")


def _told(text: str) -> dict[str, Any]:
    counted = count(text)
    parts = cut(text)
    wide = counted.encoding == Encoding.UCS_2
    units = [sum(len(char.encode("utf-16-be")) // 2 for char in part) if wide else count(part).units for part in parts]
    return {
        "encoding": counted.encoding.value,
        "units": counted.units,
        "segments": counted.segments,
        "texts": [{"units": each, "text": part} for each, part in zip(units, parts, strict=True)],
    }


def _forcing(char: str, times: int) -> dict[str, Any]:
    return {
        "character": char,
        "code_point": f"U+{ord(char):04X}",
        "name": unicodedata.name(char, "(a character without a name)"),
        "times": times,
        "folds_to": plain_for(char),
    }


def _piped() -> str:
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        fail(f"standard input is not UTF-8 text: byte {error.start + 1} is none of it")
    return text.removesuffix("\n").removesuffix("\r")


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        fail(f"TEXT is not UTF-8: character {error.start + 1} is none; set the terminal to UTF-8")
    return text


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"
