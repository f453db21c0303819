"""What log lines say, and above all what they do not."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from ops.runtime import logs
from ops.runtime.breaker import POLICY
from ops.runtime.breakers import Breakers, LocalStore, Tally


class Lines:
    """What was logged, as text and as JSON."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text.splitlines()[-1])
        return found


@pytest.fixture
def lines() -> Lines:
    found = Lines()
    logs.configure("INFO", json=True, stream=found.stream)
    return found


def test_a_line_is_one_json_object_with_its_ids_and_the_time(lines: Lines) -> None:
    structlog.get_logger("workers.send").info("touches.claimed", touch_ids=(4, 1234567890), channel="sms", count=2)

    assert lines.last["event"] == "touches.claimed"
    assert lines.last["touch_ids"] == [4, 1234567890]
    assert (lines.last["channel"], lines.last["count"], lines.last["level"]) == ("sms", 2, "info")
    assert lines.last["logger"] == "workers.send"
    assert datetime.fromisoformat(lines.last["timestamp"]).tzinfo is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("given_name", "Maribel"),
        ("body", "please stop, Maribel"),
        ("reason", "wrote from maribel@example.com"),
        ("reason", "called +1 602 555 0134 twice"),
        ("reason", "(602) 555-0134"),
        ("reason", "born 1961-04-09"),
        ("to", "+16025550134"),
        ("phone", 16025550134),
        ("reason", "Dear doctor, " + "I have been feeling unwell since the funeral of my husband " * 3),
        ("data", {"given_name": "Maribel", "items": ["+16025550134"]}),
        ("reason", ["Maribel@example.com"]),
        ("born", date(1961, 4, 9)),
        ("body", b"Maribel"),
    ],
)
def test_nothing_that_identifies_a_patient_survives(lines: Lines, key: str, value: object) -> None:
    structlog.get_logger().warning("reply.stored", **{key: value})

    (line,) = lines.text.splitlines()
    # a microsecond may well be 1961
    lowered = line.replace(lines.last["timestamp"], "").lower()
    for trace in ("maribel", "5550134", "555-0134", "555 0134", "1961", "funeral"):
        assert trace not in lowered, line
    assert key in lines.last


def test_values_of_our_own_vocabulary_survive(lines: Lines) -> None:
    structlog.get_logger().info(
        "touch.waits",
        reason="quiet_hours",
        ref="P7K3MZQ2XWTRA2345",
        site="north-clinic",
        until=datetime(2031, 5, 6, 9, tzinfo=UTC),
        took=timedelta(seconds=2),
        url_host="x",
    )

    assert lines.last["reason"] == "quiet_hours"
    assert lines.last["ref"] == "P7K3MZQ2XWTRA2345"
    assert lines.last["site"] == "north-clinic"
    assert lines.last["until"].startswith("2031-05-06")
    assert lines.last["took"] == 2.0
    assert lines.last["url_host"] == "[unlisted]"


def test_an_exception_is_told_by_type_and_place_without_its_values(lines: Lines) -> None:
    def look_up() -> None:
        known: dict[str, int] = {}
        try:
            known.pop("Maribel")
        except KeyError as error:
            raise ValueError("no such number: +16025550134") from error

    try:
        look_up()
    except ValueError:
        structlog.get_logger().exception("send.failed", touch_id=7)

    assert lines.last["exception"] == "ValueError < KeyError"
    assert any(place.endswith(" look_up") for place in lines.last["trace"])
    assert "Maribel" not in lines.text
    assert "5550134" not in lines.text


def test_a_database_error_of_a_library_logger_does_not_tell_its_parameters(lines: Lines) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as conn:
        try:
            conn.execute(text("SELECT * FROM nowhere WHERE name = :name"), {"name": "Maribel"})
        except SQLAlchemyError as error:
            logging.getLogger("dramatiq.worker").error("Failed: %s", error, exc_info=True)
    engine.dispose()

    assert "OperationalError" in lines.last["exception"]
    assert "OperationalError" in lines.last["event"]
    assert "Maribel" not in lines.text


def test_messages_of_libraries_are_redacted_whether_formatted_or_not(lines: Lines) -> None:
    for name in ("dramatiq.broker", "pika.connection", "uvicorn.error", "sqlalchemy.pool"):
        log = logging.getLogger(name)
        log.warning("to %s: %d", "maribel@example.com", 16025550134)
        log.warning("GET /unsubscribe?t=abcdef for +1 602-555-0134 at amqp://fleet:secret@host:5672/v")
        log.warning("message %r", {"to": "Maribel"})
        log.warning("%(body)s on %(queue)s", {"body": "Maribel", "queue": "sms"})

    assert lines.text.count("\n") == 16
    for trace in ("aribel", "5550134", "555-0134", "abcdef", "secret"):
        assert trace not in lines.text
    assert "host:5672" in lines.text


def test_access_logs_and_statements_stay_silent(lines: Lines) -> None:
    logging.getLogger("uvicorn.access").info("GET /b/abcdef 302")
    logging.getLogger("sqlalchemy.engine").info("INSERT ('Maribel')")

    assert lines.text == ""


def test_a_numeric_argument_that_fits_is_kept(lines: Lines) -> None:
    logging.getLogger("dramatiq").warning("%d messages on %s", 12, "sms.answers")

    assert lines.last["event"] == "12 messages on sms.answers"


def test_a_terminal_gets_columns_and_a_pipe_gets_json(lines: Lines) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    logs.configure("INFO", stream=terminal)

    structlog.get_logger().info("clock.leads", round=3, phone="+16025550134")

    assert "clock.leads" in terminal.getvalue()
    assert "5550134" not in terminal.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(terminal.getvalue())


def test_configuring_twice_does_not_double_the_lines(lines: Lines) -> None:
    logs.configure("INFO", json=True, stream=lines.stream)

    structlog.get_logger().info("once")

    assert lines.text.count("\n") == 1


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        logs.configure("LOUD", json=True, stream=io.StringIO())


def test_the_line_about_a_failing_provider_names_it_and_its_state(lines: Lines) -> None:
    breakers = Breakers("sms", ["sms_second"], LocalStore())

    breakers.report({"sms_second": Tally(bad=POLICY.at_least)}, datetime.now(UTC))
    breakers.close()

    assert {key: lines.last[key] for key in ("event", "level", "channel", "provider", "state")} == {
        "event": "provider_breaker",
        "level": "error",
        "channel": "sms",
        "provider": "sms_second",
        "state": "open",
    }
