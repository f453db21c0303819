"""Whether mail in the United States can be delivered to an address, and what looks wrong with it.

Sources: USPS Publication 28 (form, military addresses, Puerto Rico); prefixes of ZIP codes by state after USPS L002,
recalled and therefore a warning only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from domain.rules.places import state_code

#: Where armed forces and diplomats get their mail: the "city", and its "states" with the prefixes of their codes.
_MILITARY_CITIES: Final = frozenset({"APO", "FPO", "DPO"})
_MILITARY_STATES: Final = frozenset({"AA", "AE", "AP"})

_ZIP: Final = re.compile(r"\d{5}(?:-\d{4})?")
#: The last part of a line: a state, and a code that may be misspelt.
_STATE_AND_ZIP: Final = re.compile(r"(?P<state>[^\d]*?)\s*(?P<code>[\d-]*)")
_UNITED_STATES: Final = frozenset({"us", "usa", "u.s.", "u.s.a.", "united states", "united states of america"})

#: State and the prefixes of its ZIP codes, first to last.
_PREFIXES: Final = """
AL 350-369|AK 995-999|AZ 850-865|AR 716-729|CA 900-961|CO 800-816|CT 060-069|DE 197-199|DC 200-205,569|FL 320-349
GA 300-319,398-399|HI 967-968|ID 832-838|IL 600-629|IN 460-479|IA 500-528|KS 660-679|KY 400-427|LA 700-714
ME 039-049|MD 206-219|MA 010-027,055|MI 480-499|MN 550-567|MS 386-397|MO 630-658|MT 590-599|NE 680-693|NV 889-898
NH 030-038|NJ 070-089|NM 870-884|NY 005,063,100-149|NC 270-289|ND 580-588|OH 430-459|OK 730-749|OR 970-979
PA 150-196|RI 028-029|SC 290-299|SD 570-577|TN 370-385|TX 733,750-799,885|UT 840-847|VT 050-059|VA 201,220-246
WA 980-994|WV 247-268|WI 530-549|WY 820-831|AS 967|GU 969|MP 969|PR 006-007,009|VI 008|AA 340|AE 090-098|AP 962-966
"""


def _spans() -> dict[str, tuple[range, ...]]:
    found = {}
    for entry in re.split(r"[|\n]", _PREFIXES.strip()):
        state, _, spans = entry.partition(" ")
        ends = [span.partition("-") for span in spans.split(",")]
        found[state] = tuple(range(int(first), int(last or first) + 1) for first, _, last in ends)
    return found


_SPANS: Final = _spans()


@dataclass(frozen=True, slots=True)
class PostalAddress:
    """An address as it was written, taken apart; what is not there is empty. A PO box is a street like any other."""

    street: str
    city: str
    state: str
    postal_code: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a field of an address; `is_fatal`: nothing can be delivered there."""

    field: str
    reason: str
    is_fatal: bool = True


def parse(text: str) -> PostalAddress:
    """Take apart an address that is written on one line, or on several: street, city, state and ZIP code."""
    parts = [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]
    if parts and parts[-1].casefold() in _UNITED_STATES:
        parts.pop()
    last = _STATE_AND_ZIP.fullmatch(parts[-1]) if len(parts) > 1 else None
    if last is None:
        return PostalAddress(", ".join(parts[:-1] or parts), parts[-1] if len(parts) > 1 else "", "", "")
    before, city, state = parts[:-1], "", last["state"].strip()
    words = state.split()
    if not _is_state(state) and (len(before) == 1 or last["code"]) and words and _is_state(words[-1]):
        # no comma between city and state
        city, state = " ".join(words[:-1]), words[-1]
    elif not _is_state(state) and not last["code"]:
        city, state = state, ""
    elif len(before) > 1:
        city = before.pop()
    return PostalAddress(", ".join(before), city, state, last["code"])


def judge(address: PostalAddress) -> list[Flaw]:
    """Everything wrong with an address in the United States, Puerto Rico, the other territories and military post."""
    code = _code_of(address.state)
    flaws = [
        Flaw(field, reason)
        for field, value, reason in (
            ("street", address.street, "no street with a number, nor a PO box"),
            ("city", address.city, "no city; for military post APO, FPO or DPO"),
            ("state", address.state, "no state; write it in two letters, such as MA"),
            ("postal_code", address.postal_code, "no ZIP code; write its five digits, such as 02101"),
        )
        if not value.strip()
    ]
    if address.state.strip() and code is None:
        flaws.append(Flaw("state", "no state or territory of the US, nor AA, AE or AP for military post"))
    if address.postal_code.strip() and not _ZIP.fullmatch(address.postal_code.strip()):
        flaws.append(Flaw("postal_code", "no ZIP code: expected five digits, or nine as in 02101-1234"))
    if code is not None:
        flaws += _contradictions(address, code)
    return flaws


def is_deliverable(address: PostalAddress) -> bool:
    """Whether mail can be sent there; what only looks odd does not hinder it."""
    return not any(flaw.is_fatal for flaw in judge(address))


def _contradictions(address: PostalAddress, code: str) -> list[Flaw]:
    """Where the state contradicts the city or the ZIP code."""
    flaws = []
    is_military_city = address.city.strip().upper() in _MILITARY_CITIES
    if address.city.strip() and is_military_city != (code in _MILITARY_STATES):
        flaws.append(Flaw("city", "APO, FPO and DPO go with the states AA, AE and AP, and those with nothing else"))
    if _ZIP.fullmatch(address.postal_code.strip()) and not _fits(code, address.postal_code.strip()):
        flaws.append(Flaw("postal_code", f"this ZIP code does not look like one of {code}", is_fatal=False))
    return flaws


def _fits(code: str, postal_code: str) -> bool:
    return any(int(postal_code[:3]) in span for span in _SPANS[code])


def _is_state(text: str) -> bool:
    return _code_of(text) is not None


def _code_of(text: str) -> str | None:
    word = text.strip().upper()
    return word if word in _MILITARY_STATES else state_code(text)
