"""Every path that can send passes the one gate: only the send worker calls a channel, and only with what it claimed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: The simulated provider and patients stand outside the organisation.
OUTSIDE = ("ops/simulator/", "ops/bench/")

#: Ways out of the house: what speaks HTTP, SMTP or a phone's protocols to somebody else.
WAYS_OUT = (
    "aiohttp",
    "aiosmtplib",
    "channels.kit.http",
    "channels.kit.http_connection",
    "channels.kit.http_pool",
    "channels.kit.mail",
    "channels.kit.smtp",
    "http.client",
    "httptools",
    "httpx",
    "requests",
    "smtplib",
    "urllib.request",
    "urllib3",
)

#: Who may take one, and why.
MAY_GO_OUT = {
    "ops/demo/processes.py": "asks the story's own processes for their health",
    "ops/demo/simulated.py": "asks the story's simulated provider for what it took",
    "ops/services/management.py": "starts and asks servers of the organisation's own",
}

Look = Callable[[ast.AST], bool]


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of ours, by its path from the root."""
    for top in ("channels", "domain", "ops", "producers", "workers"):
        for path in sorted((ROOT / top).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(OUTSIDE):
                yield name, ast.parse(path.read_text(encoding="utf-8"), name)


def where(look: Look, trees: Iterator[tuple[str, ast.Module]] | None = None) -> set[str]:
    """The modules in which something looks so."""
    return {name for name, tree in (trees or modules()) if any(look(node) for node in ast.walk(tree))}


def names_send(node: ast.AST) -> bool:
    """`x.send`, called or handed on, and `getattr(x, "send")`."""
    if isinstance(node, ast.Attribute):
        return node.attr == "send"
    return isinstance(node, ast.Call) and any(
        isinstance(each, ast.Constant) and each.value == "send" for each in node.args
    )


def makes(name: str) -> Look:
    """`Name(…)`, by itself or as an attribute of its module."""

    def look(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and _called(node.func) == name

    return look


def imports(*names: str) -> Look:
    """An import of one of these modules, or of something in it."""

    def look(node: ast.AST) -> bool:
        if isinstance(node, ast.Import):
            told = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            told = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            return False
        return any(each == name or each.startswith(f"{name}.") for each in told for name in names)

    return look


def begins_an_attempt(node: ast.AST) -> bool:
    """`insert(attempt)` and its like."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr == "insert":
        return _last(node.func.value) == "attempt" or any(_last(each) == "attempt" for each in node.args)
    return _called(node.func) == "insert" and any(_last(each) == "attempt" for each in node.args)


def moves_to_sending(node: ast.AST) -> bool:
    """A `state` that is written to be `sending`, as a keyword or in a dictionary of values."""
    if isinstance(node, ast.keyword):
        return node.arg == "state" and _is_sending(node.value)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return any(
            isinstance(key, ast.Constant) and key.value == "state" and _is_sending(value) for key, value in pairs
        )
    return False


def _is_sending(value: ast.AST) -> bool:
    return any(
        (isinstance(each, ast.Attribute) and each.attr == "SENDING")
        or (isinstance(each, ast.Constant) and each.value == "sending")
        for each in ast.walk(value)
    )


def _called(func: ast.AST) -> str:
    return _last(func)


def _last(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def test_only_the_send_worker_calls_a_channels_sender() -> None:
    assert where(names_send) == {"workers/send.py"}


def test_only_channels_and_their_kit_have_a_way_out_of_the_house() -> None:
    found = where(imports(*WAYS_OUT))

    assert {name for name in found if not name.startswith("channels/")} == set(MAY_GO_OUT)


def test_nobody_reaches_round_the_kit_to_a_channel_of_their_own_choice() -> None:
    channels = [path.stem for path in (ROOT / "channels").glob("*.py") if path.stem != "__init__"]

    found = where(imports(*(f"channels.{name}" for name in channels)))

    assert channels
    assert found == set()


def test_only_the_claim_makes_what_may_be_sent_and_only_send_workers_and_takers_of_calls_render_it() -> None:
    assert where(makes("Claimed")) == {"domain/ledger/claims.py"}
    assert where(makes("Renderer")) == {"ops/assembly.py"}
    assert where(makes("open_renderer")) == {"ops/assembly.py", "ops/cli/calls.py"}
    assert {name for name in where(makes("Outgoing")) if not name.startswith("channels/")} == {"workers/rendering.py"}


def test_only_the_claim_begins_an_attempt_and_moves_a_touch_to_sending() -> None:
    assert where(begins_an_attempt) == {"domain/ledger/claim_writes.py"}
    assert where(moves_to_sending) == {"domain/ledger/claim_writes.py"}
    assert where(imports("domain.ledger.claim_writes")) == {"domain/ledger/claims.py"}


def test_only_the_claim_asks_the_guard() -> None:
    """A second place that decides would be a second gate; the commands only tell of hours."""
    found = where(imports("domain.rules.guard.decide"))

    assert found == {"domain/ledger/claims.py"}


@pytest.mark.parametrize(
    ("look", "source"),
    [
        (names_send, "async def late(sender):\n    await sender.send(message)"),
        (names_send, "hand_over(sender.send)"),
        (names_send, "getattr(sender, 'send')(message)"),
        (imports(*WAYS_OUT), "import aiohttp"),
        (imports(*WAYS_OUT), "from channels.kit import smtp"),
        (imports("channels.sms"), "from channels.sms import Sms"),
        (imports("domain.ledger.claim_writes"), "from domain.ledger import claim_writes"),
        (imports("domain.ledger.claim_writes"), "from domain.ledger.claim_writes import write_claimed"),
        (makes("Claimed"), "claims.Claimed(touch_id=1)"),
        (begins_an_attempt, "conn.execute(insert(attempt).values(state=state))"),
        (begins_an_attempt, "conn.execute(store.insert(conn, attempts.attempt))"),
        (begins_an_attempt, "attempt.insert().values(state=state)"),
        (moves_to_sending, "update(touch).values(state=TouchState.SENDING.value)"),
        (moves_to_sending, "row = {'state': 'sending'}"),
    ],
)
def test_a_path_round_the_gate_would_be_found(look: Look, source: str) -> None:
    assert where(look, iter([("planted.py", ast.parse(source))])) == {"planted.py"}
