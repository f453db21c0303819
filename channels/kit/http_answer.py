"""What came of one HTTP call: a complete answer, or none and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case; of a repeated one, the first."""
    body: bytes

    def json_object(self) -> Mapping[str, object]:
        """The JSON object that the body holds; empty where it holds none."""
        try:
            said = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return said if isinstance(said, dict) else {}


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The call ended without a complete answer."""

    may_have_left: bool
    """Whether any byte of the request may have reached the provider."""
    code: str
    """Of a closed set: connect_failed, connect_timeout, tls_failed, answer_timeout, connection_lost,
    answer_unreadable."""
