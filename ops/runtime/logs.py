"""What a log line may say: ids, counts and words of our own; never who a patient is or what anyone wrote.

Three rules stand between a careless call and a leak. Strings pass only under the keys of `ALLOWED`. Within them (and
within every message of a library) whatever looks like a phone number, a date, an e-mail address, a URL's credentials
or prose is replaced. Exceptions are told by type and place: their messages carry values (SQLAlchemy's carry every
parameter).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

#: Keys under which text of our own vocabulary may stand. Numbers may stand under any key (see `_number`).
ALLOWED = frozenset(
    {
        "actor",
        "answer",
        "arm",
        "campaign",
        "channel",
        "clock",
        "code",
        "decision",
        "effect",
        "error",
        "event",
        "event_type",
        "exception",
        "field",
        "file",
        "intent",
        "kind",
        "language",
        "level",
        "line",
        "logger",
        "message_id",
        "organisation",
        "outcome",
        "patient_ref",
        "problem",
        "process",
        "promise",
        "provider",
        "purpose",
        "queue",
        "reason",
        "ref",
        "reference",
        "refs",
        "result",
        "route",
        "rule",
        "rule_version",
        "segment",
        "server",
        "service",
        "service_line",
        "signal",
        "site",
        "source",
        "state",
        "status",
        "step",
        "table",
        "task",
        "timestamp",
        "trace",
        "transport",
        "type",
        "version",
        "webhook",
        "what",
        "why",
        "worker",
    }
)

#: Longer text with spaces in it is prose, and prose is somebody's.
_PROSE = 120
_MESSAGE = 240
_FRAMES = 6
#: The largest number that cannot be a phone number (seven digits are one, without its area).
_SMALL = 999_999

_EMAIL = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+\.[^\s@<>\"',;)]+")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]+@")
_DIGITS = re.compile(r"(?<![\w.])\+?\(?\d[\d\s()./-]{5,}\d(?!\w)")
_QUERY = re.compile(r"\?[^\s\"']+")

#: Loggers of libraries that say, at INFO or below, what we must not repeat: parameters, paths with tokens, messages.
_QUIET = {
    "uvicorn.access": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "aiosmtplib": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "alembic": logging.WARNING,
    "pika": logging.WARNING,
    "mail.log": logging.WARNING,
}


def configure(level: str = "INFO", json: bool | None = None, stream: TextIO | None = None) -> None:
    """Send every log line of this process, ours and the libraries', to `stream` (default: stderr).

    `json` None = one JSON object a line, unless the stream is a terminal: there, readable columns.

    Raises:
        ValueError: `level` is no level of the logging module.
    """
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if json is None else json
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(as_json, out))
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, floor in _QUIET.items():
        logging.getLogger(name).setLevel(max(floor, root.level))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The processor: keeps what may be said, and shows in the place of the rest that something was there."""
    return {key: _value(key, value) for key, value in event.items()}


def redact_text(text: str) -> str:
    """`text` without anything that looks like an address, a number, a date or a URL's secrets."""
    text = _CREDENTIALS.sub("", text)
    text = _EMAIL.sub("[address]", text)
    text = _QUERY.sub("?[query]", text)
    return _DIGITS.sub(_hide_digits, text)


def describe(error: BaseException) -> dict[str, Any]:
    """An exception by type and place, with those that led to it; never its message."""
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(kinds) < _FRAMES:
        kinds.append(f"{type(cause).__module__}.{type(cause).__qualname__}".removeprefix("builtins."))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return {"exception": " < ".join(kinds), "trace": _places(error.__traceback__)}


def _formatter(as_json: bool, out: TextIO) -> logging.Formatter:
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _fill_in_safely,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _tell_exception,
            redact,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        use_get_message=False,
        pass_foreign_args=True,
    )


def _fill_in_safely(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Put a library's arguments into its message: numbers and redacted strings as they are, objects by their type."""
    args = event.pop("positional_args", None)
    if args:
        safe = _arguments(str(event["event"]), args)
        try:
            event["event"] = str(event["event"]) % safe
        except (TypeError, ValueError, KeyError):
            # a %d whose argument was hidden: the message stands without its values
            event["event"] = str(event["event"])
    return event


def _arguments(message: str, args: Any) -> Any:
    # logging hands a lone dict over as the mapping of %(name)s, even where the message only says %r
    if isinstance(args, Mapping) and "%(" in message:
        return {key: _value(str(key), value) for key, value in args.items()}
    return tuple(map(_argument, (args,) if isinstance(args, Mapping) else args))


def _argument(value: Any) -> Any:
    if isinstance(value, bool | float) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= _SMALL else "[number]"
    if isinstance(value, str):
        return _text(value, _PROSE)
    if isinstance(value, BaseException):
        return describe(value)["exception"]
    return f"<{type(value).__name__}>"


def _tell_exception(_logger: Any, _method: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event.update(describe(error))
    return event


def _value(key: str, value: Any) -> Any:
    if key in {"exception", "trace"}:
        # made by `describe` of types and places; a long chain is no prose
        return value
    if value is None or isinstance(value, bool | float | datetime | timedelta):
        return value if not isinstance(value, timedelta) else value.total_seconds()
    if isinstance(value, Enum):
        return _value(key, value.value)
    if isinstance(value, int):
        return _number(key, value)
    if isinstance(value, str):
        if key not in ALLOWED and not _is_id(key):
            return "[unlisted]"
        return _text(value, _MESSAGE if key == "event" else _PROSE)
    return _composite(key, value)


def _composite(key: str, value: Any) -> Any:
    if isinstance(value, BaseException):
        return describe(value)["exception"]
    if isinstance(value, Mapping):
        return {str(k): _value(str(k), v) for k, v in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        return [_value(key, item) for item in value]
    if isinstance(value, date):
        return "[date]"
    return f"<{type(value).__name__}>"


def _number(key: str, value: int) -> Any:
    """Ids may be large; any other number that large might be somebody's phone."""
    return value if abs(value) <= _SMALL or _is_id(key) or key in ALLOWED else "[number]"


def _is_id(key: str) -> bool:
    return key in {"id", "ids"} or key.endswith(("_id", "_ids"))


def _text(text: str, limit: int) -> str:
    if len(text) > limit and any(c.isspace() for c in text):
        return "[text]"
    return redact_text(text[: 2 * limit])


def _hide_digits(match: re.Match[str]) -> str:
    found = match.group()
    return "[number]" if sum(c.isdigit() for c in found) >= 7 else found


def _places(trace: TracebackType | None) -> list[str]:
    """Where it happened, innermost last: module, line and function of the last few frames."""
    places: list[str] = []
    while trace is not None:
        frame = trace.tb_frame
        places.append(f"{frame.f_globals.get('__name__', '?')}:{trace.tb_lineno} {frame.f_code.co_name}")
        trace = trace.tb_next
    return places[-_FRAMES:]
